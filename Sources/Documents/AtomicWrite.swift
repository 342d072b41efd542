// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Says before long work that its result could not be written: where `path` is a folder, or lies in none that is there and lets this process write. `-`
/// can always be.
/// - Throws: `DocumentError.unwritable`.
package func checkWritable(_ path: String) throws(DocumentError) {
  if path == "-" { return }
  var isFolder: ObjCBool = false
  if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue {
    throw .unwritable(file: path, reason: "it is a folder; name a file in it")
  }
  let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
  guard FileManager.default.fileExists(atPath: folder, isDirectory: &isFolder), isFolder.boolValue else {
    throw .unwritable(file: path, reason: "no folder \(folder) is there")
  }
  var status = stat()
  // A device or pipe is written to as it is; what else is there is replaced, in its own folder where it is a link.
  let isReplaced = stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG
  let target = isReplaced ? URL(fileURLWithPath: realPath(path) ?? path).deletingLastPathComponent().path : path
  if access(target, W_OK) != 0 { throw .unwritable(file: path, reason: systemMessage(errno)) }
}

/// Writes a file so that a reader sees the old contents or the new ones, never a part, even if the machine stops: a temporary
/// name in the same folder, fsync, rename, fsync of the folder. When it throws, nothing is left behind and the old file stands.
///
/// `-` is standard output. A symbolic link is followed; a device or pipe (`/dev/null`) is written to, not replaced.
/// - Throws: `DocumentError.unwritable`.
package func atomicWrite(_ bytes: [UInt8], to path: String) throws(DocumentError) {
  if path == "-" { return try StandardOutput.write(bytes) }
  try atomicWrite(to: path) { writeAll(bytes, to: $0) }
}

/// The same of a file whose contents need not be in memory at once.
/// - Parameter write: writes all of it to a descriptor; false where that fails, with the reason in errno.
/// - Throws: `DocumentError.unwritable`.
package func atomicWrite(to path: String, _ write: (_ descriptor: Int32) -> Bool) throws(DocumentError) {
  func failure(_ code: Int32 = errno) -> DocumentError { .unwritable(file: path, reason: systemMessage(code)) }

  var status = stat()
  let exists = stat(path, &status) == 0
  if exists, status.st_mode & S_IFMT == S_IFDIR { throw failure(EISDIR) }
  if exists, status.st_mode & S_IFMT != S_IFREG {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure() }
    defer { close(descriptor) }
    guard write(descriptor) else { throw failure() }
    return
  }

  let target = exists ? realPath(path) ?? path : path
  let folder = target.lastIndex(of: "/").map { $0 == target.startIndex ? "/" : String(target[..<$0]) } ?? "."
  var template = Array("\(folder)/.tpplan-XXXXXX".utf8CString)
  let descriptor = mkstemp(&template)
  guard descriptor >= 0 else { throw failure() }
  let temporary = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  // mkstemp makes the file private; a new file gets what open(2) would give it, an old one keeps its mode.
  let mode = exists ? status.st_mode & 0o7777 : 0o666 & ~currentMask()
  let written = write(descriptor) && fchmod(descriptor, mode) == 0 && fsync(descriptor) == 0
  var code = errno
  let closed = close(descriptor) == 0
  if written, !closed { code = errno }
  if written, closed {
    if rename(temporary, target) == 0 {
      synchronise(folder: folder)
      return
    }
    code = errno
  }
  unlink(temporary)
  throw failure(code)
}

/// Brings what was renamed in a folder to the disk. Contents are complete either way, and not every file system lets a folder be synchronised.
package func synchronise(folder: String) {
  let directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard directory >= 0 else { return }
  fsync(directory)
  close(directory)
}

/// The process's file creation mask, read where that changes nothing.
func currentMask() -> mode_t {
  guard let status = try? readFile("/proc/self/status", limit: 1 << 16),
    let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first(where: { $0.hasPrefix("Umask:") }),
    let mask = mode_t(line.dropFirst(6).trimmingCharacters(in: .whitespaces), radix: 8)
  else { return 0o022 }
  return mask
}
