// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// Says that a run writes checkpoints to a folder, for as long as this object is there.
///
/// It is an advisory lock on a small file, of which the system lets go when the process ends, however that is; a file that was left is no lock.
final class CheckpointLock {
  static let fileName = "lock"

  private let path: String
  private let descriptor: Int32

  /// - Throws: `cannotWrite` where another run has it.
  init(folder: String) throws(ExecutionError) {
    path = Documents.path(Self.fileName, in: folder)
    while true {
      let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
      guard opened >= 0 else { throw .cannotWrite(file: path, reason: String(cString: strerror(errno))) }
      if flock(opened, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
        let holder = Self.read(opened)
        close(opened)
        throw .cannotWrite(file: folder, reason: "another run\(holder.isEmpty ? "" : " (\(holder))") writes checkpoints here")
      }
      // Whoever had it before may have removed it meanwhile: it is another run's then that makes the next. Where files cannot be locked, none is.
      if Self.isFile(opened, at: path) {
        descriptor = opened
        break
      }
      close(opened)
    }
    ftruncate(descriptor, 0)
    let holder = Array("process \(getpid()) on \(ProcessInfo.processInfo.hostName)".utf8)
    // That it is locked is what counts.
    _ = holder.withUnsafeBytes { writeAll($0, to: descriptor) }
  }

  deinit {
    unlink(path)
    close(descriptor)
  }

  private static func read(_ descriptor: Int32) -> String {
    var buffer = [UInt8](repeating: 0, count: 512)
    let count = pread(descriptor, &buffer, buffer.count, 0)
    return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
  }

  private static func isFile(_ descriptor: Int32, at path: String) -> Bool {
    var (own, there) = (stat(), stat())
    return fstat(descriptor, &own) == 0 && stat(path, &there) == 0 && own.st_ino == there.st_ino && own.st_dev == there.st_dev
  }
}
