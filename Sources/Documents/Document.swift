// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A JSON file that was read: its name, for messages, and its value.
package struct Document: Sendable {
  package let file: String
  package let value: JSON

  package init(file: String, value: JSON) {
    self.file = file
    self.value = value
  }

  /// - Throws: `DocumentError.syntax`.
  package init(file: String, parsing bytes: some Collection<UInt8>) throws(DocumentError) {
    self.init(file: file, value: try JSON(parsing: bytes, file: file))
  }

  /// Reads and parses a file; `-` is standard input.
  /// - Parameter limit: the most bytes to accept.
  /// - Throws: `DocumentError.unreadable`, `.tooLarge`, `.syntax`.
  package init(readingFrom path: String, limit: Int = 1 << 30) throws(DocumentError) {
    try self.init(file: path == "-" ? "standard input" : path, parsing: readFile(path, limit: limit))
  }

  /// The cursor at `$`, the whole value.
  package var root: Node { Node(file: file, path: "$", value: value) }

  /// The root object of a file whose key `format` reads `expected`, e.g. `tpplan/model/1`. The key counts as read.
  /// - Throws: as `Node.object(format:keys:)`.
  package func root(format expected: String, keys: [String] = []) throws(DocumentError) -> ObjectReader {
    try root.object(format: expected, keys: keys)
  }
}

/// All bytes of a file; `-` is standard input.
/// - Throws: `DocumentError.unreadable`, `.tooLarge`.
package func readFile(_ path: String, limit: Int = 1 << 30) throws(DocumentError) -> [UInt8] {
  let descriptor = path == "-" ? dup(0) : open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else {
    let code = errno
    throw .unreadable(file: path, reason: systemMessage(code) + (code == ENOENT ? suggestion(forMissing: path) : ""))
  }
  defer { close(descriptor) }
  var status = stat()
  guard fstat(descriptor, &status) == 0 else { throw .unreadable(file: path, reason: systemMessage(errno)) }
  guard status.st_mode & S_IFMT != S_IFDIR else {
    throw .unreadable(file: path, reason: "it is a directory; name a file in it")
  }
  guard status.st_size <= limit else { throw .tooLarge(file: path, bytes: Int(status.st_size), limit: limit) }
  // The size is a hint only: pipes report zero, and a file may grow while it is read.
  var bytes: [UInt8] = []
  bytes.reserveCapacity(Int(status.st_size) + 1)
  var chunk = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0, errno == EINTR { continue }
    guard count >= 0 else { throw .unreadable(file: path, reason: systemMessage(errno)) }
    if count == 0 { return bytes }
    bytes += chunk[..<count]
    guard bytes.count <= limit else { throw .tooLarge(file: path, bytes: bytes.count, limit: limit) }
  }
}

/// The system's words for an error number.
func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }
