// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Strategies
import Testing

@testable import Launches

/// torchtitan's jobs: published ones, and what is wrong with others.
@Suite struct TorchtitanTests {
  private func read(_ text: String, model: Graph? = nil) throws -> Launch { try TorchtitanLaunch.reading(text, file: "job.toml", model: model) }

  private func published(_ name: String) throws -> Launch { try read(LaunchFixtures.text("torchtitan-\(name).toml")) }

  @Test("Llama 3 8B: FSDP over all devices")
  func llama8B() throws {
    let launch = try published("llama3_8b")
    #expect(launch.leavesDataOpen && launch.degrees.zero == .weights && launch.degrees.tensor == 1 && !launch.degrees.isSequenceParallel)
    #expect(launch.sequence == 8192 && launch.degrees.microBatchSize == 1 && launch.batchPerReplica == 1)
    #expect(launch.precision == .bf16 && launch.software.overlap == .weights && launch.software.crossEntropy == .unfused)
    #expect(launch.degrees.recompute == .elementwise)
    #expect(launch.findings.map(\.place) == ["activation_checkpoint.selective_ac_option"], "\(launch.findings)")
    #expect(try launch.settled(on: 64).batch == 64)
  }

  @Test("Llama 3 405B: FSDP, tensor parallelism behind its products, float8 and a compiled loss")
  func llama405B() throws {
    let launch = try published("llama3_405b")
    #expect(
      launch.degrees.tensor == 8 && launch.degrees.isSequenceParallel && launch.degrees.recompute == .full && launch.software.crossEntropy == .fused)
    #expect(launch.findings.map(\.severity) == [.ignored, .ignored], "\(launch.findings)")
    #expect(LaunchFixtures.has(launch.findings, .ignored, "model.converters", "float8"))
    #expect(LaunchFixtures.has(launch.findings, .ignored, "parallelism.enable_async_tensor_parallel", "in full"))
    #expect(try launch.settled(on: 128).degrees.data == 16)
  }

  @Test("A job of 2024 has its settings in other sections, and means the same")
  func older() throws {
    let (old, new) = (try published("llama3_70b-2024"), try published("llama3_70b"))
    #expect(old.findings.isEmpty && new.findings.isEmpty, "\(old.findings) \(new.findings)")
    #expect(old.degrees == new.degrees && old.sequence == new.sequence && old.precision == new.precision && old.software == new.software)
    #expect(old.degrees.microBatchSize == 8 && old.degrees.tensor == 8)
  }

  @Test(
    "Models by name have the sizes of the models that are shipped",
    arguments: [("8B", "llama-3-8b"), ("70B", "llama-3-70b"), ("405B", "llama-3-405b")])
  func flavors(flavor: String, shipped: String) throws {
    let own = try #require(TorchtitanFlavor(model: "llama3", flavor: flavor)).graph(positions: 8192)
    let known = try Samples.model(shipped)
    #expect(own.parameterCount == known.parameterCount && own.operators.map(\.name) == known.operators.map(\.name))
    #expect(own.segments.map(\.repeats) == known.segments.map(\.repeats))
    func extents(_ graph: Graph) -> [String: Int] {
      Dictionary(uniqueKeysWithValues: graph.axes.filter { ![.batch, .sequence].contains($0.role) }.map { ($0.name, $0.extent) })
    }
    #expect(extents(own) == extents(known))
    #expect(TorchtitanFlavor.of(known)?.name == flavor)
  }

  @Test("The debug model is what its name says, and other models are no flavour")
  func debugModel() throws {
    let launch = try published("debug_model")
    #expect(launch.graph?.name == "llama3-debugmodel")
    // Every second of six layers is computed again.
    #expect(launch.degrees.recompute == .full && launch.degrees.recomputedLayers == 3)
    #expect(TorchtitanFlavor.of(try LaunchFixtures.llama(layers: 6, heads: 16, keyValueHeads: 16)) == nil)
    #expect(TorchtitanFlavor.of(try LaunchFixtures.gpt2(layers: 2)) == nil)
    #expect(TorchtitanFlavor(model: "llama3", flavor: "8B_flex")?.name == "8B")
    #expect(TorchtitanFlavor(model: "llama3", flavor: "8C") == nil && TorchtitanFlavor(model: "qwen3", flavor: "debugmodel_moe") == nil)
  }

  private static let small = "[model]\nname = \"llama3\"\nflavor = \"debugmodel\"\n[training]\nseq_len = 256\n"

  /// Settings of [parallelism] and after, and one of the findings.
  private static let findings: [(String, Finding.Severity, String, String)] = [
    (
      "tensor_parallel_degre = 2", .illegal, "parallelism.tensor_parallel_degre",
      "did you mean parallelism.tensor_parallel_degree? (torchtitan refuses it)"
    ),
    ("[trainin]\nseq_len = 3", .illegal, "trainin.seq_len", "did you mean training.seq_len?"),
    ("tensor_parallel_degree = \"2\"", .illegal, "parallelism.tensor_parallel_degree", "found the string"),
    ("tensor_parallel_degree = 0", .illegal, "parallelism.tensor_parallel_degree", "from 1 to"),
    ("tensor_parallel_degree = 3", .illegal, "parallelism.tensor_parallel_degree", "3 does not divide the model's 16 key-value heads"),
    ("data_parallel_shard_degree = 0", .illegal, "parallelism.data_parallel_shard_degree", "expected -1"),
    ("data_parallel_replicate_degree = 2", .ignored, "parallelism.data_parallel_replicate_degree", "HSDP"),
    (
      "data_parallel_replicate_degree = 2\ndata_parallel_shard_degree = 1\ntensor_parallel_degree = 2", .illegal,
      "parallelism.data_parallel_replicate_degree", "no other parallelism"
    ),
    ("tensor_parallel_degree = 2\ndata_parallel_shard_degree = 1", .doubtful, "training.mixed_precision_param", "float32"),
    ("context_parallel_degree = 3", .illegal, "training.seq_len", "256 is no multiple of"),
    ("context_parallel_rotate_method = \"allgathr\"", .illegal, "parallelism.context_parallel_rotate_method", "did you mean \"allgather\"?"),
    (
      "expert_parallel_degree = 4\nexpert_tensor_parallel_degree = 2\ntensor_parallel_degree = 4", .illegal,
      "parallelism.expert_tensor_parallel_degree", "expected 1 or"
    ),
    (
      "expert_parallel_degree = 4\ntensor_parallel_degree = 2", .ignored, "parallelism.expert_tensor_parallel_degree", "splits each expert's products"
    ),
    ("disable_loss_parallel = true\ntensor_parallel_degree = 2", .ignored, "parallelism.disable_loss_parallel", "split by vocabulary"),
    ("enable_async_tensor_parallel = true\ntensor_parallel_degree = 2", .illegal, "parallelism.enable_async_tensor_parallel", "compile.enable"),
    ("pipeline_parallel_degree = 2\npipeline_parallel_schedule = \"2F2B\"", .illegal, "parallelism.pipeline_parallel_schedule", "found \"2F2B\""),
    (
      "pipeline_parallel_degree = 2\npipeline_parallel_schedule = \"ZBVZeroBubble\"", .ignored, "parallelism.pipeline_parallel_schedule",
      "priced as Interleaved1F1B"
    ),
    (
      "pipeline_parallel_degree = 2\npipeline_parallel_microbatch_size = 3", .illegal, "parallelism.pipeline_parallel_microbatch_size",
      "3 does not divide"
    ),
    ("pipeline_parallel_degree = 2\npipeline_parallel_layers_per_stage = 2", .illegal, "parallelism.pipeline_parallel_schedule", "cut into 4 parts"),
    ("pipeline_parallel_degree = 9", .illegal, "parallelism.pipeline_parallel_degree", "6 layers over 9 parts"),
    (
      "pipeline_parallel_degree = 2\npipeline_parallel_split_points = [\"layers.9\"]", .illegal, "parallelism.pipeline_parallel_split_points",
      "no layers.9"
    ),
    (
      "pipeline_parallel_degree = 2\npipeline_parallel_split_points = [\"norm\"]", .illegal, "parallelism.pipeline_parallel_split_points", "ascending"
    ),
    (
      "pipeline_parallel_degree = 2\nmodule_fqns_per_model_part = [[\"layers.0\"], [\"layers.2\"]]", .illegal,
      "parallelism.module_fqns_per_model_part", "found layers.2"
    ),
    ("pipeline_parallel_degree = 2\nmodule_fqns_per_model_part = [[\"layers.0\"], [\"layers.1\"]]", .illegal, "parallelism", "the model has 6"),
    ("fsdp_reshard_after_forward = \"sometimes\"", .illegal, "parallelism.fsdp_reshard_after_forward", "expected one of"),
    ("[optimizer]\nname = \"SGD\"", .illegal, "optimizer.name", "expected one of \"AdamW\", \"Adam\""),
    ("[optimizer]\nname = \"Adam\"", .ignored, "optimizer.name", "priced as AdamW"),
    (
      "pipeline_parallel_degree = 2\n[optimizer]\nearly_step_in_backward = true", .illegal, "optimizer.early_step_in_backward",
      "pipeline_parallel_degree 2"
    ),
    (
      "[activation_checkpoint]\nmode = \"selective\"\nselective_ac_option = \"x\"", .illegal, "activation_checkpoint.selective_ac_option",
      "expected \"op\""
    ),
    ("[activation_checkpoint]\nmode = \"memory_budget\"", .ignored, "activation_checkpoint.mode", "memory budget"),
  ]

  @Test("Each finding, with its place", arguments: findings)
  func finding(text: String, severity: Finding.Severity, place: String, words: String) throws {
    let launch = try read(Self.small + "[parallelism]\n" + text)
    #expect(LaunchFixtures.has(launch.findings, severity, place, words), "\(launch.findings)")
  }

  @Test("Findings of the training itself")
  func training() throws {
    func launch(_ text: String) throws -> Launch { try read("[training]\nseq_len = 256\n" + text) }
    #expect(LaunchFixtures.has(try launch("batch_size = 4\nlocal_batch_size = 4").findings, .illegal, "training.batch_size", "older name"))
    #expect(LaunchFixtures.has(try launch("enable_cpu_offload = true").findings, .ignored, "training.enable_cpu_offload", "not priced"))
    let working = try launch("dtype = \"bfloat16\"")
    #expect(working.software.gradients == .working && LaunchFixtures.has(working.findings, .ignored, "training.dtype", "master weights"))
    #expect(try launch("mixed_precision_param = \"float32\"").precision == .fp32)
    let uneven = try launch("local_batch_size = 3\nglobal_batch_size = 8\n[parallelism]\ndata_parallel_shard_degree = 2")
    #expect(LaunchFixtures.has(uneven.findings, .illegal, "training.global_batch_size", "8 is no multiple of"))
    let drained = try launch(
      "local_batch_size = 2\nglobal_batch_size = 8\n[parallelism]\ndata_parallel_shard_degree = 2\npipeline_parallel_degree = 2")
    #expect(LaunchFixtures.has(drained.findings, .ignored, "training.global_batch_size", "empties the pipeline"))
    let foreign = try read(
      "[model]\nname = \"deepseek_v3\"\nflavor = \"16B\"\n[parallelism]\npipeline_parallel_degree = 2\n[activation_checkpoint]\nmode = \"selective\"\nselective_ac_option = \"2\""
    )
    #expect(foreign.graph == nil && LaunchFixtures.has(foreign.findings, .ignored, "model", "deepseek_v3 16B"))
    #expect(LaunchFixtures.has(foreign.findings, .ignored, "activation_checkpoint.selective_ac_option", "how many there are"))
  }

  @Test("Stages: weighted, by split points, by layers of a stage, by modules, and interleaved")
  func stages() throws {
    func degrees(_ text: String) throws -> MegatronDegrees { try read(Self.small + "[parallelism]\n" + text).degrees }
    // Embedding and head count as a layer each: eight over two, and over four.
    #expect(try degrees("pipeline_parallel_degree = 2").stageLayers == [3, 3])
    #expect(try degrees("pipeline_parallel_degree = 4").stageLayers == [1, 2, 2, 1])
    #expect(try degrees("pipeline_parallel_degree = 2\npipeline_parallel_first_stage_less_layers = 0").stageLayers == [4, 2])
    let split = try degrees("pipeline_parallel_degree = 2\npipeline_parallel_split_points = [\"layers.1\"]")
    #expect(split.stageLayers == [1, 5] && split.schedule == .oneForwardOneBackward && split.zero == .gradients)
    #expect(try degrees("pipeline_parallel_degree = 2\npipeline_parallel_split_points = \"layers.4\"").stageLayers == [4, 2])
    let looped = try degrees("pipeline_parallel_degree = 2\npipeline_parallel_schedule = \"Interleaved1F1B\"")
    #expect(looped.chunks == 2 && looped.schedule == .interleaved && looped.stageLayers == [1, 2, 2, 1])
    let modules = try degrees(
      "pipeline_parallel_degree = 2\npipeline_parallel_schedule = \"GPipe\"\nmodule_fqns_per_model_part = [[\"tok_embeddings\"], "
        + "[\"layers.0\", \"layers.1\", \"layers.2\", \"layers.3\", \"layers.4\", \"layers.5\", \"norm\", \"output\"]]")
    #expect(modules.stageLayers == [0, 6] && modules.schedule == .gpipe)
    #expect(try degrees("pipeline_parallel_degree = 2\nfsdp_reshard_after_forward = \"always\"").zero == .weights)
  }

  @Test("A text that is no job is an error that says so")
  func malformed() {
    #expect(throws: LaunchError.self) { try read("[project]\nname = \"x\"") }
    #expect { try read("[training]\nseq_len = ") } throws: { "\($0)".hasPrefix("job.toml:2:11: not valid TOML") }
  }

  @Test(
    "oracle: Llama 2 and Qwen 3 have the parameters of their papers",
    arguments: [
      ("llama2", "7B", 6.74), ("llama2", "13B", 13.02), ("llama2", "70B", 68.98), ("qwen3", "0.6B", 0.596), ("qwen3", "8B", 8.19),
      ("qwen3", "32B", 32.76),
    ])
  func flavors(model: String, flavor: String, billions: Double) throws {
    let graph = try #require(TorchtitanFlavor(model: model, flavor: flavor)).graph(positions: 2048)
    #expect(abs(Double(graph.parameterCount) / 1e9 / billions - 1) < 0.005, "\(graph.parameterCount)")
  }

  @Test("Settings that the code of a model adds are doubtful, and illegal in a job of torchtitan's own")
  func ownSettings() throws {
    let text = "[training]\nimg_size = 256\n[encoder]\nmax_length = 256\n"
    let flux = try read("[model]\nname = \"flux\"\nflavor = \"flux-dev\"\n" + text)
    for place in ["training.img_size", "encoder.max_length"] {
      #expect(LaunchFixtures.has(flux.findings, .doubtful, place, "unless the code of flux adds it"), "\(flux.findings)")
      #expect(LaunchFixtures.has(try read("[model]\nname = \"llama3\"\nflavor = \"8B\"\n" + text).findings, .illegal, place, "refuses it"))
    }
    let custom = try read("[job]\ncustom_config_module = \"mine.config\"\n[model]\nname = \"llama3\"\nflavor = \"8B\"\n" + text)
    #expect(LaunchFixtures.has(custom.findings, .doubtful, "training.img_size", "is no setting"))
  }

  @Test("Names of May 2024")
  func oldest() throws {
    let launch = try read(
      "[model]\nname = \"llama2\"\nflavor = \"7B\"\n[training]\nbatch_size = 8\nfp8_linear = \"\"\npipeline_parallel_degree = 2\ntensor_parallel_degree = 2"
    )
    #expect(
      launch.degrees.pipeline == 2 && launch.degrees.tensor == 2 && launch.findings.allSatisfy { $0.severity == .ignored }, "\(launch.findings)")
    let eight = try read("[model]\nname = \"llama2\"\nflavor = \"7B\"\n[training]\nfp8_linear = \"dynamic\"")
    #expect(LaunchFixtures.has(eight.findings, .ignored, "training.fp8_linear", "8 bits"))
  }
}
