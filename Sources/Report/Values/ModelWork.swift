// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies

extension PlanReport {
  /// Operations of one step that the model asks for: products and attention with whole score matrices, backward twice as many as forward, nothing
  /// for what is computed again or on several devices (Chowdhery et al. 2022, "PaLM", appendix B).
  package var modelWork: FLOPs {
    var forward = 0.0
    for op in graph.operators.indices {
      let rule = rules[op]
      func product(_ axes: [Int]) -> Double { axes.reduce(1) { $0 * Double(rule.iteration[$1].extent) } }
      let one: Double =
        switch rule.work {
        case .product(let batch, let m, let n, let k): 2 * product(batch + m) * product(n) * product(k)
        case .attention(let attention): 4 * product(attention.samples) * product([attention.queries, attention.keys, attention.depth])
        case .stream, .gather, .crossEntropy, .free: 0
        }
      forward += one * Double(graph.segments[graph.segmentOfOperator[op]].repeats)
    }
    let passes: Double = decision.job.mode == .train ? 3 : 1
    return FLOPs(forward * passes * Double(decision.job.microBatches))
  }

  /// What that is a second on each device, and of the devices' peak in the job's number format; nil where the hardware file has no such peak.
  package var utilisation: (rate: FLOPRate, share: Double)? {
    let peaks = (0..<decision.ranks).map { device in
      cluster.kind(of: device).peaks.first { $0.precision == decision.job.precision }?.rate.value ?? 0
    }
    let all = peaks.reduce(0, +)
    guard prediction.step > .zero, all > 0, peaks.allSatisfy({ $0 > 0 }) else { return nil }
    let rate = modelWork.value / prediction.step.value
    return (FLOPRate(rate / Double(decision.ranks)), rate / all)
  }
}
