// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// Why degrees leave an operator without a split.
extension MegatronDegrees {
  /// The degree that an operator cannot have, what the operator has too little of, and the largest degree that there is; nil where every operator has
  /// a split.
  ///
  /// - Throws: as `fix`.
  package func obstacle(_ request: SearchRequest) throws -> String? {
    guard let lack = try lacking(request) else { return nil }
    if let meshes = stageMeshes {
      let given = "--stage-meshes " + meshes.map { "\($0[0])x\($0[1])" }.joined(separator: ",")
      let samples = microBatchSize(batch: request.batch, couplesBatch: request.graph.couplesBatch) * data
      if let stage = meshes.firstIndex(where: { $0[0] > samples }) {
        return
          "\(given): a micro-batch has \(counted(samples, "sequence")), and stage \(stage) has \(counted(meshes[stage][0], "data replica")) to share "
          + "them out; choose at most \(samples), or a larger --micro-batch"
      }
      return "\(given): \(lack.name) has no such split"
    }
    var least = self
    least.context = 1
    if context > 1, try least.lacking(request) == nil { return try contextObstacle(request) }
    let degrees = [("--tp", tensor), ("--cp", context), ("--dp", data), ("--ep", expert)].filter { $0.1 > 1 }.map { "\($0.0) \($0.1)" }
    return "\(degrees.joined(separator: " ")): \(lack.name) has no such split"
  }

  /// - Precondition: without the context degree every operator has a split.
  private func contextObstacle(_ request: SearchRequest) throws -> String {
    var (most, tooMany) = (1, context)
    while tooMany - most > 1 {
      var between = self
      between.context = (most + tooMany) / 2
      if try between.lacking(request) == nil { most = between.context } else { tooMany = between.context }
    }
    // The operator that has least to share out.
    var first = self
    first.context = tooMany
    guard let lack = try first.lacking(request) else { preconditionFailure("the degree that is too large leaves some operator without a split") }
    let given = "--cp \(context)" + (contextWay.map { " --cp-way \($0.rawValue)" } ?? "")
    let advice = most > 1 ? "choose --cp of at most \(most)" : contextWay == nil ? "leave --cp out" : "choose another --cp-way, or leave --cp out"
    guard let axis = lack.rule.axesOfContext(contextWay).max(by: { $0.extent < $1.extent }) else {
      return "\(given): \(lack.name) has nothing that could be shared out so; \(advice)"
    }
    let beside = tensor > 1 && axis.role == .heads ? ", of which --tp \(tensor) shares out some" : ""
    return "\(given): \(lack.name) has \(axis.inWords) to share out\(beside); \(advice)"
  }

  /// Why there is no plan with the degrees, as an error.
  ///
  /// - Throws: as `fix`.
  package func refusal(_ request: SearchRequest) throws -> PlannerError {
    .usage(
      try obstacle(request) ?? "no split of all operators has these degrees: what neighbours need of one another's results does not go together")
  }

  /// The first operator without a split.
  private struct Lack {
    let name: String
    let rule: OperatorRule
  }

  private func lacking(_ request: SearchRequest) throws -> Lack? {
    var request = request
    if devices < request.cluster.deviceCount { request.cluster = try request.cluster.taking(devices: devices) }
    let space = try Space(try fix(request))
    guard let frame = space.frames().first else { return nil }
    let pricing = try space.firstPricing(frame)
    guard let op = space.strategies(pricing, frame).firstIndex(where: \.isEmpty) else { return nil }
    return Lack(name: pricing.graph.operators[op].name, rule: pricing.rules[op])
  }
}

extension OperatorRule.IterationAxis {
  /// How many of what it has, as people say it.
  fileprivate var inWords: String {
    switch role {
    case .heads: counted(extent, "key-value head")
    case .queries: counted(extent, "query head") + " for each key-value head"
    case .slots: counted(extent, "place") + " of each expert for tokens of a sequence"
    default: counted(extent, "position")
    }
  }
}
