// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Strategies

extension Planner {
  /// A change of the request that makes some plan fit, in the command line's words, and the step that it leads to.
  package struct Repair: Sendable {
    package let change: String
    package let step: Seconds
  }

  /// Changes that make an infeasible request feasible, cheapest step first. Each is searched for at most a few seconds.
  package static func repairs(_ request: SearchRequest) -> [Repair] {
    var repairs: [Repair] = []
    func attempt(_ change: String, _ modify: (inout SearchRequest) -> Void) -> Bool {
      var changed = request
      modify(&changed)
      changed.timeLimit = 5
      guard case .planned(let planned) = try? search(changed) else { return false }
      repairs.append(Repair(change: change, step: planned.prediction.step))
      return true
    }
    for factor in [2, 4, 8, 16] {
      guard let larger = request.larger?(request.cluster.deviceCount * factor) else { break }
      if attempt("--devices \(larger.deviceCount)", { $0.cluster = larger }) { break }
    }
    var batch = request.batch / 2
    while batch >= 1 {
      if request.microBatches.map({ batch % $0 == 0 }) ?? true, attempt("--batch \(batch)", { $0.batch = batch }) { break }
      batch /= 2
    }
    if request.mode == .train, request.optimizer == .adamw { _ = attempt("--optimizer sgd") { $0.optimizer = .sgd } }
    if request.precision == .fp32 {
      let half = Precision.bf16
      if (try? request.cluster.kind(of: 0).peak(half)) != nil { _ = attempt("--dtype bf16") { $0.precision = half } }
    }
    if request.pipelineDegree != nil { _ = attempt("without --pp") { $0.pipelineDegree = nil } }
    if request.mesh != nil { _ = attempt("without --mesh") { $0.mesh = nil } }
    return repairs.sorted { $0.step < $1.step }
  }

  /// The evenest cut of a model's layers.
  ///
  /// - Throws: `PlannerError.usage` where there are fewer layers than stages.
  package static func evenStages(_ request: SearchRequest, stages: Int) throws -> [Int] {
    var request = request
    request.pipelineDegree = stages
    return try Space(request).evenCut(stages: stages)
  }
}
