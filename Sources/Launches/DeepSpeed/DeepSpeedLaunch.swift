// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import Planner
import Quantities
import Strategies

/// DeepSpeed's configurations (JSON). Defaults and checks are those of its `runtime/config.py`.
package enum DeepSpeedLaunch {
  /// What a configuration says, with findings where it says it wrongly. Values `"auto"`, which Hugging Face's Trainer fills in, are left open.
  ///
  /// - Throws: `DocumentError.syntax`, `LaunchError` for a text that is no configuration.
  package static func reading(_ source: String, file: String) throws -> Launch {
    let document = try Document(file: file, parsing: source.utf8)
    guard case .object(let object) = document.value else {
      throw LaunchError(file: file, "found \(document.value.summary), expected a DeepSpeed configuration: an object")
    }
    let settings = Settings(object, closed: Set(DeepSpeedKeys.apart), open: "auto")
    guard settings.paths.contains(where: { DeepSpeedKeys.all.contains($0) }) else {
      throw LaunchError(file: file, "has none of DeepSpeed's settings, such as train_batch_size or zero_optimization")
    }
    return reading(settings)
  }

  private static func reading(_ settings: Settings) -> Launch {
    var reading = DeepSpeedReading(settings)
    reading.read()
    var launch = reading.launch
    launch.source = LaunchSource(contains: settings.contains, edited: { edits, _ in Self.reading(settings.edited(edits)) })
    return launch
  }
}

/// A configuration while it is read.
struct DeepSpeedReading {
  var settings: Settings
  var launch = Launch(.deepspeed)

  init(_ settings: Settings) { self.settings = settings }

  mutating func read() {
    launch.mode = .train
    readDegrees()
    readZeRO()
    readBatch()
    readPrecision()
    readGradients()
    readOptimizer()
    readRecompute()
    readPipeline()
    let refuses = { (path: String) in DeepSpeedKeys.strict.contains { path.hasPrefix($0 + ".") } }
    settings.reportUnknown(DeepSpeedKeys.all, apart: DeepSpeedKeys.apart) {
      refuses($0) ? .illegal : .doubtful
    } consequence: {
      refuses($0) ? "(DeepSpeed refuses it)" : "(DeepSpeed passes over it)"
    }
    launch.findings = settings.findings
  }

  private mutating func readDegrees() {
    readTensorParallelism()
    launch.degrees.pipeline = settings.int("pipeline.stages", .within(1, 1 << 20)) ?? 1
    if let size = settings.int("sequence_parallel_size", .within(1, 1 << 20)), size > 1 {
      (launch.degrees.context, launch.degrees.contextWay) = (size, .ulysses)
    }
    if settings.bool("expert_parallel.enabled") == true {
      launch.degrees.expert = settings.int("expert_parallel.autoep_size", .within(1, 1 << 20)) ?? 1
      if let inside = settings.int("expert_parallel.expert_tensor_parallel_size"), inside != 1 {
        settings.add(.illegal, "expert_parallel.expert_tensor_parallel_size", "found \(inside), expected 1: AutoEP has no other")
      }
    }
  }

  private mutating func readZeRO() {
    let stagePath = "zero_optimization.stage"
    var stage = settings.int(stagePath, .within(0, 3)) ?? 0
    if settings.value("zero_optimization") != nil, let isOn = settings.bool("zero_optimization") {
      stage = isOn ? 1 : 0
      settings.add(.doubtful, "zero_optimization", "\(isOn) is the form of old versions, for stage \(stage); write {\"stage\": \(stage)}")
    }
    launch.degrees.zero = ZeROStage(rawValue: stage) ?? .none
    if stage >= 2, launch.degrees.pipeline > 1 {
      settings.add(.illegal, stagePath, "stage \(stage) does not go with a pipeline of \(launch.degrees.pipeline) stages; use stage 1")
    }
    let overlaps = settings.bool("zero_optimization.overlap_comm")
    launch.software.overlap = (overlaps ?? (stage == 3)) && stage > 0 && launch.degrees.pipeline == 1 ? .weights : .none
    if overlaps == true, launch.degrees.pipeline > 1 {
      settings.add(.doubtful, "zero_optimization.overlap_comm", "DeepSpeed switches it off under pipeline parallelism")
    } else if overlaps == true, stage == 0 {
      settings.add(.ignored, "zero_optimization.overlap_comm", "has no effect in stage 0")
    }
    readOffloading(stage)
    if settings.int("zero_optimization.zero_hpz_partition_size", .within(0, 1 << 20)) ?? 1 > 1 {
      let place = "zero_optimization.zero_hpz_partition_size"
      if stage == 3 {
        settings.add(.ignored, place, "the second copy of the weights within a node (ZeRO++ hpZ), and what it spares between nodes, is not priced")
      } else {
        settings.add(.doubtful, place, "has no effect in stage \(stage): it is a second partition of stage 3's weights")
      }
    }
    for key in ["zero_quantized_weights", "zero_quantized_gradients"] where settings.bool("zero_optimization.\(key)") == true {
      settings.add(.ignored, "zero_optimization.\(key)", "messages are priced in the precision of the training, not quantised")
    }
    if settings.int("zero_optimization.mics_shard_size") ?? -1 > 0 {
      settings.add(
        .ignored, "zero_optimization.mics_shard_size", "weights are shared out in groups (MiCS); the plan shares them out over all replicas")
    }
  }

  private mutating func readOffloading(_ stage: Int) {
    for (key, old, what) in [("offload_optimizer", "cpu_offload", "optimizer state"), ("offload_param", "cpu_offload_param", "weights")] {
      let path = "zero_optimization.\(key)"
      let device = settings.word("\(path).device", of: ["none", "cpu", "nvme"]) ?? "none"
      let isOld = settings.bool("zero_optimization.\(old)") == true
      guard device != "none" || isOld else { continue }
      let place = isOld ? "zero_optimization.\(old)" : "\(path).device"
      launch.offloading.append(place)
      settings.add(.ignored, place, "\(what) on \(isOld ? "cpu" : device) is not priced: the plan has all of it on the devices, and no transfers")
      if key == "offload_param", stage != 3 { settings.add(.illegal, place, "goes with stage 3 alone, and the stage is \(stage)") }
      if key == "offload_optimizer", stage == 0 { settings.add(.illegal, place, "goes with stages 1, 2 and 3, and the stage is 0") }
    }
    if let ratio = settings.double("zero_optimization.offload_optimizer.ratio", .within(0, 1)), ratio < 1, stage != 3 {
      settings.add(.illegal, "zero_optimization.offload_optimizer.ratio", "a part of the optimizer state is offloaded in stage 3 alone")
    }
  }
}
