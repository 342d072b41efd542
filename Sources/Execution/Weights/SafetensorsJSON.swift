// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// The JSON documents of the safetensors format, as they stand in the file; what they mean is checked by their readers.
enum SafetensorsJSON {
  struct Entry {
    let dtype: String
    let shape: [Int]
    let offsets: [Int]
  }

  struct Header {
    /// By name.
    var entries: [(name: String, entry: Entry)]
    var metadata: [String: String]
  }

  private static let metadataName = "__metadata__"

  /// The header of a safetensors file, which begins at byte `start` of it.
  ///
  /// Keys of an entry that the format does not have are left alone, as by the reference implementation.
  /// - Throws: `malformedWeights`.
  static func header(_ bytes: UnsafeRawBufferPointer, at start: Int, of file: String) throws(ExecutionError) -> Header {
    let members = try wrapping(bytes, at: start, of: file, tensor: nil) { () throws(DocumentError) in
      try Document(file: file, parsing: Array(bytes)).root.members()
    }
    var header = Header(entries: [], metadata: [:])
    header.entries.reserveCapacity(members.count)
    for (name, node) in members {
      try wrapping(bytes, at: start, of: file, tensor: name == metadataName ? nil : name) { () throws(DocumentError) in
        if name == metadataName {
          for (key, value) in try node.members() { header.metadata[key] = try value.string() }
        } else {
          let object = try node.object()
          let entry = Entry(
            dtype: try object.string("dtype"), shape: try object.ints("shape", .nonNegative), offsets: try object.ints("data_offsets", .nonNegative))
          header.entries.append((name, entry))
        }
      }
    }
    header.entries.sort { $0.name < $1.name }
    return header
  }

  /// An index's `weight_map`: for each tensor the file that holds it, by tensor.
  /// - Throws: `document`.
  static func weightMap(ofIndex file: String) throws(ExecutionError) -> [(tensor: String, file: String)] {
    do throws(DocumentError) {
      var map: [(tensor: String, file: String)] = []
      for (name, node) in try Document(readingFrom: file).root.object().node("weight_map").members() { map.append((name, try node.string())) }
      return map.sorted { $0.tensor < $1.tensor }
    } catch {
      throw .document(error)
    }
  }

  /// With sorted keys.
  static func encode(_ header: Header) -> [UInt8] {
    var object = JSON.Object()
    if !header.metadata.isEmpty {
      object[metadataName] = .object(JSON.Object(header.metadata.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    }
    for (name, entry) in header.entries {
      object[name] = [
        "dtype": .string(entry.dtype), "shape": .array(entry.shape.map { .int($0) }), "data_offsets": .array(entry.offsets.map { .int($0) }),
      ]
    }
    return JSON.object(object).canonicalBytes
  }

  // MARK: - Errors

  /// The error of a document that is a part of a file, with its place in bytes: the header has one line, and a line and column of it say little.
  private static func wrapping<Value>(
    _ bytes: UnsafeRawBufferPointer, at start: Int, of file: String, tensor: String?, _ body: () throws(DocumentError) -> Value
  ) throws(ExecutionError) -> Value {
    do throws(DocumentError) {
      return try body()
    } catch {
      let header = "the header, which begins at byte \(start)"
      let problem =
        switch error {
        case .syntax(_, let line, let column, let problem):
          "\(header), is not valid JSON at byte \(start + offset(line: line, column: column, in: bytes)): \(problem)"
        case .invalid(_, let path, let found, let expected): "\(header), has at \(path) \(found), expected \(expected)"
        case .missingKey(_, let path, let key, let misspelt):
          "\(header), has no \"\(key)\" at \(path), expected dtype, shape and data_offsets" + (misspelt.map { "; is \"\($0)\" meant?" } ?? "")
        case .unreadable, .tooLarge, .tomlSyntax, .wrongFormat, .wrongKind, .unknownKey, .unwritable: "\(header): \(error)"
        }
      throw .malformedWeights(file: file, tensor: tensor, problem: problem)
    }
  }

  /// The byte at a line and a column, both counted from 1; a column is one Unicode scalar.
  private static func offset(line: Int, column: Int, in bytes: UnsafeRawBufferPointer) -> Int {
    var (lines, columns) = (line, column)
    for (offset, byte) in bytes.enumerated() {
      // Bytes after a scalar's first belong to its column.
      let isFirst = byte & 0xC0 != 0x80
      if lines == 1 && columns == 1 && isFirst { return offset }
      if byte == UInt8(ascii: "\n") { lines -= 1 } else if lines == 1 && isFirst { columns -= 1 }
    }
    return bytes.count
  }
}
