// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing

@testable import ModelGraph

@Suite struct ImporterTests {
  @Test("Oracle: parameter counts of published checkpoints", arguments: Hub.published)
  func publishedCounts(name: String, parameters: Int, config: String) throws {
    #expect(try ModelReader.decode(configuration(config)).parameterCount == parameters)
  }

  @Test(
    "Oracle: parameter counts of the files in models/",
    arguments: [
      ("gpt2.json", 124_439_808), ("llama-3-8b.json", 8_030_261_248), ("llama-3-70b.json", 70_553_706_496),
      ("llama-3-405b.json", 405_853_388_800), ("bert-base.json", 109_514_298), ("vit-huge.json", 632_045_800),
      // No checkpoint of these is public; 12·l·h² + 13·l·h + (v + s)·h + 2·h, as Narayanan et al. 2021 (equation 2), with the last norm.
      ("gpt3-175b.json", 12 * 96 * 12288 * 12288 + 13 * 96 * 12288 + (51200 + 2048) * 12288 + 2 * 12288),
      ("mt-nlg-530b.json", 12 * 105 * 20480 * 20480 + 13 * 105 * 20480 + (51200 + 2048) * 20480 + 2 * 20480),
      ("megatron-1t.json", 12 * 128 * 25600 * 25600 + 13 * 128 * 25600 + (51200 + 2048) * 25600 + 2 * 25600),
      ("megatron-1.7b.json", 12 * 24 * 2304 * 2304 + 13 * 24 * 2304 + (51200 + 2048) * 2304 + 2 * 2304),
      ("megatron-3.6b.json", 12 * 30 * 3072 * 3072 + 13 * 30 * 3072 + (51200 + 2048) * 3072 + 2 * 3072),
      ("megatron-7.5b.json", 12 * 36 * 4096 * 4096 + 13 * 36 * 4096 + (51200 + 2048) * 4096 + 2 * 4096),
      ("megatron-18b.json", 12 * 40 * 6144 * 6144 + 13 * 40 * 6144 + (51200 + 2048) * 6144 + 2 * 6144),
      ("megatron-22b.json", 12 * 48 * 6144 * 6144 + 13 * 48 * 6144 + (51200 + 2048) * 6144 + 2 * 6144),
      ("megatron-39b.json", 12 * 48 * 8192 * 8192 + 13 * 48 * 8192 + (51200 + 2048) * 8192 + 2 * 8192),
      ("megatron-76b.json", 12 * 60 * 10240 * 10240 + 13 * 60 * 10240 + (51200 + 2048) * 10240 + 2 * 10240),
      ("megatron-145b.json", 12 * 80 * 12288 * 12288 + 13 * 80 * 12288 + (51200 + 2048) * 12288 + 2 * 12288),
      ("megatron-310b.json", 12 * 96 * 16384 * 16384 + 13 * 96 * 16384 + (51200 + 2048) * 16384 + 2 * 16384),
      // Alpa's have a head of their own.
      ("gpt-1.3b.json", 12 * 24 * 2048 * 2048 + 13 * 24 * 2048 + (2 * 51200 + 1024) * 2048 + 2 * 2048),
      ("gpt-2.6b.json", 12 * 32 * 2560 * 2560 + 13 * 32 * 2560 + (2 * 51200 + 1024) * 2560 + 2 * 2560),
      ("gpt-6.7b.json", 12 * 32 * 4096 * 4096 + 13 * 32 * 4096 + (2 * 51200 + 1024) * 4096 + 2 * 4096),
      ("gpt-15b.json", 12 * 48 * 5120 * 5120 + 13 * 48 * 5120 + (2 * 51200 + 1024) * 5120 + 2 * 5120),
      ("gpt-39b.json", 12 * 48 * 8192 * 8192 + 13 * 48 * 8192 + (2 * 51200 + 1024) * 8192 + 2 * 8192),
      ("llama-3-8b-128k.json", 8_030_261_248), ("clip-vit-l-14.json", 427_616_513),
      ("mlp.json", 2 * 4096 * 1024 + 2 * 4096 * 1024 + 4096 + 1024),
    ])
  func modelFiles(file: String, parameters: Int) throws {
    let graph = try ModelReader.read(modelFile(file)).graph
    #expect(graph.parameterCount == parameters)
    #expect(graph.name + ".json" == file)
    #expect(graph.loss != nil && graph.outputs.map(\.name).first == (file.hasPrefix("clip") ? "logits_per_text" : "logits"))
    #expect(graph.workload.batch != nil && (graph.workload.sequence != nil) == graph.choosesSequence)
  }

  @Test("What a configuration leaves out of its extents is told, with the library's value")
  func leftOut() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("left-out-\(UUID().uuidString).json")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data(#"{"model_type": "llama", "num_hidden_layers": 2, "vocab_size": 32000, "num_attention_heads": 32, "intermediate_size": 64}"#.utf8).write(
      to: file)
    #expect(try ModelReader.read(file.path).defaults == ["max_position_embeddings 2048", "hidden_size 4096"])
  }

  /// Alpa's benchmark printed 0.2541, 1.965 and 6.7277 billion for the first three.
  @Test(
    "Oracle: the parameters of Alpa's wide residual networks, from base channels and width factor",
    arguments: [
      ("wide-resnet-50-250m", [3, 4, 6, 3], 160, 2), ("wide-resnet-50", [3, 4, 6, 3], 448, 2), ("wide-resnet-50-6.8b", [3, 4, 6, 3], 320, 16),
      ("wide-resnet-101-13b", [3, 4, 23, 3], 320, 16),
    ])
  func wideResNets(file: String, stages: [Int], base: Int, width: Int) throws {
    var expected = 7 * 7 * 3 * base + 2 * base
    var channels = base
    for (stage, blocks) in stages.enumerated() {
      let narrow = base << stage
      for block in 0..<blocks {
        expected += channels * narrow + 2 * narrow + 9 * narrow * narrow * width + 2 * narrow * width
        expected += narrow * width * 4 * narrow + 2 * 4 * narrow
        if block == 0 { expected += channels * 4 * narrow + 2 * 4 * narrow }
        channels = 4 * narrow
      }
    }
    expected += channels * 1024 + 1024
    let graph = try ModelReader.read(modelFile("\(file).json")).graph
    #expect(graph.parameterCount == expected)
    #expect(graph.segments.dropFirst().dropLast().map(\.repeats) == stages.flatMap { [1, $0 - 1] })
  }

  @Test("Keys that are left out have the library's defaults")
  func defaults() throws {
    let gpt2 = try ModelReader.decode(configuration("{\"model_type\": \"gpt2\"}"))
    #expect(gpt2.parameterCount == 124_439_808)
    #expect(gpt2.maximumSequence == 1024 && gpt2.workload == Workload())
    let llama = try ModelReader.decode(configuration("{\"model_type\": \"llama\"}"))
    #expect(llama.parameterCount == 6_738_415_616 && llama.maximumSequence == 2048)
    #expect(try ModelReader.decode(configuration("{\"model_type\": \"bert\"}")).parameterCount == 109_482_240)
  }

  @Test("The graph carries the configuration's numbers")
  func attributes() throws {
    let gpt2 = try ModelReader.decode(configuration(Tiny.gpt2))
    #expect(gpt2.segments.map(\.name) == ["embedding", "block", "head"] && gpt2.segments.map(\.repeats) == [1, 3, 1])
    #expect(gpt2.workload == Workload(batch: 4, sequence: 5))
    #expect(gpt2.operators.contains { $0.kind == .dropout(probability: 0.1) && $0.name == "transformer.h.{i}.attn.dropout" })
    let silent = try ModelReader.decode(setting("resid_pdrop", 0, in: Tiny.gpt2))
    #expect(silent.operators.filter { if case .dropout = $0.kind { true } else { false } }.map(\.name) == ["transformer.drop"])

    let llama = try ModelReader.decode(configuration(Tiny.llamaWithBiases))
    let scaling = RotaryParameters.Llama3Scaling(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8)
    #expect(llama.operators.filter { $0.kind == .rotary(RotaryParameters(base: 10000, scaling: scaling)) }.count == 2)
  }

  @Test("rope_parameters says what rope_theta and rope_scaling say")
  func ropeParameters() throws {
    let old = try ModelReader.decode(setting("rope_theta", 5000, in: Tiny.llama))
    let new = try ModelReader.decode(setting("rope_parameters", ["rope_type": "default", "rope_theta": 5000.0], in: Tiny.llama))
    #expect(old == new)
    #expect(old.operators.contains { $0.kind == .rotary(RotaryParameters(base: 5000)) })
  }

  @Test(
    "The configurations that shared/peers/torch_tp.py dumps are read",
    arguments: [
      """
      {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_embd": 8, "n_head": 2, "n_inner": 32, "n_positions": 16,
       "n_ctx": 16, "vocab_size": 20, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "attn_pdrop": 0.0, "embd_pdrop": 0.0,
       "resid_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": true, "torch_dtype": "float32", "dtype": "float32",
       "use_cache": false}
      """,
      """
      {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4,
       "num_key_value_heads": 2, "head_dim": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "rms_norm_eps": 1e-5,
       "rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "hidden_act": "silu",
       "attention_bias": false, "mlp_bias": false, "bos_token_id": 0, "eos_token_id": 0, "attention_dropout": 0.0,
       "tie_word_embeddings": true, "torch_dtype": "float32", "dtype": "float32", "use_cache": false}
      """,
    ])
  func peerConfigurations(config: String) throws {
    let graph = try ModelReader.decode(configuration(config))
    #expect(graph.maximumSequence == 16 && graph.segments[1].repeats == 2)
    // Tied: the head reads the embedding's table, and no dropout is left.
    let table = try #require(graph.tensors.indices.first { graph.tensors[$0].isParameter })
    #expect(graph.consumers[table].map { graph.operators[$0.op].name }.last == "lm_head")
    #expect(!graph.operators.contains { $0.kind.formatName == "dropout" })
  }

  /// By hand from the dimensions: the language model's products, norms and table; what is put between its layers; the resampler; the encoder.
  @Test("Oracle: Flamingo's parameters, and which of them are learned")
  func flamingo() throws {
    let graph = try ModelReader.read(modelFile("flamingo-80b.json")).graph
    let (h, visual) = (8192, 1536)
    let language = 80 * (4 * h * h + 2 * h * 4 * h + 2 * h) + 32000 * h + h
    let cross = 12 * (2 * h * h + 2 * visual * h + 2 * h * 4 * h + 4 * h + 2)
    let resampler = 6 * (4 * visual * 2048 + 2 * visual * 4 * visual + 6 * visual) + 64 * visual + visual + 2 * visual
    let v = 1280
    let vision = 22 * (4 * (v * v + v) + 2 * v * 4 * v + 5 * v + 4 * v) + 3072 * v + v + 100 * v + 2 * v + v * visual
    #expect(graph.parameterCount == language + cross + resampler + vision)
    #expect((435_000_000..<440_000_000).contains(vision) && (188_000_000..<195_000_000).contains(resampler))
    let learned = graph.reachesLoss()
    let count = graph.tensors.indices.reduce(0) { total, id in
      guard graph.tensors[id].isParameter, learned[id], let site = graph.consumers[id].first else { return total }
      return total + graph.count(id) * graph.segments[graph.segmentOfOperator[site.op]].repeats
    }
    #expect(count == cross + resampler)
    // The encoder has no backward pass, and the resampler's features do not outlive it.
    #expect(graph.segmentsWithBackward() == [false, false, true, true, true, true, true, true])
  }

  @Test("CLIP: texts wait for the images, the end token is the one that the file names, and the loss couples the batch")
  func twoTowers() throws {
    let clip = try ModelReader.decode(configuration(Tiny.clip))
    #expect(clip.segments.map(\.name) == ["text_embedding", "text_block", "image_embedding", "image_block", "head"])
    #expect(clip.segments.map(\.repeats) == [1, 3, 1, 2, 1])
    #expect(clip.segments[3].entries.count == 2 && clip.operators.contains { $0.kind == .pass })
    #expect(clip.operators.contains { $0.kind == .selectMarkedToken(id: nil) } && clip.couplesBatch)
    // The number of patches is the image's, whatever the workload's sequence; the candidates are the batch.
    let sized = clip.sized(batch: 7, sequence: 4)
    #expect(sized.axes.filter { $0.name == "image_seq" || $0.name == "seq" || $0.name == "candidates" }.map(\.extent) == [4, 10, 7])
    let named = try ModelReader.decode(configuration(Tiny.clip.replacing("\"eos_token_id\": 2", with: "\"eos_token_id\": 19")))
    #expect(named.operators.contains { $0.kind == .selectMarkedToken(id: 19) })
    // Beside it, an old file's second description of a tower is the one that counts.
    let old = try ModelReader.decode(setting("text_config_dict", ["num_hidden_layers": 4], in: Tiny.clip))
    #expect(old.segments[1].repeats == 4 && old.axes.contains { $0.name == "vocab" && $0.extent == 49408 })
  }

  @Test("A loss of pairs may be meant for each micro-batch")
  func perMicroBatch() throws {
    guard case .object(var object) = ModelReader.encode(try ModelReader.decode(configuration(Tiny.clip))) else { return }
    object["per_microbatch"] = true
    let graph = try ModelReader.decode(Document(file: "model.json", value: .object(object)).root)
    #expect(graph.isPerMicroBatch && !graph.couplesBatch)
  }

  @Test("BERT attends under the padding mask; the others have no mask", arguments: Tiny.all)
  func inputs(config: String) throws {
    let graph = try ModelReader.decode(configuration(config))
    let inputs = Set(graph.tensors.filter(\.isInput).map(\.name))
    let isBert = config.contains("bert")
    #expect(inputs.contains("attention_mask") == isBert && inputs.contains("token_type_ids") == isBert)
    #expect(inputs.contains("labels") == (graph.loss != nil && !config.contains("clip")))
    #expect(inputs.contains("pixel_values") == (config.contains("vit") || config.contains("clip")))
    #expect(graph.choosesSequence != config.contains("vit"))
  }
}
