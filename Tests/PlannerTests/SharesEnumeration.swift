// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies

@testable import Planner

/// Decisions whose batch devices of several kinds share out unevenly.
extension Enumeration {
  /// Even, and the shares that the space names.
  func shares(stages: Int, mesh: [Int], microBatches: Int) throws -> [BatchShares?] {
    let frame = Space.Frame(stages: stages, mesh: mesh, microBatches: microBatches)
    return try [nil] + Space(request).shares(frame).map { BatchShares($0, mesh: mesh) }
  }

  /// Whether each rank has a part of every tensor that is computed.
  func leavesNoneEmpty(_ graph: Graph, _ strategies: [Strategy], _ mesh: [Int], _ shares: BatchShares?) -> Bool {
    graph.operators.indices.allSatisfy { op in
      let tensors = zip(graph.operators[op].operands, strategies[op].operands.map(\.forward)) + [(graph.operators[op].result, strategies[op].result)]
      return tensors.allSatisfy { tensor, layout in
        (0..<mesh.reduce(1, *)).allSatisfy { rank in
          let region = Shard.region(
            of: tensor, in: graph, layout: layout, mesh: mesh, coordinates: MeshPlace.coordinates(of: rank, in: mesh), shares: shares)
          return region.allSatisfy { !$0.isEmpty }
        }
      }
    }
  }

  private func kinds(on mesh: [Int]) -> [Int] { Set(request.cluster.kindOfDevice[..<mesh.reduce(1, *)]).sorted() }

  /// Each kind of the mesh's devices at its own rates, with the most samples of any of its devices.
  func pricingsOfKinds(_ shares: BatchShares, mesh: [Int], microBatches: Int, graph: Graph?) throws -> [Pricing] {
    try kinds(on: mesh).map { kind in
      let ranks = (0..<mesh.reduce(1, *)).filter { request.cluster.kindOfDevice[$0] == kind }
      let samples = ranks.map { shares.samples[MeshPlace.coordinates(of: $0, in: mesh)[shares.axis]] }.max()!
      return try pricing(
        stages: 1, mesh: mesh, microBatches: microBatches, graph: graph, kind: request.cluster.kinds[kind], shares: shares,
        uneven: UnevenBatch(shares, samples: samples, kinds: []))
    }
  }

  /// The time of the slowest kind for each operator, and the memory of each kind with its own share under its own limit.
  func unevenEntry(_ decision: Decision) throws -> Entry {
    guard let shares = decision.shares else { preconditionFailure("the decision's shares are even") }
    let (mesh, count) = (decision.mesh, decision.job.microBatches)
    let pricing = try pricing(stages: 1, mesh: mesh, microBatches: count, graph: decision.graph, shares: shares)
    let objective = try DecisionPricing.predict(decision, pricing: pricing, links: nil).objective
    let largest = request.cluster.kinds.map(\.usableMemory).max()!
    let own = try pricingsOfKinds(shares, mesh: mesh, microBatches: count, graph: decision.graph)
    let memory = try zip(kinds(on: mesh), own).map { kind, pricing in
      try DecisionPricing.predict(decision, pricing: pricing, links: nil).prediction.memory(ofGroup: 0).total
        * (largest / request.cluster.kinds[kind].usableMemory)
    }
    return Entry(decision: decision, objective: objective, memory: memory.max()!)
  }
}
