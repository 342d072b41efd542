// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// What `inspect` and `report` show of a whole plan.
package struct PlanReport {
  /// One collective of the plan, with what a reader asks about it.
  package struct Collective {
    package let part: Prediction.CollectivePart
    package let callsPerStep: Int
    package let reason: String
    /// The same without layouts.
    package let plainReason: String

    /// All calls of a step one after the other.
    package var timePerStep: Seconds { part.time * callsPerStep }
  }

  package let plan: Plan
  package let cluster: Cluster
  package let step: PredictedStep
  package let rules: [OperatorRule]
  package let strategies: [Strategy]
  /// Those that take longest in a step first.
  package let collectives: [Collective]

  /// - Throws: `HardwareError` or `PlannerError`, which a plan that was read does not give rise to.
  package init(_ plan: Plan) throws {
    self.plan = plan
    let decision = plan.decision
    let rules = decision.graph.operators.indices.map { OperatorRules.rule(for: $0, in: decision.graph) }
    let strategies = zip(decision.assignments, rules).map { Strategy(assignment: $0, rule: $1) }
    cluster = try plan.hardware.cluster(devices: decision.ranks)
    step = try Planner.predictStep(decision, on: cluster)
    self.rules = rules
    self.strategies = strategies
    let collectives = plan.prediction.collectives.map { part in
      Collective(
        part: part, callsPerStep: part.callsPerStep(microBatches: decision.job.microBatches),
        reason: part.reason(in: decision, rules: rules, strategies: strategies, layouts: true),
        plainReason: part.reason(in: decision, rules: rules, strategies: strategies, layouts: false))
    }
    // A stable order: equal times stay in the order of the model.
    self.collectives = collectives.enumerated().sorted { a, b in
      (b.element.timePerStep, a.offset) < (a.element.timePerStep, b.offset)
    }.map(\.element)
  }

  package var decision: Decision { plan.decision }
  package var graph: Graph { plan.decision.graph }
  package var prediction: Prediction { plan.prediction }

  package var sequencesPerSecond: Double { prediction.step > .zero ? Double(decision.job.batch) / prediction.step.value : 0 }
  package var tokensPerSecond: Double? { decision.job.sequence.map { sequencesPerSecond * Double($0) } }

  /// What is to be said of operators' times, which stand once, where devices are of several kinds.
  package var ofSlowestKind: String { Set(cluster.kindOfDevice).count > 1 ? " of the slowest kind of device" : "" }

  package func devices(ofStage stage: Int) -> Range<Int> {
    decision.ranks(ofGroup: decision.group(ofStage: stage))
  }

  /// The levels that an axis of a stage's mesh spans, innermost first, with the number of units that it joins on each.
  package func levels(ofAxis axis: Int, onGroup group: Int = 0) -> [(name: String, factor: Int)] {
    let mesh = Mesh(shape: decision.mesh(ofGroup: group), firstDevice: decision.ranks(ofGroup: group).lowerBound)
    return cluster.placement(ofAxis: axis, in: mesh).steps.map { (cluster.levels[$0.level].name, $0.factor) }
  }

  /// What a stage holds: `embeddings, transformer.h 0–5`.
  package func contents(ofStage stage: Int) -> String {
    decision.stages[stage].units.map { unit in
      let first = graph.copies(of: unit.segment).lowerBound
      let name = graph.nameOfLayers(unit.segment)
      return graph.holdsLayers(unit.segment) ? "\(name) \(span(first + unit.copies.lowerBound..<first + unit.copies.upperBound))" : name
    }.joined(separator: ", ")
  }
}

extension Prediction.CollectivePart {
  /// Why the collective is there, in words.
  fileprivate func reason(in decision: Decision, rules: [OperatorRule], strategies: [Strategy], layouts: Bool) -> String {
    let graph = decision.graph
    let name = graph.shortName(of: op)
    func layout(_ use: (Strategy.Use) -> Layout) -> String {
      let own = graph.operators[op].operands.firstIndex(of: tensor).map { use(strategies[op].operands[$0]).notation } ?? "?"
      return layouts ? " as \(own)" : ""
    }
    switch cause {
    case .forward:
      let producer = graph.sourceName(of: tensor)
      return switch kind {
      case .allReduce, .reduceScatter: "partial sums of \(producer), which \(name) takes\(layout(\.forward))"
      case .allGather, .allToAll, nil: "\(producer), which \(name) takes\(layout(\.forward))"
      }
    case .backward:
      return "gradient of \(graph.sourceName(of: tensor)), which \(name) gives\(layout(\.gradient))"
    case .interior where kind == nil:
      return "\(graph.shortName(ofTensor: tensor)) of another rank on its way around, while \(name) works on what came before"
    case .interior:
      let split = rules[op].interior.first.map { rules[op].iteration[$0.axis].name } ?? "axis"
      return "maximum, sum and target of \(name) over the split \(split)"
    case .gradient: return "gradient of \(graph.shortName(ofTensor: tensor)), summed over replicas"
    case .updated: return "\(graph.shortName(ofTensor: tensor)), updated in parts (ZeRO \(decision.zero[op].rawValue))"
    case .weights: return "\(graph.shortName(ofTensor: tensor)), held in parts (ZeRO 3)"
    case .parts: return "gradient of \(graph.shortName(ofTensor: tensor)), held in parts (ZeRO \(decision.zero[op].rawValue))"
    case .tied:
      let stages = decision.groupsHolding(tensor).map(String.init).joined(separator: " and ")
      return "gradient of \(graph.shortName(ofTensor: tensor)), held by stages \(stages)"
    case .boundary where graph.producer[tensor] == nil: return "gradient of \(graph.sourceName(of: tensor)), back to the stage before"
    case .boundary: return "\(name) to the next stage" + (calls > 1 ? ", its gradient back" : "")
    }
  }
}

extension Graph {
  /// What the names of a segment's operators have in common, up to a dot; empty where that is nothing.
  package func commonPrefix(of segment: SegmentID) -> String {
    let names = segments[segment].operators.map { operators[$0].name }
    guard names.count > 1, var prefix = names.first else { return "" }
    for name in names { while !name.hasPrefix(prefix) { prefix.removeLast() } }
    return prefix.lastIndex(of: ".").map { String(prefix[...$0]) } ?? ""
  }

  /// An operator's name without what all of its repeated block's names begin with; whole where the block occurs once.
  package func shortName(of op: OperatorID) -> String { shortened(operators[op].name, in: segmentOfOperator[op]) }

  package func shortName(ofTensor tensor: TensorID) -> String {
    let op = producer[tensor] ?? consumers[tensor].first?.op
    return op.map { shortened(tensors[tensor].name, in: segmentOfOperator[$0]) } ?? tensors[tensor].name
  }

  /// Who computes a tensor; for what comes in from the copy before, the tensor's own name.
  fileprivate func sourceName(of tensor: TensorID) -> String { producer[tensor].map { shortName(of: $0) } ?? shortName(ofTensor: tensor) }

  private func shortened(_ name: String, in segment: SegmentID) -> String {
    let prefix = segments[segment].repeats > 1 ? commonPrefix(of: segment) : ""
    return !prefix.isEmpty && name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : name
  }
}
