// SPDX-License-Identifier: GPL-3.0-or-later

/// A model's bytes without the large data of its initializers, and where that data lies in the file.
///
/// The numbers are those of onnx.proto: field 7 of a ModelProto is its graph, field 5 of a GraphProto an initializer, fields 4 and 9 of a
/// TensorProto are its float_data, 4 little-endian bytes each, and its raw_data.
struct ONNXSkeleton {
  /// A ModelProto.
  private(set) var bytes: [UInt8] = []
  /// For each initializer, in order, the part of the file that was left out.
  private(set) var data: [Range<Int>?] = []

  /// Smaller data stays in the skeleton.
  private static let smallest = 1 << 10

  /// - Throws: `WireError`.
  init(_ file: UnsafeRawBufferPointer) throws(WireError) {
    var model = WireReader(file, in: 0..<file.count)
    while let field = try model.next() {
      if field.number == 7, field.hasLength {
        let graph = try self.graph(file, field.content)
        append(graph, as: field.number)
      } else {
        bytes += file[field.whole]
      }
    }
  }

  private mutating func graph(_ file: UnsafeRawBufferPointer, _ range: Range<Int>) throws(WireError) -> [UInt8] {
    var (graph, result) = (WireReader(file, in: range), ONNXSkeleton())
    while let field = try graph.next() {
      if field.number == 5, field.hasLength {
        let (tensor, data) = try Self.tensor(file, field.content)
        self.data.append(data)
        result.append(tensor, as: field.number)
      } else {
        result.bytes += file[field.whole]
      }
    }
    return result.bytes
  }

  private static func tensor(_ file: UnsafeRawBufferPointer, _ range: Range<Int>) throws(WireError) -> (bytes: [UInt8], data: Range<Int>?) {
    var (tensor, bytes) = (WireReader(file, in: range), [UInt8]())
    var data: Range<Int>?
    while let field = try tensor.next() {
      if field.number == 4 || field.number == 9, field.hasLength, field.content.count >= smallest {
        if data != nil { throw WireError(offset: field.whole.lowerBound, problem: "a tensor has its data twice") }
        data = field.content
      } else {
        bytes += file[field.whole]
      }
    }
    return (bytes, data)
  }

  private init() {}

  private mutating func append(_ message: [UInt8], as field: Int) {
    bytes += varint(field << 3 | 2) + varint(message.count) + message
  }
}
