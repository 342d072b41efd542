// SPDX-License-Identifier: GPL-3.0-or-later
import SwiftProtobuf

/// An execution trace of one rank as its file has it: the metadata, then nodes, each after its length as a varint.
package struct ChakraFile: Sendable {
  /// As mlcommons/chakra's own generator says.
  package static let version = "1.0.0"

  package private(set) var bytes: [UInt8] = []

  package init() {
    append(Chakra_GlobalMetadata.with { $0.version = Self.version })
  }

  package mutating func append(_ node: Chakra_Node) { append(node as any Message) }

  private mutating func append(_ message: any Message) {
    let body: [UInt8]
    do { body = try message.serializedBytes() } catch { preconditionFailure("a message has no required fields: \(error)") }
    var length = body.count
    while length > 0x7f {
      bytes.append(UInt8(length & 0x7f) | 0x80)
      length >>= 7
    }
    bytes.append(UInt8(length))
    bytes += body
  }
}

extension Chakra_Attribute {
  package static func int32(_ name: String, _ value: Int) -> Self {
    .with { ($0.name, $0.int32Val) = (name, Int32(value)) }
  }
  package static func int64(_ name: String, _ value: Int) -> Self {
    .with { ($0.name, $0.int64Val) = (name, Int64(value)) }
  }
  package static func uint64(_ name: String, _ value: Int) -> Self {
    .with { ($0.name, $0.uint64Val) = (name, UInt64(value)) }
  }
  package static func bool(_ name: String, _ value: Bool) -> Self {
    .with { ($0.name, $0.boolVal) = (name, value) }
  }
  package static func string(_ name: String, _ value: String) -> Self {
    .with { ($0.name, $0.stringVal) = (name, value) }
  }
}
