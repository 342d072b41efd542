// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// Makes decisions without a search: strategies are given, and conversions are the shortest sequences of resharding steps.
struct DecisionBuilder {
  /// With the extents of one micro-batch.
  let graph: Graph
  let mesh: [Int]
  /// For each stage its mesh, where they have several, and for each segment that of its stages.
  private let stageMeshes: [[Int]]
  private let meshes: [[Int]]
  let rules: [OperatorRule]
  /// The samples of each rank along the outermost mesh axis, where they are uneven.
  var shares: BatchShares?

  /// - Parameter segmentsOfStages: where stages have several meshes, the segments that each holds, all their copies.
  init(graph: Graph, mesh: [Int], stageMeshes: [[Int]] = [], segmentsOfStages: [Range<SegmentID>] = []) {
    self.graph = graph
    self.mesh = mesh
    self.stageMeshes = stageMeshes
    meshes = graph.segments.indices.map { segment in segmentsOfStages.firstIndex { $0.contains(segment) }.map { stageMeshes[$0] } ?? mesh }
    rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
  }

  func mesh(_ op: OperatorID) -> [Int] { meshes[graph.segmentOfOperator[op]] }

  /// - Parameters:
  ///   - cuts: for each stage but the first, the number of the segment copy, counted through the model, with which it begins.
  ///   - zero: for each operator; one that cannot have its stage has the next lower one that it can.
  func decision(
    _ assignments: [[Int?]], batch: Int, microBatches: Int = 1, cuts: [Int] = [], schedule: Schedule = .oneForwardOneBackward,
    mode: Mode = .train, optimizer: OptimizerKind = .adamw, zero: (OperatorID) -> ZeROStage = { _ in .none },
    recompute: (SegmentID) -> Recompute = { _ in .none }, zigzagPairs: Int = 1
  ) -> Decision {
    let learned = graph.reachesLoss()
    let stages = graph.operators.indices.map { op -> ZeROStage in
      let strategy = Strategy(assignment: assignments[op], rule: rules[op])
      let (possible, wanted) = (ZeROStage.possible(op, strategy, in: graph, mesh: mesh(op), needsGradient: learned), zero(op))
      return possible.last { $0 <= wanted } ?? .none
    }
    let job = Job(batch: batch, microBatches: microBatches, sequence: nil, mode: mode, optimizer: optimizer, precision: .fp32)
    var decision = Decision(
      graph: graph, job: job, mesh: mesh, schedule: schedule, stages: self.stages(cuts), assignments: assignments, zero: stages,
      recompute: graph.segments.indices.map(recompute), conversions: Decision.shortestConversions(of: graph, assignments, mesh: mesh, shares: shares),
      orders: zip(graph.axes, SequenceOrder.reorderable(in: graph)).map { axis, isReorderable in
        let order = SequenceOrder(pairs: zigzagPairs)
        return isReorderable && order.fits(axis.extent) ? order : .natural
      })
    (decision.stageMeshes, decision.shares) = (stageMeshes, shares)
    return decision
  }

  private func stages(_ cuts: [Int]) -> [Stage] {
    let copies = graph.segments.enumerated().flatMap { id, segment in (0..<segment.repeats).map { (segment: id, copy: $0) } }
    let bounds = [0] + cuts + [copies.count]
    return zip(bounds, bounds.dropFirst()).map { start, end in
      var units: [UnitRange] = []
      for unit in copies[start..<end] {
        if let last = units.last, last.segment == unit.segment {
          units[units.count - 1].copies = last.copies.lowerBound..<unit.copy + 1
        } else {
          units.append(UnitRange(segment: unit.segment, copies: unit.copy..<unit.copy + 1))
        }
      }
      return Stage(units: units)
    }
  }
}

extension DecisionBuilder {
  /// Every operator on every rank.
  var replicated: [[Int?]] { rules.map { _ in mesh.map { _ in nil } } }

  /// For each mesh axis a preference: for each operator, the first of the words that it understands and that leaves every rank a part.
  func assignments(_ preferences: [(OperatorID, OperatorRule) -> [String]]) -> [[Int?]] {
    rules.enumerated().map { id, rule in
      let mesh = mesh(id)
      var assignment = [Int?](repeating: nil, count: mesh.count)
      for (axis, preference) in preferences.enumerated() where mesh[axis] > 1 {
        for word in preference(id, rule) {
          guard let target = rule.iteration.firstIndex(where: { $0.isSplittable && $0.words.contains(word) }) else { continue }
          let parts = assignment.indices.reduce(mesh[axis]) { $0 * (assignment[$1] == target ? mesh[$1] : 1) }
          if rule.iteration[target].extent < parts { continue }
          assignment[axis] = target
          break
        }
      }
      return assignment
    }
  }

  /// Megatron's tensor parallelism (Shoeybi et al. 2019): column then row, heads, vocabulary; the rest replicated.
  func megatron(_ id: OperatorID, _ rule: OperatorRule) -> [String] {
    let op = graph.operators[id]
    switch op.kind {
    case .embedding: return ["vocab"]
    case .linear, .expertLinear:
      // The half that leads back to the hidden size is row-parallel.
      let output = graph.tensors[op.result].dimensions.last.map { graph.axes[$0].name }
      return output?.hasSuffix("hidden") ?? false ? ["row"] : ["vocab", "heads", "column"]
    case .attention, .rotary: return ["heads"]
    case .activation, .multiply: return ["column"]
    case .bias:
      let output = graph.tensors[op.result].dimensions.last.map { graph.axes[$0].name }
      return output?.hasSuffix("hidden") ?? false ? [] : ["heads", "column"]
    case .crossEntropy: return ["vocab"]
    // Of an image the second dimension is what the last is elsewhere; blocks hand on `channels`.
    case .convolution: return graph.axes[graph.tensors[op.result].dimensions[1]].name == "channels" ? ["row"] : ["column"]
    case .batchNorm: return graph.axes[graph.tensors[op.result].dimensions[1]].name == "channels" ? [] : ["column"]
    default: return []
    }
  }

  /// The same with norms, residuals and their neighbours split along the sequence (Korthikanti et al. 2022).
  func sequenceParallel(_ id: OperatorID, _ rule: OperatorRule) -> [String] {
    let words = megatron(id, rule)
    return words.isEmpty ? ["sequence"] : words
  }

  /// Any legal strategy of each operator; readers of one parameter agree on how they use it.
  ///
  /// - Parameter word: what every operator that understands it does on all mesh axes.
  func random(using random: inout SplitMix64, around word: String? = nil) -> [[Int?]] {
    let choices = rules.enumerated().map { op, rule in
      let mesh = mesh(op)
      let all = Strategy.all(for: rule, mesh: mesh).filter { shares?.allow($0, rule: rule, mesh: mesh) ?? true }
      let wanted = all.filter { strategy in zip(mesh, strategy.words(rule)).allSatisfy { $0.0 == 1 || $0.1 == word } }
      return wanted.isEmpty ? all : wanted
    }
    var chosen: [Strategy?] = rules.map { _ in nil }
    for id in rules.indices {
      var legal = choices[id]
      for (operand, tensor) in graph.operators[id].operands.enumerated() where graph.tensors[tensor].isParameter {
        for site in graph.consumers[tensor] where mesh(site.op) == mesh(id) {
          // The other reader's uses are what this one may choose from.
          let uses = chosen[site.op].map { [$0.operands[site.operand]] } ?? choices[site.op].map { $0.operands[site.operand] }
          legal = legal.filter { uses.contains($0.operands[operand]) }
        }
      }
      chosen[id] = legal[Int(random.next() % UInt64(legal.count))]
    }
    return chosen.enumerated().map { op, strategy in strategy?.assignment ?? mesh(op).map { _ in nil } }
  }
}
