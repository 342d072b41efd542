// SPDX-License-Identifier: GPL-3.0-or-later

/// The order in which a stage carries out its micro-batches.
package enum Schedule: String, Hashable, Sendable, CaseIterable {
  /// All forward passes, then all backward passes.
  case gpipe
  /// One forward, one backward, after as many forward passes as there are stages behind (PipeDream-flush).
  case oneForwardOneBackward = "1f1b"
}

/// One pass of one micro-batch through a stage.
package enum Pass: Hashable, Sendable {
  case forward(Int)
  case backward(Int)
}

extension Schedule {
  /// The order in which stage `stage` of `stages` carries out its passes.
  ///
  /// 1F1B (Narayanan et al. 2021, PipeDream-flush): min(m, stages − stage − 1) warm-up forward passes, then one forward and one backward in
  /// turn, then the backward passes that are left.
  package func passes(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> [Pass] {
    let all = 0..<microBatches
    if mode == .forward { return all.map(Pass.forward) }
    switch self {
    case .gpipe: return all.map(Pass.forward) + all.map(Pass.backward)
    case .oneForwardOneBackward:
      let warmUp = min(microBatches, stages - stage - 1)
      var order = (0..<warmUp).map(Pass.forward)
      for index in warmUp..<microBatches { order += [.forward(index), .backward(index - warmUp)] }
      return order + (microBatches - warmUp..<microBatches).map(Pass.backward)
    }
  }

  /// How many forward passes a chain of passes spares that comes back to a stage with the first backward pass: those that the schedule lets the
  /// stage do before it, the chain's own included. A GPipe chain goes through all of them, and a forward run has no way back.
  package func passesBeforeBackward(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> Int {
    mode == .forward || self == .gpipe ? 1 : min(microBatches, stages - stage)
  }

  /// The most micro-batches whose activations a stage holds at once.
  package func inFlight(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> Int {
    switch (mode, self) {
    case (.forward, _): 1
    case (.train, .gpipe): microBatches
    case (.train, .oneForwardOneBackward): min(microBatches, stages - stage)
    }
  }
}
