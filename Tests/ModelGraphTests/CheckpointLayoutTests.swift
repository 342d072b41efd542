// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Testing

@testable import ModelGraph

/// How logical parameters stand in a checkpoint.
@Suite struct CheckpointLayoutTests {
  @Test("Oracle: the parameters read each stored element exactly once", arguments: Tiny.all)
  func viewsTileStoredTensors(config: String) throws {
    let graph = try ModelReader.decode(configuration(config))
    var readings: [String: [Int]] = [:]
    var shapes: [String: [Int]] = [:]
    for (id, tensor) in graph.tensors.enumerated() {
      guard let parameter = tensor.parameter else { continue }
      // A stacked parameter has a stored tensor for each element of its first dimension.
      let shape = parameter.isStacked ? [1] + graph.shape(id).dropFirst() : graph.shape(id)
      for source in parameter.isStacked ? (0..<graph.shape(id)[0]).map(parameter.element) : [parameter] {
        let name = source.checkpointName
        #expect(shapes.updateValue(source.checkpointShape, forKey: name) ?? source.checkpointShape == source.checkpointShape)
        for index in storedIndices(source, shape) {
          readings[name, default: [Int](repeating: 0, count: source.checkpointShape.reduce(1, *))][index] += 1
        }
      }
    }
    for (name, counts) in readings { #expect(counts.allSatisfy { $0 == 1 }, "\(name) \(counts)") }
  }

  /// All stored positions that a view reads, in the order of its logical indices.
  private func storedIndices(_ source: ParameterSource, _ shape: [Int]) -> [Int] {
    zip(shape, source.strides).reduce([source.offset]) { positions, dimension in
      positions.flatMap { position in (0..<dimension.0).map { position + $0 * dimension.1 } }
    }
  }

  @Test("Oracle: GPT-2's q, k and v are the column blocks of c_attn, head by head")
  func fusedProjection() throws {
    let graph = try ModelReader.decode(configuration(Tiny.gpt2))
    let (hidden, heads, size) = (8, 2, 4)
    for (block, part) in ["q", "k", "v"].enumerated() {
      let name = "transformer.h.{i}.attn.c_attn.\(part)"
      let weight = try #require(graph.tensors.first { $0.name == name + ".weight" }?.parameter)
      let bias = try #require(graph.tensors.first { $0.name == name + ".bias" && $0.isParameter }?.parameter)
      #expect(weight.checkpointShape == [hidden, 3 * hidden] && bias.checkpointShape == [3 * hidden])
      // The axis of queries per group has extent 1: its stride is never taken.
      let (perHead, perFeature) = (weight.strides[1], weight.strides[weight.strides.count - 1])
      for input in 0..<hidden {
        for head in 0..<heads {
          for feature in 0..<size {
            let column = block * hidden + head * size + feature
            #expect(weight.offset + input * weight.strides[0] + head * perHead + feature * perFeature == input * 3 * hidden + column)
            #expect(bias.offset + head * bias.strides[0] + feature * bias.strides[bias.strides.count - 1] == column)
          }
        }
      }
    }
  }

  @Test("Oracle: Llama's query head h is group h / r, member h % r")
  func groupedHeads() throws {
    let graph = try ModelReader.decode(configuration(Tiny.llama))
    let (hidden, heads, groups, size) = (8, 4, 2, 2)
    let query = try #require(graph.tensors.first { $0.name == "model.layers.{i}.self_attn.q_proj.weight" }?.parameter)
    let output = try #require(graph.tensors.first { $0.name == "model.layers.{i}.self_attn.o_proj.weight" }?.parameter)
    let perGroup = heads / groups
    for head in 0..<heads {
      for feature in 0..<size {
        for other in 0..<hidden {
          let row = head * size + feature
          #expect(stored(query, [head / perGroup, head % perGroup, feature, other]) == row * hidden + other)
          #expect(stored(output, [other, head / perGroup, head % perGroup, feature]) == other * heads * size + row)
        }
      }
    }
  }

  private func stored(_ source: ParameterSource, _ index: [Int]) -> Int { zip(index, source.strides).reduce(source.offset) { $0 + $1.0 * $1.1 } }

  @Test("Oracle: checkpoint names and shapes", arguments: checkpoints)
  func names(config: String, expected: [String: [Int]]) throws {
    let graph = try ModelReader.decode(configuration(config))
    var found: [String: [Int]] = [:]
    for tensor in graph.tensors {
      if let source = tensor.parameter { found[source.checkpointName] = source.checkpointShape }
    }
    #expect(found == expected)
  }

  /// Written down from the state dictionaries of the `transformers` library.
  private static let checkpoints: [(String, [String: [Int]])] = [
    (
      Tiny.gpt2,
      [
        "transformer.wte.weight": [20, 8], "transformer.wpe.weight": [16, 8], "transformer.h.{i}.ln_1.weight": [8],
        "transformer.h.{i}.ln_1.bias": [8], "transformer.h.{i}.attn.c_attn.weight": [8, 24], "transformer.h.{i}.attn.c_attn.bias": [24],
        "transformer.h.{i}.attn.c_proj.weight": [8, 8], "transformer.h.{i}.attn.c_proj.bias": [8], "transformer.h.{i}.ln_2.weight": [8],
        "transformer.h.{i}.ln_2.bias": [8], "transformer.h.{i}.mlp.c_fc.weight": [8, 32], "transformer.h.{i}.mlp.c_fc.bias": [32],
        "transformer.h.{i}.mlp.c_proj.weight": [32, 8], "transformer.h.{i}.mlp.c_proj.bias": [8], "transformer.ln_f.weight": [8],
        "transformer.ln_f.bias": [8],
      ]
    ),
    (
      Tiny.llamaWithBiases,
      [
        "model.embed_tokens.weight": [20, 8], "model.layers.{i}.input_layernorm.weight": [8], "model.layers.{i}.self_attn.q_proj.weight": [8, 8],
        "model.layers.{i}.self_attn.q_proj.bias": [8], "model.layers.{i}.self_attn.k_proj.weight": [4, 8],
        "model.layers.{i}.self_attn.k_proj.bias": [4], "model.layers.{i}.self_attn.v_proj.weight": [4, 8],
        "model.layers.{i}.self_attn.v_proj.bias": [4], "model.layers.{i}.self_attn.o_proj.weight": [8, 8],
        "model.layers.{i}.self_attn.o_proj.bias": [8], "model.layers.{i}.post_attention_layernorm.weight": [8],
        "model.layers.{i}.mlp.gate_proj.weight": [12, 8], "model.layers.{i}.mlp.gate_proj.bias": [12],
        "model.layers.{i}.mlp.up_proj.weight": [12, 8], "model.layers.{i}.mlp.up_proj.bias": [12],
        "model.layers.{i}.mlp.down_proj.weight": [8, 12], "model.layers.{i}.mlp.down_proj.bias": [8], "model.norm.weight": [8],
        "lm_head.weight": [20, 8],
      ]
    ),
    (
      Tiny.mistral,
      [
        "model.embed_tokens.weight": [20, 8], "model.layers.{i}.input_layernorm.weight": [8], "model.layers.{i}.self_attn.q_proj.weight": [24, 8],
        "model.layers.{i}.self_attn.k_proj.weight": [6, 8], "model.layers.{i}.self_attn.v_proj.weight": [6, 8],
        "model.layers.{i}.self_attn.o_proj.weight": [8, 24], "model.layers.{i}.post_attention_layernorm.weight": [8],
        "model.layers.{i}.mlp.gate_proj.weight": [12, 8], "model.layers.{i}.mlp.up_proj.weight": [12, 8],
        "model.layers.{i}.mlp.down_proj.weight": [8, 12], "model.norm.weight": [8], "lm_head.weight": [20, 8],
      ]
    ),
    (
      Tiny.qwen2,
      [
        "model.embed_tokens.weight": [20, 8], "model.layers.{i}.input_layernorm.weight": [8], "model.layers.{i}.self_attn.q_proj.weight": [8, 8],
        "model.layers.{i}.self_attn.q_proj.bias": [8], "model.layers.{i}.self_attn.k_proj.weight": [8, 8],
        "model.layers.{i}.self_attn.k_proj.bias": [8], "model.layers.{i}.self_attn.v_proj.weight": [8, 8],
        "model.layers.{i}.self_attn.v_proj.bias": [8], "model.layers.{i}.self_attn.o_proj.weight": [8, 8],
        "model.layers.{i}.post_attention_layernorm.weight": [8], "model.layers.{i}.mlp.gate_proj.weight": [12, 8],
        "model.layers.{i}.mlp.up_proj.weight": [12, 8], "model.layers.{i}.mlp.down_proj.weight": [8, 12], "model.norm.weight": [8],
      ]
    ),
    (
      Tiny.bert,
      bertEncoder.merging([
        "cls.predictions.transform.dense.weight": [8, 8], "cls.predictions.transform.dense.bias": [8],
        "cls.predictions.transform.LayerNorm.weight": [8], "cls.predictions.transform.LayerNorm.bias": [8], "cls.predictions.bias": [20],
      ]) { $1 }
    ),
    (
      Tiny.bert.replacing("BertForMaskedLM", with: "BertForSequenceClassification"),
      bertEncoder.merging([
        "bert.pooler.dense.weight": [8, 8], "bert.pooler.dense.bias": [8], "classifier.weight": [2, 8], "classifier.bias": [2],
      ]) { $1 }
    ),
    (
      Tiny.vit,
      [
        "vit.embeddings.cls_token": [1, 1, 8], "vit.embeddings.position_embeddings": [1, 10, 8],
        "vit.embeddings.patch_embeddings.projection.weight": [8, 2, 4, 4], "vit.embeddings.patch_embeddings.projection.bias": [8],
        "vit.encoder.layer.{i}.layernorm_before.weight": [8], "vit.encoder.layer.{i}.layernorm_before.bias": [8],
        "vit.encoder.layer.{i}.attention.attention.query.weight": [8, 8], "vit.encoder.layer.{i}.attention.attention.query.bias": [8],
        "vit.encoder.layer.{i}.attention.attention.key.weight": [8, 8], "vit.encoder.layer.{i}.attention.attention.key.bias": [8],
        "vit.encoder.layer.{i}.attention.attention.value.weight": [8, 8], "vit.encoder.layer.{i}.attention.attention.value.bias": [8],
        "vit.encoder.layer.{i}.attention.output.dense.weight": [8, 8], "vit.encoder.layer.{i}.attention.output.dense.bias": [8],
        "vit.encoder.layer.{i}.layernorm_after.weight": [8], "vit.encoder.layer.{i}.layernorm_after.bias": [8],
        "vit.encoder.layer.{i}.intermediate.dense.weight": [12, 8], "vit.encoder.layer.{i}.intermediate.dense.bias": [12],
        "vit.encoder.layer.{i}.output.dense.weight": [8, 12], "vit.encoder.layer.{i}.output.dense.bias": [8], "vit.layernorm.weight": [8],
        "vit.layernorm.bias": [8], "classifier.weight": [3, 8], "classifier.bias": [3],
      ]
    ),
  ]

  private static let bertEncoder: [String: [Int]] = [
    "bert.embeddings.word_embeddings.weight": [20, 8], "bert.embeddings.position_embeddings.weight": [16, 8],
    "bert.embeddings.token_type_embeddings.weight": [2, 8], "bert.embeddings.LayerNorm.weight": [8], "bert.embeddings.LayerNorm.bias": [8],
    "bert.encoder.layer.{i}.attention.self.query.weight": [8, 8], "bert.encoder.layer.{i}.attention.self.query.bias": [8],
    "bert.encoder.layer.{i}.attention.self.key.weight": [8, 8], "bert.encoder.layer.{i}.attention.self.key.bias": [8],
    "bert.encoder.layer.{i}.attention.self.value.weight": [8, 8], "bert.encoder.layer.{i}.attention.self.value.bias": [8],
    "bert.encoder.layer.{i}.attention.output.dense.weight": [8, 8], "bert.encoder.layer.{i}.attention.output.dense.bias": [8],
    "bert.encoder.layer.{i}.attention.output.LayerNorm.weight": [8], "bert.encoder.layer.{i}.attention.output.LayerNorm.bias": [8],
    "bert.encoder.layer.{i}.intermediate.dense.weight": [12, 8], "bert.encoder.layer.{i}.intermediate.dense.bias": [12],
    "bert.encoder.layer.{i}.output.dense.weight": [8, 12], "bert.encoder.layer.{i}.output.dense.bias": [8],
    "bert.encoder.layer.{i}.output.LayerNorm.weight": [8], "bert.encoder.layer.{i}.output.LayerNorm.bias": [8],
  ]
}
