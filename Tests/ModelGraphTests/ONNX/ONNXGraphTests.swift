// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing

@testable import ModelGraph

/// The models of Tests/Fixtures/onnx as graphs.
@Suite struct ONNXGraphTests {
  static func path(_ name: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fixtures/onnx/\(name).onnx").standardized.path
  }

  /// What a graph computes, without names and padding: of each segment the repeats, and the operators with the extents of what they read and give.
  private func shapes(_ graph: Graph) -> [String] {
    let sized = graph.sized(batch: 2, sequence: 8)
    return sized.segments.map { segment in
      let operators = segment.operators.map { id in
        let op = sized.operators[id]
        // GPT-2 is exported with a mask by the older exporter.
        let operands = op.operands.filter { sized.tensors[$0].kind != .input(.attentionMask) }.map { "\(sized.shape($0).filter { $0 > 1 }.sorted())" }
        return "\(op.kind.formatName) \(operands.sorted()) \(sized.shape(op.result))"
      }
      return "\(segment.repeats) \(operators.filter { !$0.hasPrefix("cross_entropy") })"
    }
  }

  @Test("differential: a torch-exported model is the network that the importer of its config.json makes", arguments: ["script", "dynamo"])
  func sameAsConfiguration(exporter: String) throws {
    var gpt2 = GPT2Configuration()
    (gpt2.vocabulary, gpt2.positions, gpt2.hidden, gpt2.layers, gpt2.heads, gpt2.ffn) = (67, 16, 16, 2, 4, 64)
    (gpt2.residualDropout, gpt2.embeddingDropout, gpt2.attentionDropout) = (0, 0, 0)
    var imported = try ModelReader.read(Self.path("gpt2_\(exporter)")).graph
    #expect(shapes(imported) == shapes(try gpt2.graph()))
    let parameters = try gpt2.graph().parameterCount
    #expect(imported.maximumSequence == 16 && imported.loss != nil && imported.parameterCount == parameters)

    var bert = BertConfiguration()
    (bert.vocabulary, bert.positions, bert.hidden, bert.layers, bert.heads, bert.ffn) = (67, 16, 16, 2, 4, 32)
    (bert.hiddenDropout, bert.attentionDropout) = (0, 0)
    imported = try ModelReader.read(Self.path("bert_\(exporter)")).graph
    #expect(shapes(imported) == shapes(try bert.graph()))
    #expect(imported.outputs.map(\.name) == ["last_hidden_state", "pooler_output"])

    var vit = ViTConfiguration()
    (vit.imageSize, vit.patchSize, vit.hidden, vit.layers, vit.heads, vit.ffn) = (8, 4, 16, 2, 4, 32)
    vit.head = .imageClassification(labels: 5)
    imported = try ModelReader.read(Self.path("vit_\(exporter)")).graph
    #expect(shapes(imported) == shapes(try vit.graph()))
    #expect(!imported.choosesSequence)
  }

  @Test("Layers that a file has unrolled are one segment", arguments: ["gpt2_dynamo", "bert_script", "vit_dynamo", "decoder_script", "operators"])
  func folded(model: String) throws {
    let graph = try ModelReader.read(Self.path(model)).graph
    #expect(graph.segments.map(\.name) == ["embedding", "block", "head"] && graph.segments.map(\.repeats) == [1, 2, 1])
    for op in graph.segments[1].operators { #expect(Graph.isPerCopy(graph.operators[op].name), "\(graph.operators[op].name)") }
  }

  @Test("Grouped queries, a scale of its own, a gated MLP and RMS norm in steps are found", arguments: ["script", "dynamo"])
  func decoder(exporter: String) throws {
    let graph = try ModelReader.read(Self.path("decoder_\(exporter)")).graph
    let kinds = graph.segments[1].operators.map { graph.operators[$0].kind }
    #expect(
      kinds == [
        .rmsNorm(epsilon: 1e-6), .linear, .scale(factor: 0.6), .linear, .linear, .attention(causal: true), .linear, .add, .rmsNorm(epsilon: 1e-6),
        .linear,
        .activation(.silu), .linear, .multiply, .linear, .add,
      ])
    let core = try #require(graph.operators.first { $0.kind == .attention(causal: true) })
    #expect(graph.sized(batch: 1, sequence: 8).shape(core.result) == [1, 8, 2, 2, 4])
    // The head is the table of the tokens.
    #expect(graph.tensors.count { $0.parameter?.checkpointName == "tokens.weight" } == 1)
  }

  @Test(
    "The graph of a file is the same through the native format",
    arguments: ["gpt2_script", "bert_dynamo", "vit_script", "decoder_dynamo", "operators"])
  func native(model: String) throws {
    let graph = try ModelReader.read(Self.path(model)).graph
    let document = try Document(file: "m.json", parsing: ModelReader.encode(graph).canonicalBytes)
    #expect(try ModelReader.decode(document.root) == graph)
  }

  @Test(
    "Every weight of the graph is a tensor of the file, of the shape that the graph says",
    arguments: ["gpt2_dynamo", "bert_script", "vit_script", "operators"])
  func weights(model: String) throws {
    let onnx = try ONNXModel(readingFrom: Self.path(model))
    for (segment, tensor) in onnx.graph.tensors.enumerated().compactMap({ id, tensor in
      onnx.graph.consumers[id].first.map { (onnx.graph.segments[onnx.graph.segmentOfOperator[$0.op]], tensor) }
    }) {
      guard let source = tensor.parameter else { continue }
      for copy in 0..<segment.repeats {
        #expect(
          onnx.tensor(named: Graph.name(source.checkpointName, copy: copy))?.shape == source.checkpointShape, "\(source.checkpointName) \(copy)")
      }
    }
  }
}
