// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Plans
import Strategies

extension HuggingFacePlan {
  /// The plan of styles that means a plan on one stage, with the number of tensor-parallel devices: the fields of a `DistributedConfig`. The batch, the
  /// sequence and the other devices are those of whoever loads the model.
  ///
  /// - Throws: `Inexpressible`, which names the module, operator or stage that no style gives; `HardwareError`.
  package static func exporting(_ plan: Plan) throws -> String {
    let decision = plan.decision
    if decision.groups > 1 { throw Inexpressible("stage 1", "has layers of its own; a tensor-parallel plan has no pipeline") }
    if let op = decision.zero.indices.first(where: { decision.zero[$0] != .none }) {
      throw Inexpressible(
        decision.graph.operators[op].name,
        "its weights have ZeRO \(decision.zero[op].rawValue); a tensor-parallel plan shares nothing out over replicas")
    }
    if let segment = decision.recompute.indices.first(where: { decision.recompute[$0] != .none }) {
      let graph = decision.graph
      throw Inexpressible(
        graph.holdsLayers(segment) ? "layer \(graph.copies(of: segment).lowerBound)" : graph.segments[segment].name,
        "computes \(decision.recompute[segment].rawValue) again; a tensor-parallel plan does not say what is kept")
    }
    if decision.job.microBatches > 1 {
      throw Inexpressible("the micro-batches", "are \(decision.job.microBatches); a tensor-parallel plan has the whole batch of a replica at once")
    }
    let styled = try StyledPlan(of: plan)
    let styles = JSON.Object(styled.styles.map { ($0.pattern, JSON.string($0.style)) })
    let object = JSON.Object([("tp_size", .int(styled.degrees.tensor)), ("tp_plan", .object(styles))])
    return String(decoding: JSON.object(object).prettyBytesInOrder, as: UTF8.self)
  }
}
