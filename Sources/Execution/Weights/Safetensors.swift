// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// One safetensors file, mapped and checked: every tensor's bytes are there, and every byte belongs to one tensor.
///
/// Layout: the header's length N (8 bytes, little-endian), N bytes of JSON, then the data, to which the header's offsets
/// refer (https://github.com/huggingface/safetensors).
package final class Safetensors {
  package let file: String
  /// By name.
  package let entries: [SafetensorsEntry]
  package let metadata: [String: String]
  private let mapped: MappedFile
  private let data: UnsafeRawBufferPointer
  private let positions: [String: Int]

  /// The limit of the reference implementation.
  private static let longestHeader = 100_000_000

  /// - Throws: `cannotRead`, `malformedWeights`.
  package init(file: String) throws(ExecutionError) {
    self.file = file
    mapped = try MappedFile.open(file)
    let bytes = mapped.bytes
    func failure(_ problem: String) -> ExecutionError { .malformedWeights(file: file, tensor: nil, problem: problem) }
    guard bytes.count >= 8 else { throw failure("it has \(bytes.count) bytes; a safetensors file begins with 8 that hold its header's length") }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length <= UInt64(bytes.count - 8), length <= Self.longestHeader else {
      throw failure("its first 8 bytes say that the header has \(length) bytes, and \(bytes.count - 8) follow; is it a safetensors file?")
    }
    let header = UnsafeRawBufferPointer(rebasing: bytes[8..<8 + Int(length)])
    data = UnsafeRawBufferPointer(rebasing: bytes[(8 + Int(length))...])
    guard header.first == UInt8(ascii: "{") else { throw failure("its header, which begins at byte 8, does not begin with {") }
    let document = try SafetensorsJSON.header(header, at: 8, of: file)
    var entries: [SafetensorsEntry] = []
    for (name, entry) in document.entries { entries.append(try Self.entry(name, entry, dataCount: data.count, file: file)) }
    try Self.checkCoverage(entries, dataCount: data.count, file: file)
    self.entries = entries
    metadata = document.metadata
    positions = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.name, $0) })
  }

  package func entry(named name: String) -> SafetensorsEntry? { positions[name].map { entries[$0] } }

  /// Of the whole file.
  var byteCount: Int { mapped.bytes.count }

  /// The elements of `entry`, which is one of this file's.
  func bytes(of entry: SafetensorsEntry) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: data[entry.range]) }

  private static func entry(
    _ name: String, _ entry: SafetensorsJSON.Entry, dataCount: Int, file: String
  ) throws(ExecutionError) -> SafetensorsEntry {
    func failure(_ problem: String) -> ExecutionError { .malformedWeights(file: file, tensor: name, problem: problem) }
    guard let type = SafetensorsType(rawValue: entry.dtype) else {
      let known = SafetensorsType.allCases.map(\.rawValue).joined(separator: ", ")
      throw failure("dtype is \"\(entry.dtype)\", expected one of \(known)")
    }
    guard entry.offsets.count == 2, let begin = entry.offsets.first, let end = entry.offsets.last, 0 <= begin, begin <= end
    else { throw failure("data_offsets is \(entry.offsets), expected [begin, end]") }
    guard end <= dataCount else {
      throw failure("its data ends at byte \(end), and the file has \(dataCount) bytes of data; the file is cut short or damaged")
    }
    var size = type.byteCount
    for extent in entry.shape {
      let (product, overflow) = size.multipliedReportingOverflow(by: extent)
      guard extent >= 0, !overflow else { throw failure("shape is \(entry.shape)") }
      size = product
    }
    guard size == end - begin else {
      throw failure("shape \(entry.shape) of \(entry.dtype) takes \(size) bytes, and data_offsets [\(begin), \(end)] has \(end - begin)")
    }
    return SafetensorsEntry(name: name, type: type, shape: entry.shape, range: begin..<end)
  }

  /// No two tensors share a byte, and none is left over.
  private static func checkCoverage(_ entries: [SafetensorsEntry], dataCount: Int, file: String) throws(ExecutionError) {
    var end = 0
    for entry in entries.sorted(by: { ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound) }) {
      guard entry.range.lowerBound == end else {
        let problem = entry.range.lowerBound < end ? "overlaps the tensor before it, which ends" : "leaves a hole: the tensor before it ends"
        throw .malformedWeights(file: file, tensor: entry.name, problem: "begins at byte \(entry.range.lowerBound) and \(problem) at \(end)")
      }
      end = entry.range.upperBound
    }
    guard end == dataCount else {
      throw .malformedWeights(file: file, tensor: nil, problem: "\(dataCount - end) bytes after the last tensor belong to none")
    }
  }
}
