// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Planner
import Strategies
import Testing

@testable import Launches

/// DeepSpeed's configurations: published ones, and what is wrong with others.
@Suite struct DeepSpeedTests {
  private func read(_ text: String) throws -> Launch { try DeepSpeedLaunch.reading(text, file: "ds.json") }

  private func published(_ name: String) throws -> Launch { try read(LaunchFixtures.text(name)) }

  @Test("ZeRO 2 in fp16: the batch is given, the micro-batch follows from the devices")
  func zero2() throws {
    let launch = try published("deepspeed-gpt2-zero2.json")
    #expect(launch.findings.isEmpty, "\(launch.findings)")
    #expect(launch.degrees.zero == .gradients && launch.precision == .fp16 && launch.software.gradients == .working)
    #expect(launch.software.overlap == .none && launch.degrees.recompute == .none && launch.leavesDataOpen)
    #expect(launch.batch == 4 && launch.accumulationSteps == 1)
    let settled = try launch.settled(on: 2)
    #expect(settled.degrees.data == 2 && settled.degrees.microBatchSize == 2)
  }

  @Test("Accumulated gradients: the batch follows from the replicas; activations are checkpointed")
  func accumulating() throws {
    let launch = try published("deepspeed-gpt2-accumulating.json")
    #expect(launch.batch == nil && launch.batchPerReplica == 24 && launch.degrees.microBatchSize == 8)
    #expect(try launch.settled(on: 4).batch == 96)
    #expect(launch.degrees.recompute == .full)
    #expect(LaunchFixtures.has(launch.findings, .ignored, "activation_checkpointing.partition_activations", "priced whole"))
    #expect(LaunchFixtures.has(launch.findings, .doubtful, "activation_checkpointing.contiguous_memory_optimization", "number_checkpoints"))
  }

  @Test("Offloading is said not to be priced")
  func offloading() throws {
    let launch = try published("deepspeed-gpt2-offload.json")
    #expect(LaunchFixtures.has(launch.findings, .ignored, "zero_optimization.cpu_offload", "optimizer state on cpu is not priced"))
    let infinity = try read(
      #"{"train_batch_size": 8, "zero_optimization": {"stage": 2, "offload_param": {"device": "nvme"}, "offload_optimizer": {"device": "cpu", "ratio": 0.5}}}"#
    )
    #expect(LaunchFixtures.has(infinity.findings, .illegal, "zero_optimization.offload_param.device", "stage 3 alone"))
    #expect(LaunchFixtures.has(infinity.findings, .ignored, "zero_optimization.offload_param.device", "weights on nvme"))
    #expect(LaunchFixtures.has(infinity.findings, .illegal, "zero_optimization.offload_optimizer.ratio", "stage 3"))
  }

  @Test("ZeRO 3 in bf16, with communication behind computing")
  func zero3() throws {
    let launch = try published("deepspeed-zero3.json")
    #expect(launch.findings.isEmpty, "\(launch.findings)")
    #expect(launch.degrees.zero == .weights && launch.precision == .bf16 && launch.optimizer == .adamw && launch.software.overlap == .weights)
    #expect(launch.batchPerReplica == 1 && launch.degrees.microBatchSize == 1)
  }

  @Test("What Hugging Face's Trainer fills in is left open")
  func automatic() throws {
    let launch = try published("transformers-zero3.json")
    // Nothing but what stays in the host's memory is out of its price.
    #expect(
      launch.findings.map(\.place) == ["zero_optimization.offload_optimizer.device", "zero_optimization.offload_param.device"], "\(launch.findings)")
    #expect(launch.findings.allSatisfy { $0.severity == .ignored })
    #expect(launch.precision == nil && launch.batch == nil && launch.batchPerReplica == nil && launch.degrees.microBatchSize == nil)
    #expect(launch.degrees.zero == .weights)
    let graph = try LaunchFixtures.llama(layers: 4, heads: 8, keyValueHeads: 8)
    let job = try LaunchJob(launch, graph: graph, on: Samples.hardware("dgx-a100"), devices: 8, batch: 32)
    #expect(job.assumptions.contains("micro-batches of 4: all that a replica has (train_micro_batch_size_per_gpu)"), "\(job.assumptions)")
    let given = try read(#"{"train_batch_size": 32, "gradient_accumulation_steps": 2}"#)
    #expect(try !LaunchJob(given, graph: graph, on: Samples.hardware("dgx-a100"), devices: 8).assumptions.contains { $0.contains("micro-batches") })
  }

  @Test("Batch, micro-batch and accumulation must agree; all three give the replicas")
  func batches() throws {
    let all = try read(#"{"train_batch_size": 64, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}"#)
    #expect(all.findings.isEmpty && all.degrees.data == 8 && !all.leavesDataOpen)
    let wrong = try read(#"{"train_batch_size": 60, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}"#)
    #expect(LaunchFixtures.has(wrong.findings, .illegal, "train_batch_size", "60 is no multiple"))
    let odd = try read(#"{"train_batch_size": 9, "train_micro_batch_size_per_gpu": 4}"#)
    #expect(LaunchFixtures.has(odd.findings, .illegal, "train_batch_size", "no multiple of train_micro_batch_size_per_gpu, 4"))
    let none = try read(#"{"zero_optimization": {"stage": 1}}"#)
    #expect(LaunchFixtures.has(none.findings, .illegal, "train_batch_size", "is missing"))
    let uneven = try read(#"{"train_batch_size": 6, "gradient_accumulation_steps": 1}"#)
    #expect(throws: PlannerError.self) { try uneven.settled(on: 4) }
  }

  /// A configuration, and one of its findings.
  private static let findings: [(String, Finding.Severity, String, String)] = [
    (#""zero_optimisation": {"stage": 2}"#, .doubtful, "zero_optimisation.stage", "DeepSpeed passes over it"),
    (#""train_batchsize": 3"#, .doubtful, "train_batchsize", "did you mean train_batch_size?"),
    (#""zero_optimization": {"stages": 2}"#, .illegal, "zero_optimization.stages", "did you mean zero_optimization.stage? (DeepSpeed refuses it)"),
    (#""overlap_comm": true"#, .doubtful, "overlap_comm", "did you mean zero_optimization.overlap_comm?"),
    (#""zero_optimization": {"stage": 4}"#, .illegal, "zero_optimization.stage", "found the number 4, expected a whole number from 0 to 3"),
    (#""zero_optimization": {"stage": "two"}"#, .illegal, "zero_optimization.stage", "found the string"),
    (#""zero_optimization": true"#, .doubtful, "zero_optimization", "form of old versions"),
    (#""zero_optimization": {"stage": 2}, "pipeline": {"stages": 2}"#, .illegal, "zero_optimization.stage", "does not go with a pipeline"),
    (
      #""zero_optimization": {"stage": 1, "overlap_comm": true}, "pipeline": {"stages": 2}"#, .doubtful, "zero_optimization.overlap_comm",
      "switches it off"
    ),
    (#""zero_optimization": {"stage": 3, "zero_hpz_partition_size": 8}"#, .ignored, "zero_optimization.zero_hpz_partition_size", "hpZ"),
    (
      #""zero_optimization": {"stage": 1, "zero_hpz_partition_size": 8}"#, .doubtful, "zero_optimization.zero_hpz_partition_size",
      "no effect in stage 1"
    ),
    (#""zero_optimization": {"stage": 3, "zero_quantized_weights": true}"#, .ignored, "zero_optimization.zero_quantized_weights", "not quantised"),
    (#""zero_optimization": {"stage": 3, "mics_shard_size": 4}"#, .ignored, "zero_optimization.mics_shard_size", "MiCS"),
    (
      #""zero_optimization": {"stage": 0, "offload_optimizer": {"device": "cpu"}}"#, .illegal, "zero_optimization.offload_optimizer.device",
      "stages 1, 2 and 3"
    ),
    (#""fp16": {"enabled": true}, "bf16": {"enabled": true}"#, .illegal, "bf16.enabled", "fp16 is enabled too"),
    (#""fp16": {"enabled": 1}"#, .illegal, "fp16.enabled", "expected true or false"),
    (#""bf16": {"enabled": true}, "data_types": {"grad_accum_dtype": "fp32"}"#, .illegal, "data_types.grad_accum_dtype", "from ZeRO stage 1 on"),
    (#""bf16": {"enabled": true, "bf16_optimizer_states": true}"#, .illegal, "bf16.bf16_optimizer_states", "needs bf16_master_weights_and_grads"),
    (#""amp": {"enabled": true}"#, .ignored, "amp", "Apex"),
    (#""optimizer": {"type": "Lamb"}"#, .ignored, "optimizer.type", "Lamb is priced as AdamW"),
    (#""optimizer": {"type": "Prodigy"}, "zero_optimization": {"stage": 1}"#, .illegal, "optimizer.type", "zero_allow_untested_optimizer"),
    (#""optimizer": {"type": "Adam", "params": {"max_grad_norm": 1}}"#, .illegal, "optimizer.params.max_grad_norm", "gradient_clipping"),
    (#""activation_checkpointing": {"cpu_checkpointing": true}"#, .ignored, "activation_checkpointing.cpu_checkpointing", "not priced"),
    (#""pipeline": {"stages": 2, "activation_checkpoint_interval": 2}"#, .ignored, "pipeline.activation_checkpoint_interval", "2 layers at a time"),
    (#""pipeline": {"stages": 2, "partition": "parameters"}"#, .ignored, "pipeline.partition", "cut evenly"),
    (
      #""expert_parallel": {"enabled": true, "autoep_size": 2, "expert_tensor_parallel_size": 2}"#, .illegal,
      "expert_parallel.expert_tensor_parallel_size", "found 2"
    ),
    (#""elasticity": {"enabled": true}"#, .doubtful, "elasticity", "another batch"),
    (#""tensor_parallel": {"autotp_size": 2}"#, .ignored, "tensor_parallel.autotp_size", "usual names"),
    (
      #""tensor_parallel": {"autotp_size": 2, "partition_config": {"layer_specs": [{"patterns": ["a(?=b)"], "partition_type": "row"}]}}"#, .ignored,
      "tensor_parallel.partition_config.layer_specs[0].patterns", "no pattern that is read here"
    ),
    (
      #""tensor_parallel": {"autotp_size": 2, "partition_config": {"layer_specs": [{"patterns": ["a"], "partition_type": "rows"}]}}"#, .illegal,
      "tensor_parallel.partition_config.layer_specs[0].partition_type", "expected column, row or skip"
    ),
  ]

  @Test("Each finding, with its place", arguments: findings)
  func finding(text: String, severity: Finding.Severity, place: String, words: String) throws {
    let launch = try read("{\"train_micro_batch_size_per_gpu\": 1, \(text)}")
    #expect(LaunchFixtures.has(launch.findings, severity, place, words), "\(launch.findings)")
  }

  @Test("Degrees: Ulysses, a pipeline, experts, and gradients in fp32 beside those in bf16")
  func degrees() throws {
    let launch = try read(
      #"""
      {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 8, "sequence_parallel_size": 4, "pipeline": {"stages": 2, "activation_checkpoint_interval": 1},
       "expert_parallel": {"enabled": true, "autoep_size": 2}, "bf16": {"enabled": true}, "zero_optimization": {"stage": 1},
       "data_types": {"grad_accum_dtype": "fp32"}}
      """#)
    #expect(launch.degrees.context == 4 && launch.degrees.contextWay == .ulysses && launch.degrees.pipeline == 2 && launch.degrees.expert == 2)
    #expect(launch.software.gradients == .both && launch.degrees.recompute == .full && launch.batchPerReplica == 8)
    #expect(try launch.settled(on: 16).degrees.data == 2)
  }

  @Test("AutoTP's patterns are read as far as they are simple")
  func patterns() throws {
    #expect(PatternGlobs(".*\\.self_attn\\.[qk]_proj\\.weight$")?.globs == ["*.self_attn.q_proj", "*.self_attn.k_proj"])
    #expect(
      PatternGlobs("^model\\.layers\\.\\d+\\.mlp\\.(?:up|gate)_proj\\.weight$")?.globs == [
        "model.layers.*.mlp.up_proj", "model.layers.*.mlp.gate_proj",
      ])
    #expect(PatternGlobs("lm_head")?.globs == ["lm_head*"])
    for expression in ["a+", "a{2}", "[^a]", "(a", "a|b", "\\w+", "a."] { #expect(PatternGlobs(expression) == nil, "\(expression)") }
    let launch = try read(
      #"""
      {"train_batch_size": 8, "tensor_parallel": {"autotp_size": 2, "partition_config": {"use_default_specs": false, "layer_specs": [
        {"patterns": [".*\\.o_proj\\.weight$", ".*\\.down_proj\\.weight$"], "partition_type": "row"},
        {"patterns": [".*\\.[qkv]_proj\\.weight$"], "partition_type": "column"}, {"patterns": [".*lm_head\\.weight$"], "gather_output": true}]}}}
      """#)
    #expect(launch.findings.isEmpty, "\(launch.findings)")
    #expect(
      launch.styles == [
        .init("*.o_proj", "rowwise"), .init("*.down_proj", "rowwise"), .init("*.q_proj", "colwise"), .init("*.k_proj", "colwise"),
        .init("*.v_proj", "colwise"), .init("*lm_head", "colwise_gather_output"),
      ])
  }

  @Test("A text that is no configuration is an error that says so")
  func malformed() {
    for text in ["[]", "3", "{}", #"{"model_type": "gpt2"}"#] { #expect(throws: LaunchError.self) { try read(text) } }
    // Comments are not JSON.
    #expect { try read("{\n  // batch\n  \"train_batch_size\": 8\n}") } throws: { "\($0)".hasPrefix("ds.json:2:3: not valid JSON") }
  }
}
