// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Quantities
import TestSupport
import Testing

@testable import Launches
@testable import tpplan

/// Every change that `lint` names is written into the launch as a person would, and the launch is read again: it takes what was promised.
@Suite struct ChangeTests {
  /// Drawn launches of each format.
  private static let seeds = 0..<10

  private func check(_ format: LaunchFormat, _ text: String, _ graph: Graph?, devices: Int = 8, apply: (String) throws -> String) throws -> Int {
    let hardware = try Samples.hardware("dgx-a100")
    func job(_ text: String, _ devices: Int) throws -> LaunchJob {
      let launch = try format.read(Array(text.utf8), file: "launch", model: graph)
      return try LaunchJob(
        launch, graph: try #require(graph ?? launch.graph), on: hardware, devices: devices, batch: format == .huggingFace ? 32 : nil,
        sequence: format == .torchtitan || format == .megatron ? nil : 64, isModelGiven: graph != nil)
    }
    guard let before = try? job(text, devices), (try? before.planned()) != nil else { return 0 }
    let (changes, isComplete) = before.changes()
    #expect(isComplete)
    for change in changes where change.isSayable {
      let changed = try apply(change.text)
      let after = try job(changed, devices)
      let planned = try after.planned()
      #expect(planned.prediction.step == change.planned.prediction.step, "\(change.text)\n\(text)")
      #expect(planned.prediction.memory == change.planned.prediction.memory, "\(change.text)\n\(text)")
      #expect(after.request.batch == before.request.batch && after.degrees == change.degrees, "\(change.text)\n\(text)")
      // What is written is another launch.
      #expect(after.degrees != before.degrees || after.request.software != before.request.software, "\(change.text)\n\(text)")
    }
    return changes.count(where: \.isSayable)
  }

  @Test("A launch that leaves its replicas open fits on more devices as it is: the fewest, and what is read there")
  func moreDevices() throws {
    func job(_ shards: Int, _ devices: Int) throws -> LaunchJob {
      let text = """
        [model]
        name = "llama3"
        flavor = "70B"
        [training]
        local_batch_size = 1
        seq_len = 8192
        [parallelism]
        tensor_parallel_degree = 8
        data_parallel_shard_degree = \(shards)
        """
      let launch = try LaunchFormat.torchtitan.read(Array(text.utf8), file: "launch", model: nil)
      return try LaunchJob(launch, graph: try #require(launch.graph), on: Samples.hardware("dgx-h100"), devices: devices)
    }
    let wider = try #require(try job(-1, 8).onMoreDevices())
    #expect(wider.fits && wider.degrees.devices > 8 && wider.text == "as it is, which makes the batch \(wider.degrees.devices / 8)")
    #expect(try job(-1, wider.degrees.devices).planned().prediction == wider.planned.prediction)
    let half = try job(-1, wider.degrees.devices / 2).planned().prediction
    #expect(half.memory > half.memoryLimit)
    // Replicas that are written are no others on more devices.
    #expect(try job(1, 8).onMoreDevices() == nil)
  }

  @Test("property: changes of Megatron-LM's options, written into a script")
  func megatron() throws {
    var count = 0
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let options = Self.megatron(&random)
      count += try check(.megatron, Self.script(options), nil) { Self.script(Self.apply($0, to: options)) }
    }
    #expect(count > 8 * Self.seeds.count, "\(count)")
  }

  @Test("property: changes of DeepSpeed's settings, written into a configuration")
  func deepspeed() throws {
    var count = 0
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let object = Self.deepspeed(&random)
      count += try check(.deepspeed, object.canonicalText, LaunchFixtures.llama(layers: 8, heads: 8, keyValueHeads: 8)) { text in
        try Self.settings(text, ": ").reduce(object) { Self.setting($1.value, at: $1.path.split(separator: ".")[...], in: $0) }.canonicalText
      }
    }
    #expect(count > 4 * Self.seeds.count, "\(count)")
  }

  @Test("property: changes of torchtitan's settings, written into a job")
  func torchtitan() throws {
    var count = 0
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let job = Self.torchtitan(&random)
      count += try check(.torchtitan, Self.toml(job), LaunchFixtures.llama(layers: 8, heads: 8, keyValueHeads: 8)) { text in
        Self.toml(
          try Self.settings(text, " = ").reduce(into: job) { job, setting in
            job.removeAll { $0.path == setting.path }
            if let value = setting.value { job.append((setting.path, value.canonicalText)) }
          })
      }
    }
    #expect(count > 6 * Self.seeds.count, "\(count)")
  }

  @Test("A setting that stands under an older name is named by it")
  func olderNames() throws {
    let text = try LaunchFixtures.text("torchtitan-llama3_70b-2024.toml")
    func job(_ text: String) throws -> LaunchJob {
      let launch = try LaunchFormat.torchtitan.read(Array(text.utf8), file: "launch", model: nil)
      #expect(launch.findings.allSatisfy { $0.severity != .illegal }, "\(launch.findings)")
      return try LaunchJob(launch, graph: try #require(launch.graph), on: Samples.hardware("dgx-h100"), devices: 64)
    }
    let before = try job(text)
    var wanted = before.degrees
    (wanted.tensor, wanted.data, wanted.microBatchSize) = (4, 16, 4)
    let change = try #require(before.change(to: wanted))
    #expect(change.text == "training.tensor_parallel_degree = 4, training.data_parallel_degree = 16, training.batch_size = 4")
    let after = try job(
      text.replacing("tensor_parallel_degree = 8", with: "tensor_parallel_degree = 4").replacing("\nbatch_size = 8", with: "\nbatch_size = 4")
        .replacing("data_parallel_degree = -1", with: "data_parallel_degree = 16"))
    #expect(after.degrees == change.degrees)
  }

  @Test("property: changes of a plan of styles, whose only number is its size")
  func styles() throws {
    let plan = try JSON(parsing: Array(LaunchFixtures.text("tp-plan-llama.json").utf8), file: "plan")
    for size in [1, 2, 4, 8] {
      let object: JSON = ["tp_plan": plan, "tp_size": .int(size)]
      let count = try check(.huggingFace, object.canonicalText, LaunchFixtures.llama(layers: 4, heads: 8, keyValueHeads: 8)) { text in
        try Self.settings(text, ": ").reduce(object) { Self.setting($1.value, at: [Substring($1.path)][...], in: $0) }.canonicalText
      }
      #expect(count > 0)
    }
  }

  @Test("What makes a launch fit does so when it is written, also on more devices")
  func repairs() throws {
    let options = Samples.gpt3.replacing("--pipeline-model-parallel-size 8", with: "--pipeline-model-parallel-size 2")
      .replacing("NUM_NODES=8", with: "NUM_NODES=2")
    let launch = try MegatronLaunch.reading(options, file: "launch")
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "launch")
    try report.price(try #require(launch.graph), devices: nil, batch: nil, sequence: nil)
    report.findRepairs(seconds: 60, ProgressWatch())
    #expect(!report.fits && report.repairs.contains { $0.degrees.devices > 16 })
    // The options of the script, one by one.
    let command = try MegatronCommand(options, file: "launch")
    let before = command.options.map { ([$0.name] + $0.values).joined(separator: " ") }
    for repair in report.repairs {
      let changed = try MegatronLaunch.reading(Self.apply(repair.text, to: before).joined(separator: " "), file: "launch")
      let planned = try LaunchJob(changed, graph: try #require(changed.graph), on: report.hardware, devices: repair.degrees.devices).planned()
      #expect(
        planned.prediction.step == repair.planned.prediction.step && planned.prediction.memory <= planned.prediction.memoryLimit, "\(repair.text)")
    }
  }

  // MARK: - Writing changes

  /// Options, each with its values, where a change's words are followed.
  private static func apply(_ text: String, to options: [String]) -> [String] {
    var options = options
    var words = text.split(separator: " ").map(String.init)[...]
    func drop(_ name: String) { options.removeAll { $0 == name || $0.hasPrefix(name + " ") } }
    while let word = words.popFirst() {
      if word == "without" || word == "and", let name = words.popFirst() {
        drop(name)
      } else if word == "on" {
        words = words.dropFirst(2)
      } else if word.hasPrefix("--") {
        drop(word)
        options.append(word)
      } else {
        options[options.count - 1] += " " + word
      }
    }
    return options
  }

  private static func script(_ options: [String]) -> String {
    (["torchrun --nproc_per_node 8 pretrain_gpt.py"] + options).joined(separator: " \\\n  ")
  }

  /// The settings that a change names; nil for one that is left out.
  private static func settings(_ text: String, _ separator: String) throws -> [(path: String, value: JSON?)] {
    try text.split(separator: ", ").flatMap { part -> [(path: String, value: JSON?)] in
      if part.hasPrefix("without ") { return part.dropFirst(8).split(separator: " and ").map { (String($0), nil) } }
      let halves = part.split(separator: separator, maxSplits: 1)
      return [(String(halves[0]), try JSON(parsing: Array(halves[1].utf8), file: text))]
    }
  }

  private static func setting(_ value: JSON?, at path: ArraySlice<Substring>, in object: JSON) -> JSON {
    guard let key = path.first else { return value ?? .null }
    var members = JSON.Object()
    if case .object(let own) = object { members = own }
    let rest = path.dropFirst()
    members[String(key)] = rest.isEmpty ? value : setting(value, at: rest, in: members[String(key)] ?? .object(JSON.Object()))
    return .object(members)
  }

  private static func toml(_ job: [(path: String, value: String)]) -> String {
    var text = ""
    for section in Set(job.map { String($0.path.prefix { $0 != "." }) }).sorted() {
      text += "[\(section)]\n"
      for setting in job where setting.path.hasPrefix(section + ".") { text += "\(setting.path.dropFirst(section.count + 1)) = \(setting.value)\n" }
    }
    return text
  }

  // MARK: - Drawn launches

  private static func megatron(_ random: inout SeededGenerator) -> [String] {
    let (tensor, pipeline) = (random.pick([1, 2, 4]), random.pick([1, 2]))
    var options = [
      "--num-layers 8", "--hidden-size 256", "--num-attention-heads 8", "--max-position-embeddings 128", "--seq-length 128", "--vocab-size 1000",
      "--tensor-model-parallel-size \(tensor)", "--pipeline-model-parallel-size \(pipeline)", "--micro-batch-size \(random.pick([1, 2, 4]))",
      random.pick(["--bf16", "--fp16"]),
    ]
    func maybe(_ chance: Double, _ names: String...) { if random.chance(chance) { options += names } }
    maybe(0.8, "--global-batch-size 64")
    if random.chance(0.5) {
      options += ["--swiglu", "--normalization RMSNorm", "--position-embedding-type rope", "--disable-bias-linear"]
    }
    if tensor > 1 { maybe(0.5, "--sequence-parallel") }
    if pipeline > 1 {
      options += random.pick([
        [], ["--num-layers-per-virtual-pipeline-stage 2"], ["--num-virtual-stages-per-pipeline-rank 2"], ["--decoder-first-pipeline-num-layers 3"],
        ["--pipeline-model-parallel-layout \"Et*3|t*5L\""],
      ])
    }
    options += random.pick([
      [], ["--recompute-activations"], ["--recompute-granularity full", "--recompute-method uniform", "--recompute-num-layers 1"],
      ["--recompute-granularity full", "--recompute-method block", "--recompute-num-layers 2"],
      ["--recompute-granularity selective", "--recompute-modules core_attn"],
    ])
    options += random.pick([
      [], ["--use-distributed-optimizer"], ["--use-distributed-optimizer", "--overlap-grad-reduce", "--overlap-param-gather"],
      ["--overlap-grad-reduce"],
    ])
    maybe(0.4, "--attention-backend unfused")
    maybe(0.3, "--cross-entropy-loss-fusion")
    return options
  }

  private static func deepspeed(_ random: inout SeededGenerator) -> JSON {
    let (tensor, pipeline) = random.pick([(1, 1), (2, 1), (1, 2), (1, 4), (4, 1)])
    let data = 8 / (tensor * pipeline)
    let (micro, steps) = (random.pick([1, 2, 4]), random.pick([1, 2, 4]))
    var object = JSON.Object()
    let stated = random.pick([0b111, 0b110, 0b101, 0b011, 0b010])
    if stated & 0b100 != 0 { object["train_batch_size"] = .int(micro * steps * data) }
    if stated & 0b010 != 0 { object["train_micro_batch_size_per_gpu"] = .int(micro) }
    if stated & 0b001 != 0 { object["gradient_accumulation_steps"] = .int(steps) }
    object[random.pick(["bf16", "fp16"])] = ["enabled": true]
    var zero: JSON.Object = JSON.Object([("stage", .int(random.int(0...(pipeline > 1 ? 1 : 3))))])
    if random.chance(0.4) { zero["overlap_comm"] = .bool(random.chance(0.5)) }
    object["zero_optimization"] = .object(zero)
    if tensor > 1 { object["tensor_parallel"] = ["autotp_size": .int(tensor)] }
    if pipeline > 1 { object["pipeline"] = ["stages": .int(pipeline), "activation_checkpoint_interval": .int(random.int(0...1))] }
    if random.chance(0.3) { object["activation_checkpointing"] = ["number_checkpoints": 8] }
    if random.chance(0.3), tensor * pipeline == 1 { object["sequence_parallel_size"] = 2 }
    return .object(object)
  }

  private static func torchtitan(_ random: inout SeededGenerator) -> [(path: String, value: String)] {
    let (tensor, pipeline, context) = random.pick([(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 2), (4, 2, 1)])
    let data = 8 / (tensor * pipeline * context)
    var job: [(path: String, value: String)] = [
      ("training.seq_len", "64"), ("training.local_batch_size", "\(random.pick([2, 4, 8]))"),
      ("parallelism.tensor_parallel_degree", "\(tensor)"), ("parallelism.pipeline_parallel_degree", "\(pipeline)"),
      ("parallelism.context_parallel_degree", "\(context)"),
      ("parallelism.data_parallel_shard_degree", random.pick(["-1", "\(data)"])),
    ]
    if random.chance(0.4) { job.append(("training.global_batch_size", "64")) }
    if pipeline > 1 {
      job.append(("parallelism.pipeline_parallel_schedule", random.pick(["\"1F1B\"", "\"GPipe\"", "\"Interleaved1F1B\""])))
      if random.chance(0.4) { job.append(("parallelism.pipeline_parallel_microbatch_size", "2")) }
    }
    if random.chance(0.4) { job.append(("parallelism.fsdp_reshard_after_forward", random.pick(["\"always\"", "\"never\""]))) }
    job.append(("activation_checkpoint.mode", random.pick(["\"none\"", "\"full\"", "\"selective\""])))
    if random.chance(0.4) { job.append(("activation_checkpoint.selective_ac_option", random.pick(["\"op\"", "\"2\""]))) }
    if random.chance(0.4) { job.append(("compile.enable", "true")) }
    return job
  }
}
