// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import CostModel
import Hardware
import Strategies

/// What a step does, and on how many devices.
struct StepOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: ArgumentHelp("Use at most the first so many devices in file order (default: all).", valueName: "count"))
  var devices: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Sequences or images in one global batch (default: the model's workload, else one per device); search also takes max.", valueName: "count"),
    completion: .list(["max"]))
  var batch: BatchOption?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Positions in one sequence (default: the model's workload, else its longest).", valueName: "positions"))
  var seq: Int?

  @Option(help: "bf16, fp16 or fp32 (default: the device's).", completion: .list(Precision.forPlans.map(\.rawValue)))
  var dtype: String?

  @Option(help: "What a step does.")
  var mode: Mode = .train

  @Option(help: "What updates the weights.")
  var optimizer: OptimizerKind = .adamw
}

/// How the program that carries a step out does it.
struct SoftwareOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("fused: in blocks, as FlashAttention; unfused: the score matrix is written, and kept for backward.", valueName: "kernel"))
  var attention: AttentionKernel = .fused

  @Option(help: ArgumentHelp("fused: one kernel; unfused: in 16-bit training a series of kernels on a copy in fp32.", valueName: "kernel"))
  var crossEntropy: CrossEntropyKernel = .fused

  @Option(
    help: ArgumentHelp(
      "Weights are updated after the backward pass or, of steps with one micro-batch, in-backward: each as soon as its gradient is complete, whose memory is free then.",
      valueName: "when"))
  var updates: WeightUpdates = .afterBackward

  @Option(
    help: ArgumentHelp(
      "In 16-bit training, gradients are accumulated (in fp32), working (in 16 bits, also when they are summed) or both (in memory).",
      valueName: "storage"))
  var gradients: GradientStorage = .accumulated

  @Option(
    help: ArgumentHelp(
      "Ranks that hold the same part of a stage's result send it whole, or scattered: a share each, gathered on the next stage.",
      valueName: "messages"))
  var boundaries: BoundaryMessages = .whole

  @Option(
    help: ArgumentHelp(
      "What travels while devices compute: none, or weights (their gradients' sums and ZeRO's gathering, each behind the weight's own products).",
      valueName: "what"))
  var overlap: Overlap = .none

  @Flag(help: "Split sequences under causal attention into contiguous parts, not zig-zag (chunks r and 2p - 1 - r on rank r of p).")
  var contiguous = false

  @Option(
    help: ArgumentHelp(
      "Samples of a micro-batch for each rank along the outermost mesh axis of several devices, for example 5,5,3,3, or even; for plans of one stage.",
      valueName: "samples"))
  var shares: String?
}
