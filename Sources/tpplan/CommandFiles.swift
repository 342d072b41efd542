// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// The files that a command reads and writes. What it writes lies where nothing else does, by whatever name: it would be gone.
struct CommandFiles {
  private struct File {
    /// The argument or option that names it.
    let use: String
    let path: String
    let place: String
  }

  private var read: [File] = []
  private var written: [File] = []

  /// - Parameter use: the argument or option that names it, for example `--tokens`.
  mutating func reads(_ path: String?, as use: String) {
    if let path { read.append(File(use: use, path: path, place: resolvedPath(path))) }
  }

  /// The same of a file that is replaced; standard output, devices and pipes are not.
  mutating func writes(_ path: String?, as use: String) {
    var status = stat()
    guard let path, path != "-" else { return }
    if stat(path, &status) == 0, ![S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) { return }
    written.append(File(use: use, path: path, place: resolvedPath(path)))
  }

  /// - Throws: `UsageError`.
  func check() throws {
    for (number, file) in written.enumerated() {
      guard let other = (read + written[..<number]).first(where: { $0.place == file.place }) else { continue }
      throw UsageError("\(file.use) \(file.path): this file has another purpose (\(other.use)); name a new one")
    }
  }
}
