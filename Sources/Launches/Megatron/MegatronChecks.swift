// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// What Megatron-LM checks before it starts (`validate_args` in megatron/training/arguments.py, `__post_init__` of megatron/core's configurations, and
/// megatron/core/pipeline_parallel/schedules.py), where it is about the split, the job or the model.
struct MegatronChecks {
  let command: MegatronCommand
  var arguments: MegatronArguments
  let launch: Launch

  var findings: [Finding] { arguments.findings }

  init(command: MegatronCommand, arguments: MegatronArguments, launch: Launch) {
    (self.command, self.arguments, self.launch) = (command, arguments, launch)
  }

  var tensor: Int { launch.degrees.tensor }
  var stages: Int { launch.degrees.pipeline }
  var context: Int { launch.degrees.context }

  /// Data replicas, where the devices are known and are shared out evenly.
  var replicas: Int? {
    guard let devices = launch.devices, let size = modelSize, devices % size == 0 else { return nil }
    return devices / size
  }

  /// Devices of one replica; nil beyond counting.
  private var modelSize: Int? {
    let size = tensor.times(stages).times(context)
    return size < .max ? size : nil
  }

  mutating func check() {
    checkRequired()
    checkDevices()
    checkHeads()
    checkLayers()
    checkChunks()
    checkBatch()
    checkReplicas()
    checkRecompute()
    checkExperts()
    checkPrecision()
    checkEnvironment()
  }

  mutating func illegal(_ name: String, _ text: String) { arguments.find(.illegal, name, text) }
  mutating func doubtful(_ name: String, _ text: String) { arguments.find(.doubtful, name, text) }

  private mutating func checkRequired() {
    // Bare options may be a part of a command.
    guard command.isWhole else { return }
    for name in MegatronModel.required where !arguments.has(name) && !arguments.has(any: "--hybrid-layer-pattern", "--encoder-num-layers") {
      if arguments.has(any: "--use-checkpoint-args", "--yaml-cfg") { continue }
      illegal(name, "is missing; Megatron-LM does not start without it")
    }
    if !arguments.has("--micro-batch-size"), !arguments.has("--yaml-cfg") {
      illegal("--micro-batch-size", "is missing; Megatron-LM does not start without it")
    }
  }

  private mutating func checkDevices() {
    if arguments.has("--sequence-parallel"), tensor == 1 {
      doubtful("--sequence-parallel", "does nothing without tensor parallelism; Megatron-LM leaves it out")
    }
    if arguments.has("--tp-comm-overlap"), !launch.degrees.isSequenceParallel { illegal("--tp-comm-overlap", "needs --sequence-parallel") }
    if arguments.has("--tp-comm-overlap") {
      arguments.find(.ignored, "--tp-comm-overlap", "collectives of tensor parallelism are priced as if no product hid them")
    }
    guard let devices = launch.devices else { return }
    guard let size = modelSize else { return illegal("--tensor-model-parallel-size", "the degrees together are more devices than can be counted") }
    if devices % size != 0 {
      illegal(
        "--tensor-model-parallel-size",
        "\(counted(devices, "device")) are no multiple of \(size), tensor \(tensor) × pipeline \(stages) × context \(context)")
    }
  }

  private mutating func checkHeads() {
    guard let heads = arguments.int("--num-attention-heads") else { return }
    if heads % tensor != 0 { illegal("--num-attention-heads", "\(heads) heads are no multiple of --tensor-model-parallel-size \(tensor)") }
    if arguments.has("--num-query-groups"), !arguments.has("--group-query-attention") {
      doubtful("--num-query-groups", "counts with --group-query-attention alone; every query head has keys and values of its own")
    }
    if arguments.has("--group-query-attention"), let groups = arguments.int("--num-query-groups") {
      if heads % groups != 0 { illegal("--num-query-groups", "\(groups) groups do not divide \(counted(heads, "head"))") }
      if groups % tensor != 0, tensor % groups != 0 {
        illegal("--num-query-groups", "\(groups) groups are neither a multiple nor a divisor of --tensor-model-parallel-size \(tensor)")
      }
    }
    if let hidden = arguments.int("--hidden-size"), !arguments.has("--kv-channels"), hidden % heads != 0 {
      illegal("--hidden-size", "\(hidden) is no multiple of \(counted(heads, "head")), and --kv-channels is not given")
    }
    if let sequence = launch.sequence {
      if context > 1, sequence % (2 * context) != 0 {
        illegal(
          "--seq-length", "\(sequence) is no multiple of \(2 * context), twice --context-parallel-size, as each device has two chunks of a sequence")
      }
      if launch.degrees.isSequenceParallel, sequence % (tensor * context) != 0 {
        illegal("--seq-length", "\(sequence) is no multiple of \(tensor * context), tensor × context, over which --sequence-parallel shares it out")
      }
      if let most = arguments.int("--max-position-embeddings"), most < sequence {
        illegal("--max-position-embeddings", "\(most) positions are less than --seq-length \(sequence)")
      }
    }
  }
}
