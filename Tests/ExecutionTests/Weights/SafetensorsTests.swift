// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import Execution

/// A directory of its own for each test, removed with it.
final class TemporaryDirectory {
  let path = FileManager.default.temporaryDirectory.appending(path: "weights-\(UUID().uuidString)").path

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  @discardableResult
  func write(_ bytes: [UInt8], as name: String) throws -> String {
    try Data(bytes).write(to: URL(filePath: "\(path)/\(name)"))
    return "\(path)/\(name)"
  }
}

/// A safetensors file as bytes, well-formed or not.
func safetensors(_ header: String, _ data: [UInt8]) -> [UInt8] {
  withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian, Array.init) + Array(header.utf8) + data
}

func bytes<Element: BitwiseCopyable>(_ elements: [Element]) -> [UInt8] { elements.withUnsafeBytes { Array($0) } }

struct SafetensorsTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func open(_ header: String, _ data: [UInt8]) throws -> Safetensors {
    try Safetensors(file: try directory.write(safetensors(header, data), as: "m.safetensors"))
  }

  private func floats(_ file: Safetensors, _ name: String, _ view: AffineView) throws -> [Float] {
    var result = [Float](repeating: .nan, count: view.count)
    try file.read(name, view, into: &result)
    return result
  }

  @Test("golden: a written file, byte for byte, and its reading")
  func written() throws {
    var writer = SafetensorsWriter()
    writer.add("loss", shape: [], .float32([1.5]))
    writer.add("a/b", shape: [2, 2], .float32([1, -2, 3, .infinity]))
    writer.add("ids", shape: [3], .int64([7, -1, 1 << 40]))
    writer.metadata = ["format": "pt"]
    let path = "\(directory.path)/out.safetensors"
    try writer.write(to: path)

    var header = #"{"__metadata__":{"format":"pt"},"a/b":{"data_offsets":[24,40],"dtype":"F32","shape":[2,2]},"#
    header += #""ids":{"data_offsets":[0,24],"dtype":"I64","shape":[3]},"loss":{"data_offsets":[40,44],"dtype":"F32","shape":[]}}"#
    while header.utf8.count % 8 != 0 { header += " " }
    let data = bytes([Int64(7), -1, 1 << 40]) + bytes([Float(1), -2, 3, .infinity, 1.5])
    #expect(try Data(contentsOf: URL(filePath: path)) == Data(safetensors(header, data)))
    #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["out.safetensors"])

    let file = try Safetensors(file: path)
    #expect(file.entries.map(\.name) == ["a/b", "ids", "loss"])
    #expect(file.metadata == ["format": "pt"])
    #expect(try floats(file, "a/b", AffineView(whole: [2, 2])) == [1, -2, 3, .infinity])
    #expect(try floats(file, "loss", AffineView(whole: [])) == [1.5])
    #expect(throws: ExecutionError.cannotWrite(file: "/nonexistent/x", reason: "No such file or directory")) {
      try writer.write(to: "/nonexistent/x")
    }
    // What is no regular file is written to, not replaced.
    let link = "\(directory.path)/link"
    symlink("/dev/null", link)
    try writer.write(to: link)
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == "/dev/null")
    #expect(try FileManager.default.attributesOfItem(atPath: "/dev/null")[.type] as? FileAttributeType == .typeCharacterSpecial)
  }

  @Test("oracle: every half and every bfloat16 has its value")
  func narrowFloats() throws {
    let all = (0...UInt16.max).map { $0 }
    let file = try open(
      #"{"h":{"dtype":"F16","shape":[65536],"data_offsets":[0,131072]},"b":{"dtype":"BF16","shape":[65536],"data_offsets":[131072,262144]}}"#,
      bytes(all + all))
    let halves = try floats(file, "h", AffineView(whole: [65536]))
    let brains = try floats(file, "b", AffineView(whole: [65536]))
    for bits in all {
      let half = Float(Float16(bitPattern: bits))
      #expect(half.isNaN ? halves[Int(bits)].isNaN : halves[Int(bits)].bitPattern == half.bitPattern)
      #expect(brains[Int(bits)].bitPattern == UInt32(bits) << 16)
    }
  }

  @Test("oracle: a box is its elements one by one", arguments: 0..<40)
  func boxes(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    // A header of odd length: elements are not aligned in memory.
    let shape = (0..<Int.random(in: 1...4, using: &random)).map { _ in Int.random(in: 1...6, using: &random) }
    let total = shape.reduce(1, *)
    var header = #"{"t":{"dtype":"F32","shape":\#(shape),"data_offsets":[0,\#(4 * total)]}}"#
    if header.utf8.count % 2 == 0 { header += " " }
    let file = try open(header, bytes((0..<total).map { Float($0) }))

    let whole = AffineView(whole: shape).strides
    let lower = shape.map { Int.random(in: 0..<$0, using: &random) }
    var extents = zip(lower, shape).map { Int.random(in: 0...$1 - $0, using: &random) }
    var strides = whole
    if Bool.random(using: &random) {
      extents.reverse()
      strides.reverse()
    }
    let offset = zip(lower, whole).reduce(0) { $0 + $1.0 * $1.1 }
    let view = AffineView(offset: offset, extents: extents, strides: strides)
    var expected: [Float] = []
    for position in 0..<view.count {
      var (rest, flat) = (position, offset)
      for axis in extents.indices.reversed() {
        flat += rest % extents[axis] * strides[axis]
        rest /= extents[axis]
      }
      expected.append(Float(flat))
    }
    #expect(try floats(file, "t", view) == expected)
  }

  @Test("a row shard is one run, a column shard one for each row, a transpose one for each of its rows")
  func runs() {
    func runs(_ view: AffineView) -> [[Int]] {
      var result: [[Int]] = []
      view.forEachRun { result.append([$0, $1, $2]) }
      return result
    }
    #expect(runs(AffineView(offset: 8, extents: [2, 4], strides: [4, 1])) == [[8, 1, 8]])
    #expect(runs(AffineView(offset: 2, extents: [3, 2], strides: [4, 1])) == [[2, 1, 2], [6, 1, 2], [10, 1, 2]])
    #expect(runs(AffineView(offset: 0, extents: [2, 3], strides: [1, 2])) == [[0, 2, 3], [1, 2, 3]])
    #expect(runs(AffineView(offset: 5, extents: [], strides: [])) == [[5, 1, 1]])
    #expect(runs(AffineView(offset: 0, extents: [3, 0], strides: [1, 1])) == [])
  }

  @Test("integers are read as ids, and one that does not fit is refused")
  func integers() throws {
    let file = try open(
      #"{"a":{"dtype":"I64","shape":[3],"data_offsets":[0,24]},"m":{"dtype":"BOOL","shape":[2],"data_offsets":[24,26]}}"#,
      bytes([Int64(50256), -100, 1 << 31]) + [1, 0])
    var ids = [Int32](repeating: 9, count: 2)
    try file.read("a", AffineView(whole: [2]), into: &ids)
    #expect(ids == [50256, -100])
    try file.read("m", AffineView(whole: [2]), into: &ids)
    #expect(ids == [1, 0])
    #expect(
      throws: ExecutionError.unusableTensor(file: file.file, tensor: "a", problem: "has the element 2147483648, which is no 32-bit integer")
    ) { try file.read("a", AffineView(offset: 2, extents: [1], strides: [1]), into: &ids) }
  }

  @Test("what cannot be read says so")
  func unusable() throws {
    let file = try open(#"{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#, bytes([Int64(1), 2]))
    #expect(throws: ExecutionError.noSuchTensor(file: file.file, tensor: "b")) { try floats(file, "b", AffineView(whole: [1])) }
    #expect(throws: ExecutionError.unusableTensor(file: file.file, tensor: "a", problem: "is I64, expected F32, F16, BF16 or F64")) {
      try floats(file, "a", AffineView(whole: [2]))
    }
    let outside = [
      AffineView(whole: [3]), AffineView(offset: -1, extents: [1], strides: [1]), AffineView(offset: 0, extents: [2], strides: [-1]),
      AffineView(offset: 0, extents: [3], strides: [.max]),
    ]
    for view in outside {
      #expect(throws: ExecutionError.self) { try floats(file, "a", view) }
    }
    #expect(throws: ExecutionError.cannotRead(file: directory.path, reason: "it is not a regular file")) {
      try Safetensors(file: directory.path)
    }
  }
}
