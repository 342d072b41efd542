// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Quantities
import Strategies

/// torchtitan's jobs (TOML). Defaults are those of its `job_config.py`.
package enum TorchtitanLaunch {
  /// What a job says, with findings where it says it wrongly.
  ///
  /// - Parameter model: what is trained, in place of the model that the job names: some settings depend on its number of layers.
  /// - Throws: `DocumentError.tomlSyntax`, `LaunchError` for a text that is no job.
  package static func reading(_ source: String, file: String, model: Graph? = nil) throws -> Launch {
    let document = try Document(file: file, parsingTOML: source.utf8)
    guard case .object(let object) = document.value else { throw LaunchError(file: file, "is no table") }
    var settings = Settings(object, closed: Set(TorchtitanKeys.apart))
    for (old, new) in TorchtitanKeys.renamed { settings.rename(old, new) }
    guard ["model", "training", "parallelism"].contains(where: settings.contains) else {
      throw LaunchError(file: file, "has none of the sections [model], [training] and [parallelism] of a torchtitan job")
    }
    return try reading(settings, model)
  }

  private static func reading(_ settings: Settings, _ model: Graph?) throws -> Launch {
    var reading = TorchtitanReading(settings, model)
    try reading.read()
    var launch = reading.launch
    launch.source = LaunchSource(
      contains: settings.contains, olderNames: settings.olderNames, edited: { edits, _ in try Self.reading(settings.edited(edits), model) })
    return launch
  }
}

/// A job while it is read.
struct TorchtitanReading {
  var settings: Settings
  var launch = Launch(.torchtitan)
  /// What is trained, where it is not what the job names.
  private let model: Graph?

  init(_ settings: Settings, _ model: Graph?) { (self.settings, self.model) = (settings, model) }

  /// How many layers the model has, where that is known.
  var layerCount: Int? {
    (model ?? launch.graph).map { graph in graph.segments.indices.filter(graph.holdsLayers).reduce(0) { $0 + graph.segments[$1].repeats } }
  }

  mutating func read() throws {
    launch.mode = .train
    launch.optimizer = .adamw
    if let name = settings.word("optimizer.name", of: ["AdamW", "Adam"]), name == "Adam" {
      settings.add(.ignored, "optimizer.name", "Adam is priced as AdamW, which has the same state")
    }
    try readModel()
    readDegrees()
    readBatch()
    readPipeline()
    readPrecision()
    readRecompute()
    readRest()
    let model = settings.string("model.name")
    let isPlain =
      model.map(TorchtitanKeys.plainModels.contains) ?? true && !settings.contains("job.custom_config_module")
      && !settings.contains("experimental.custom_args_module")
    settings.reportUnknown(TorchtitanKeys.all, apart: TorchtitanKeys.apart) { _ in
      isPlain ? .illegal : .doubtful
    } consequence: { _ in
      isPlain ? "(torchtitan refuses it)" : "of torchtitan's own (it refuses it, unless the code of \(model ?? "the model") adds it)"
    }
    launch.findings = settings.findings
  }

  private mutating func readModel() throws {
    launch.sequence = settings.int("training.seq_len", .within(1, 1 << 30)) ?? 2048
    let model = settings.string("model.name") ?? "llama3"
    if !settings.contains("model") {
      // What is not named is registered by the person's own code.
      if self.model != nil { return }
      settings.add(.doubtful, "model", "is not named: torchtitan takes llama3 debugmodel then")
    }
    let flavor = settings.string("model.flavor") ?? "debugmodel"
    if let known = TorchtitanFlavor(model: model, flavor: flavor) {
      launch.graph = try known.graph(positions: launch.sequence!)
    } else if let names = TorchtitanFlavor.names(of: model) {
      let obstacle = "\(model) has no flavor \"\(flavor)\"; known are \(names.joined(separator: ", "))"
      // Of Llama 3 they are all that torchtitan has.
      settings.add(model == "llama3" ? .illegal : .ignored, "model.flavor", obstacle)
      launch.graphObstacle = "\(obstacle); or name a model with --model"
    } else {
      settings.add(.ignored, "model", "the sizes of \(model) \(flavor) are not known here; give the model")
      launch.graphObstacle = "the sizes of \(model) \(flavor) are not known here; name the model with --model"
    }
    // An early version had a word or nothing here.
    if let value = settings.value("training.fp8_linear"), !["", false].contains(value) {
      settings.add(.ignored, "training.fp8_linear", "products are priced in the precision of the training, not in 8 bits")
    }
    var converters: [String] = []
    if case .string(let name)? = settings.value("model.converters") {
      converters = [name]
    } else {
      converters = settings.strings("model.converters") ?? []
    }
    if !converters.isEmpty {
      settings.add(.ignored, "model.converters", "products are priced in the precision of the training, not as \(converters.joined(separator: ", "))")
    }
  }

  private mutating func readDegrees() {
    func positive(_ key: String, _ settings: inout Settings) -> Int { settings.int("parallelism." + key, .within(1, 1 << 20)) ?? 1 }
    launch.degrees.tensor = positive("tensor_parallel_degree", &settings)
    launch.degrees.pipeline = positive("pipeline_parallel_degree", &settings)
    launch.degrees.context = positive("context_parallel_degree", &settings)
    launch.degrees.expert = positive("expert_parallel_degree", &settings)
    let replicas = positive("data_parallel_replicate_degree", &settings)
    let shards = settings.int("parallelism.data_parallel_shard_degree", .within(-1, 1 << 20)) ?? -1
    if shards == 0 {
      settings.add(.illegal, "parallelism.data_parallel_shard_degree", "found 0, expected -1 (all devices that are left) or at least 1")
    }
    launch.leavesDataOpen = shards < 1
    launch.degrees.data = replicas * max(1, shards)

    let method = settings.word("parallelism.context_parallel_rotate_method", of: ["allgather", "alltoall"]) ?? "allgather"
    if launch.degrees.context > 1 { launch.degrees.contextWay = method == "allgather" ? .gather : .ring }
    launch.degrees.isSequenceParallel = launch.degrees.tensor > 1
    readSharing(replicas: replicas, shards: shards)
    readExperts()
    checkHeads()
    let divisor = 2 * launch.degrees.tensor * launch.degrees.context
    if divisor > 2, let sequence = launch.sequence, sequence % divisor != 0 {
      settings.add(
        .illegal, "training.seq_len",
        "\(sequence) is no multiple of 2 × tensor_parallel_degree × context_parallel_degree, \(divisor)")
    }
  }

  private mutating func checkHeads() {
    guard launch.degrees.tensor > 1, let heads = (model ?? launch.graph)?.axes.filter({ $0.role == .heads }).map(\.extent).min(),
      heads % launch.degrees.tensor != 0
    else { return }
    settings.add(
      .illegal, "parallelism.tensor_parallel_degree",
      "\(launch.degrees.tensor) does not divide the model's \(counted(heads, "key-value head")), and no head is cut; choose a divisor of \(heads)")
  }

  /// FSDP, HSDP or DDP.
  private mutating func readSharing(replicas: Int, shards: Int) {
    let (degrees, place) = (launch.degrees, "parallelism.data_parallel_replicate_degree")
    let policy = settings.word("parallelism.fsdp_reshard_after_forward", of: ["default", "always", "never"]) ?? "default"
    let isShared = shards != 1 || degrees.context > 1
    guard isShared else {
      launch.software.overlap = replicas > 1 ? .weights : .none
      if replicas > 1, degrees.tensor * degrees.pipeline > 1 {
        settings.add(
          .illegal, place, "replicas without sharding (data_parallel_shard_degree = 1) go with no other parallelism in torchtitan; shard over them")
      }
      return
    }
    launch.degrees.zero = policy == "never" || policy == "default" && degrees.pipeline > 1 ? .gradients : .weights
    launch.software.overlap = .weights
    if replicas > 1 {
      settings.add(
        .ignored, place, "weights are shared out within each of \(replicas) groups of replicas (HSDP); the plan shares them out over all replicas")
    }
  }

  private mutating func readExperts() {
    let (expert, tensor) = (launch.degrees.expert, launch.degrees.tensor)
    let inside = settings.int("parallelism.expert_tensor_parallel_degree", .within(1, 1 << 20)) ?? 1
    guard expert > 1 else { return }
    let place = "parallelism.expert_tensor_parallel_degree"
    if inside != 1, inside != tensor {
      settings.add(.illegal, place, "found \(inside), expected 1 or tensor_parallel_degree, \(tensor)")
    } else if inside != tensor {
      settings.add(.ignored, place, "the plan splits each expert's products over the \(tensor) tensor-parallel devices as well")
    }
    if launch.degrees.context > 1 {
      settings.add(
        .ignored, "parallelism.expert_parallel_degree",
        "torchtitan takes the expert-parallel devices from context parallelism first; the plan takes them from the data replicas")
    }
  }
}
