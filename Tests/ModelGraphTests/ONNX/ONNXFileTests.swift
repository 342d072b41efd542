// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ONNXFormat
import SwiftProtobuf
import TestSupport
import Testing

/// ONNX files as files: where tensors lie, and what is wrong with those that are cut short.
@Suite struct ONNXFileTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func write(_ tensor: Onnx_TensorProto) throws -> String {
    var model = Onnx_ModelProto()
    model.irVersion = 9
    model.graph.node = [.with { $0.opType = "Identity" }]
    model.graph.initializer = [tensor]
    let (path, bytes): (String, [UInt8]) = (folder.file("m.onnx"), try model.serializedBytes())
    try Data(bytes).write(to: URL(filePath: path))
    return path
  }

  private func values(_ tensor: ONNXTensor) -> [Float] {
    tensor.withBytes { bytes in (0..<tensor.count).map { bytes.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) } }
  }

  @Test("Small and large data, in raw_data and in float_data, is read where it stands", arguments: [3, 5000], [false, true])
  func inline(count: Int, isRaw: Bool) throws {
    let numbers = (0..<count).map { Float($0) * 0.5 }
    let path = try write(
      .with {
        ($0.name, $0.dataType, $0.dims) = ("w", 1, [Int64(count)])
        if isRaw { $0.rawData = numbers.withUnsafeBytes { Data($0) } } else { $0.floatData = numbers }
      })
    let file = try ONNXFile(readingFrom: path)
    #expect(file.initializers.map(\.name) == ["w"] && values(file.initializers[0]) == numbers)
    // What stays in memory of large data is its place.
    #expect((file.model.graph.initializer[0].rawData.count + file.model.graph.initializer[0].floatData.count == 0) == (count > 1000))
  }

  @Test("External data lies in a file beside the model")
  func external() throws {
    try Data((0..<64).map { UInt8($0) }).write(to: URL(filePath: folder.file("weights.bin")))
    func tensor(_ entries: [String: String]) -> Onnx_TensorProto {
      .with {
        ($0.name, $0.dataType, $0.dims, $0.dataLocation) = ("w", 2, [8], .external)
        $0.externalData = entries.sorted { $0.key < $1.key }.map { entry in .with { ($0.key, $0.value) = entry } }
      }
    }
    let file = try ONNXFile(readingFrom: try write(tensor(["location": "weights.bin", "offset": "16", "length": "8"])))
    #expect(file.initializers[0].withBytes { Array($0) } == (16..<24).map { UInt8($0) })

    for (entries, problem) in [
      (["offset": "16"], "external data: no location is given"), (["location": "../weights.bin"], "expected a file in the model's folder"),
      (["location": "/etc/passwd"], "expected a file in the model's folder"),
      (["location": "weights.bin", "offset": "60"], "bytes 60 to 68 of \"weights.bin\", which has 64"),
      (["location": "weights.bin", "offset": "-1"], "its offset is \"-1\""), (["location": "weights.bin", "length": "9"], "it has 9 bytes, and [8]"),
      (["location": "elsewhere.bin"], "elsewhere.bin cannot be read: No such file or directory; it belongs beside the model"),
    ] {
      let path = try write(tensor(entries))
      let error = #expect(throws: ONNXError.self) { try ONNXFile(readingFrom: path) }
      let text = "\(try #require(error))"
      #expect(text.contains(problem), "\(text)")
    }
  }

  @Test("A file that is cut short, empty, or no ONNX model is said to be")
  func cut() throws {
    let path = try write(
      .with { ($0.name, $0.dataType, $0.dims, $0.floatData) = ("w", 1, [2000], (0..<2000).map { Float($0) }) })
    let bytes = try Data(contentsOf: URL(filePath: path))
    for (data, problem) in [
      (bytes.prefix(bytes.count - 10), "the file is cut short or damaged"), (Data(), "it has no graph with nodes; is it an ONNX model?"),
      (Data("{\"format\": 1}".utf8), "it is no ONNX model: at byte 0 a field is coded in a way (3) that ONNX does not use"),
    ] {
      try data.write(to: URL(filePath: path))
      let error = #expect(throws: ONNXError.self) { try ONNXFile(readingFrom: path) }
      let text = "\(try #require(error))"
      #expect(text.contains(problem), "\(text)")
    }
  }
}
