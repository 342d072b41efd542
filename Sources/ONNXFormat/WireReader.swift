// SPDX-License-Identifier: GPL-3.0-or-later

/// Walks the fields of one message in the wire format of Protocol Buffers, without decoding what is in them.
///
/// So a model of gigabytes is read by its structure: its weights' bytes are found, and left where they lie.
struct WireReader {
  /// One field: its number, how it is coded, all its bytes with the tag, and, of a field with a length, what the length counts.
  struct Field {
    let number: Int
    let wireType: UInt8
    let whole: Range<Int>
    let content: Range<Int>

    var hasLength: Bool { wireType == 2 }
  }

  /// Of the whole file.
  let bytes: UnsafeRawBufferPointer
  private var position: Int
  private let end: Int

  init(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>) {
    self.bytes = bytes
    (position, end) = (range.lowerBound, range.upperBound)
  }

  /// The next field; nil at the end of the message.
  ///
  /// - Throws: `WireError` where the bytes are no field, or end in one.
  mutating func next() throws(WireError) -> Field? {
    if position == end { return nil }
    let start = position
    let tag = try number()
    let (field, wireType) = (tag >> 3, UInt8(tag & 7))
    guard field > 0, field < 1 << 29 else { throw WireError(offset: start, problem: "no field begins here") }
    var content = position..<position
    switch wireType {
    case 0: _ = try number()
    case 1: try skip(8)
    case 5: try skip(4)
    case 2:
      let length = try number()
      guard length <= UInt64(end - position) else {
        throw WireError(offset: start, problem: "a field of \(length) bytes, and \(end - position) follow; the file is cut short or damaged")
      }
      content = position..<position + Int(length)
      position = content.upperBound
    default: throw WireError(offset: start, problem: "a field is coded in a way (\(wireType)) that ONNX does not use")
    }
    return Field(number: Int(field), wireType: wireType, whole: start..<position, content: content)
  }

  private mutating func skip(_ count: Int) throws(WireError) {
    guard count <= end - position else { throw WireError(offset: position, problem: "the file ends in a field") }
    position += count
  }

  /// A base-128 varint, least significant group first.
  private mutating func number() throws(WireError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard position < end else { throw WireError(offset: position, problem: "the file ends in a number") }
      let byte = bytes[position]
      position += 1
      value |= UInt64(byte & 0x7f) << shift
      if byte & 0x80 == 0 { return value }
    }
    throw WireError(offset: position, problem: "a number of more than 10 bytes")
  }
}

/// Bytes that are not in the wire format; `offset` counts from the file's first byte.
struct WireError: Error {
  let offset: Int
  let problem: String
}

/// A base-128 varint of a length, as the wire format has it.
func varint(_ value: Int) -> [UInt8] {
  var (rest, bytes) = (UInt64(value), [UInt8]())
  repeat {
    bytes.append(UInt8(rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>= 7
  } while rest > 0
  return bytes
}
