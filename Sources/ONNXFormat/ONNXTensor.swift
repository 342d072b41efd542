// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// The element types of ONNX whose elements are whole bytes, by the numbers of TensorProto.DataType.
package enum ONNXElement: Int32, Sendable, CaseIterable {
  case float32 = 1
  case uint8 = 2
  case int8 = 3
  case uint16 = 4
  case int16 = 5
  case int32 = 6
  case int64 = 7
  case bool = 9
  case float16 = 10
  case float64 = 11
  case uint32 = 12
  case uint64 = 13
  case bfloat16 = 16

  package var byteCount: Int {
    switch self {
    case .uint8, .int8, .bool: 1
    case .uint16, .int16, .float16, .bfloat16: 2
    case .float32, .int32, .uint32: 4
    case .int64, .float64, .uint64: 8
    }
  }

  package var isFloatingPoint: Bool {
    switch self {
    case .float32, .float16, .float64, .bfloat16: true
    default: false
    }
  }
}

/// A constant tensor: an initializer, or the value of a Constant node. All its bytes are there.
package struct ONNXTensor: Sendable {
  package private(set) var name: String
  package let element: ONNXElement
  package let shape: [Int]
  private let source: Source

  private enum Source: Sendable {
    case bytes([UInt8])
    case mapped(MappedFile, Range<Int>)
  }

  /// The number of elements.
  package var count: Int { shape.reduce(1, *) }

  /// Calls `body` with the elements, row-major and little-endian.
  package func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    switch source {
    case .bytes(let bytes): bytes.withUnsafeBytes(body)
    case .mapped(let file, let range): body(UnsafeRawBufferPointer(rebasing: file.bytes[range]))
    }
  }

  /// The same tensor under another name.
  package func renamed(_ name: String) -> ONNXTensor {
    var tensor = self
    tensor.name = name
    return tensor
  }

  /// A tensor that was computed.
  package init(name: String, shape: [Int], values: [Float]) {
    (self.name, self.shape, element) = (name, shape, .float32)
    source = .bytes(values.withUnsafeBytes(Array.init))
  }

  /// A tensor of a file.
  ///
  /// - Parameters:
  ///   - place: what messages call it.
  ///   - skipped: where its data lies in the mapped file, when it was left out of the message.
  /// - Throws: `ONNXError.malformed`; `.unreadable` for a file of external data that is not there.
  init(
    _ proto: Onnx_TensorProto, named name: String, place: String, skipped: Range<Int>?, in file: ONNXFile.Files
  ) throws(ONNXError) {
    func failure(_ problem: String) -> ONNXError { .malformed(file: file.path, place: place, problem: problem) }
    guard let element = ONNXElement(rawValue: proto.dataType) else {
      throw failure(
        "its data_type is \(proto.dataType), expected one of \(ONNXElement.allCases.map { "\($0.rawValue) (\($0))" }.joined(separator: ", "))")
    }
    var size = element.byteCount
    for extent in proto.dims {
      let (product, overflow) = size.multipliedReportingOverflow(by: Int(extent))
      guard extent >= 0, !overflow else { throw failure("its dims are \(proto.dims)") }
      size = product
    }
    (self.name, self.element, shape) = (name, element, proto.dims.map { Int($0) })
    if proto.dataLocation == .external {
      let (mapped, range) = try file.external(proto, byteCount: size, place: place)
      source = .mapped(mapped, range)
      return
    }
    if let skipped, !(proto.hasRawData && !proto.rawData.isEmpty) {
      source = .mapped(file.mapped, skipped)
    } else {
      source = .bytes(Self.bytes(of: proto, element))
    }
    let found = withBytes { $0.count }
    guard found == size else {
      throw failure("\(shape) of \(element) takes \(size) bytes, and its data has \(found); the file is cut short or damaged")
    }
  }

  /// The data that stands in the message, in raw_data or in the field that its type is kept in, as raw_data has it.
  private static func bytes(of proto: Onnx_TensorProto, _ element: ONNXElement) -> [UInt8] {
    if proto.hasRawData { return [UInt8](proto.rawData) }
    func raw<Value: FixedWidthInteger, Stored>(_ values: [Value], as type: Stored.Type) -> [UInt8] where Stored: FixedWidthInteger {
      values.flatMap { value in withUnsafeBytes(of: Stored(truncatingIfNeeded: value).littleEndian, Array.init) }
    }
    switch element {
    case .float32: return proto.floatData.withUnsafeBytes(Array.init)
    case .float64: return proto.doubleData.withUnsafeBytes(Array.init)
    case .int64: return raw(proto.int64Data, as: Int64.self)
    case .uint64: return raw(proto.uint64Data, as: UInt64.self)
    case .uint32: return raw(proto.uint64Data, as: UInt32.self)
    case .int32: return raw(proto.int32Data, as: Int32.self)
    case .uint16, .int16, .float16, .bfloat16: return raw(proto.int32Data, as: UInt16.self)
    case .uint8, .int8, .bool: return raw(proto.int32Data, as: UInt8.self)
    }
  }
}
