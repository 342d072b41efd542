// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Attention, forward and backward.
extension CalibrationRun {
  struct AttentionCase {
    let samples: Int
    let positions: Int
    let heads: Int
    let kvHeads: Int
    let headSize: Int
    let isCausal: Bool
  }

  static func attentionCases(_ isQuick: Bool) -> [AttentionCase] {
    let all = [
      (2, 256, 12, 12, 64, true), (1, 512, 16, 4, 64, true), (2, 256, 6, 6, 64, true), (1, 512, 8, 8, 64, true), (1, 1024, 4, 4, 64, true),
      (2, 256, 6, 6, 64, false), (1, 512, 8, 2, 128, true),
    ]
    return all.prefix(isQuick ? 2 : all.count).map {
      AttentionCase(samples: $0.0, positions: $0.1, heads: $0.2, kvHeads: $0.3, headSize: $0.4, isCausal: $0.5)
    }
  }

  mutating func measureAttention() throws(ExecutionError) {
    for shape in Self.attentionCases(isQuick) {
      let kernel = Attention(
        batch: shape.samples, queries: shape.positions, keys: shape.positions, heads: shape.heads, kvHeads: shape.kvHeads, headDim: shape.headSize,
        scale: 0.125, visibility: shape.isCausal ? .causal(queryStart: 0, keyStart: 0) : .all)
      let queries = shape.samples * shape.positions * shape.heads * shape.headSize
      let keys = shape.samples * shape.positions * shape.kvHeads * shape.headSize
      let statistics = shape.samples * shape.positions * shape.heads
      let scratch = max(kernel.forwardScratchCount, kernel.backwardScratchCount)
      let operations = 4.0 * Double(queries) * Double(shape.positions)
      let arena = arena
      // Both passes lie alike, so that backward reads what forward left.
      let counts = [queries, keys, keys, queries, statistics, scratch, queries, queries, keys, keys]
      func record(_ timing: CalibrationTimer.Timing, isBackward: Bool) -> CalibrationMeasurements.Attention {
        .init(
          operations: operations * (isBackward ? 2.5 : 1), keys: shape.positions, isCausal: shape.isCausal, isBackward: isBackward,
          seconds: note(timing))
      }
      let forward = try timer.alone { (repetition) throws(ExecutionError) in
        let p = arena.arrays(counts, repetition)
        kernel.forward(q: p[0], k: p[1], v: p[2], out: p[3], lse: p[4], scratch: p[5])
      }
      result.attention.append(record(forward, isBackward: false))
      let backward = try timer.alone { (repetition) throws(ExecutionError) in
        let p = arena.arrays(counts, repetition)
        kernel.backward(q: p[0], k: p[1], v: p[2], out: p[3], lse: p[4], dout: p[6], dq: p[7], dk: p[8], dv: p[9], scratch: p[5])
      }
      result.attention.append(record(backward, isBackward: true))
    }
  }
}
