// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Says before long work that a folder of results could not be written: where something is there by this name, but for an empty folder, or the folder
/// that it would lie in is not there, or does not let this process write.
/// - Throws: `DocumentError.unwritable`.
package func checkFolderWritable(_ path: String) throws(DocumentError) {
  var isFolder: ObjCBool = false
  if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) {
    guard isFolder.boolValue else { throw .unwritable(file: path, reason: "it is a file; name a folder") }
    guard let contents = try? FileManager.default.contentsOfDirectory(atPath: path) else {
      throw .unwritable(file: path, reason: "the folder cannot be read")
    }
    guard contents.isEmpty else { throw .unwritable(file: path, reason: "the folder is not empty; name a new one") }
  }
  let parent = folder(of: resolvedPath(path))
  guard FileManager.default.fileExists(atPath: parent, isDirectory: &isFolder), isFolder.boolValue else {
    throw .unwritable(file: path, reason: "no folder \(parent) is there")
  }
  if access(parent, W_OK) != 0 { throw .unwritable(file: path, reason: systemMessage(errno)) }
}

/// Writes a folder so that it is there with all of its files or not at all: under a temporary name beside it, then renamed. When it throws, nothing is
/// left behind.
///
/// - Parameter fill: writes the files into the folder that it is given.
/// - Throws: `DocumentError.unwritable`, and what `fill` throws.
package func atomicWriteFolder(_ path: String, _ fill: (_ folder: String) throws -> Void) throws {
  try checkFolderWritable(path)
  // A link to an empty folder stays, and the folder gives way.
  let target = resolvedPath(path)
  let parent = folder(of: target)
  func failure(_ code: Int32 = errno) -> DocumentError { .unwritable(file: path, reason: systemMessage(code)) }
  var template = Array("\(parent)/.tpplan-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw failure() }
  let temporary = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  do {
    try fill(temporary)
    synchronise(folder: temporary)
    // mkdtemp makes the folder private.
    guard chmod(temporary, 0o777 & ~currentMask()) == 0, rename(temporary, target) == 0 else { throw failure() }
  } catch {
    try? FileManager.default.removeItem(atPath: temporary)
    throw error
  }
  synchronise(folder: parent)
}

private func folder(of path: String) -> String { URL(fileURLWithPath: path).deletingLastPathComponent().path }
