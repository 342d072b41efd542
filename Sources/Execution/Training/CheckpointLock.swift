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
      var opened = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0o666)
      guard opened >= 0 else { throw .cannotWrite(file: path, reason: String(cString: strerror(errno))) }
      var isLocked = flock(opened, LOCK_EX | LOCK_NB) == 0
      // A file that is open for writing keeps its file system from being mounted read-only; NFS locks no other.
      if !isLocked, errno == EBADF {
        close(opened)
        opened = open(path, O_RDWR | O_CLOEXEC)
        isLocked = flock(opened, LOCK_EX | LOCK_NB) == 0
      }
      if !isLocked, errno == EWOULDBLOCK {
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
    let holder = Array("process \(getpid()) on \(ProcessInfo.processInfo.hostName)".utf8)
    // That it is locked is what counts.
    let written = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
    _ = holder.withUnsafeBytes { writeAll($0, to: written) }
    if written >= 0 { close(written) }
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
