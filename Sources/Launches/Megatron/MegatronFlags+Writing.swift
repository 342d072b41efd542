// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

/// Options that a script is written with.
extension MegatronFlags {
  /// The cut, where stages do not have equally many layers; else nothing.
  static func layout(_ degrees: MegatronDegrees) -> String {
    unevenLayers(degrees).map { "--pipeline-model-parallel-layout \"\(MegatronLayout(layers: $0).text)\"" } ?? ""
  }

  /// What backward does again. That sequence parallelism gathers again is not said apart.
  static func recompute(_ degrees: MegatronDegrees) -> String {
    switch degrees.recompute {
    case .none, .gathered: return ""
    case .selective, .selectiveGathered: return "--recompute-granularity selective"
    case .elementwise: return "--recompute-granularity selective --recompute-modules layernorm moe_act"
    case .full:
      let count = degrees.recomputedLayers
      return "--recompute-granularity full --recompute-method \(count == nil ? "uniform" : "block") --recompute-num-layers \(count ?? 1)"
    }
  }

  static func zero(_ stage: ZeROStage) -> String {
    switch stage {
    case .none: ""
    case .optimizer: "--use-distributed-optimizer"
    case .gradients: "--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads --ckpt-format fsdp_dtensor"
    case .weights: "--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params --ckpt-format fsdp_dtensor"
    }
  }
}
