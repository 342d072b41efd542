// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// The one name of what is, or would be, at a path: absolute, without symbolic links, `.` and `..`.
package func resolvedPath(_ path: String) -> String {
  if let real = realPath(path) { return real }
  let url = URL(fileURLWithPath: path)
  guard let folder = realPath(url.deletingLastPathComponent().path) else { return url.standardizedFileURL.path }
  return (folder as NSString).appendingPathComponent(url.lastPathComponent)
}

/// Nil where nothing is there.
func realPath(_ path: String) -> String? {
  guard let real = realpath(path, nil) else { return nil }
  defer { free(real) }
  return String(cString: real)
}

/// Makes a folder and those that it lies in, as far as they are not there.
/// - Throws: `DocumentError.unwritable` with the system's reason.
package func makeFolder(_ path: String) throws(DocumentError) {
  if mkdir(path, 0o777) == 0 || errno == EEXIST { return }
  let reason = errno
  let parent = (path as NSString).deletingLastPathComponent
  guard reason == ENOENT, !parent.isEmpty, parent != path else { throw .unwritable(file: path, reason: systemMessage(reason)) }
  try makeFolder(parent)
  if mkdir(path, 0o777) != 0, errno != EEXIST { throw .unwritable(file: path, reason: systemMessage(errno)) }
}

/// A folder's name as it stands before `/` and another name.
package func withoutTrailingSlashes(_ path: String) -> String {
  let end = path.lastIndex { $0 != "/" }
  return end.map { String(path[...$0]) } ?? String(path.prefix(1))
}

/// What has a name in a folder.
package func path(_ name: String, in folder: String) -> String {
  let folder = withoutTrailingSlashes(folder)
  return folder.isEmpty || folder == "/" ? folder + name : "\(folder)/\(name)"
}
