// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

extension LaunchFormat {
  /// Degrees as the format's program takes them: what follows by itself from others is as it follows.
  package func completed(_ degrees: MegatronDegrees) -> MegatronDegrees {
    var degrees = degrees
    if degrees.tensor == 1 { degrees.isSequenceParallel = false }
    if degrees.context > 1, degrees.contextWay == nil { degrees.contextWay = usualContextWay }
    switch self {
    case .megatron, .torch: break
    case .deepspeed:
      degrees.isSequenceParallel = false
      if degrees.pipeline > 1 { degrees.zero = min(degrees.zero, .optimizer) }
      if degrees.recompute != .none { (degrees.recompute, degrees.recomputedLayers) = (.full, nil) }
    case .torchtitan:
      degrees.isSequenceParallel = degrees.tensor > 1
      // Attention is kept, and the passes around it are computed again (selective_ac_option = "op").
      if degrees.recompute != .none, degrees.recompute != .full { degrees.recompute = .elementwise }
      // FSDP shares out gradients at least; without it replicas go with no other parallelism.
      let isAlone = degrees.tensor * degrees.pipeline * degrees.context == 1
      if degrees.zero == .optimizer || degrees.zero == .none && degrees.data * degrees.context > 1 && !isAlone { degrees.zero = .gradients }
    case .huggingFace: degrees.isSequenceParallel = false
    }
    // Megatron-LM's sequence parallelism gathers again in the backward pass what it gathered (Korthikanti et al. 2022, §4.2.2).
    if self == .megatron {
      degrees.recompute =
        degrees.isSequenceParallel && degrees.recomputedLayers == nil ? degrees.recompute.gathering : degrees.recompute.keepingGathered
    }
    return degrees
  }

  /// How sequences are shared out where a launch does not say it.
  private var usualContextWay: ContextWay? {
    switch self {
    case .megatron: .ring
    case .deepspeed: .ulysses
    case .torchtitan: .gather
    case .huggingFace, .torch: nil
    }
  }
}
