// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Hardware
import ModelGraph
import Plans
import Strategies

/// Batches that ranks share out unevenly.
extension DecisionChecks {
  /// Random strategies under random shares on meshes of one to three axes; every third case splits by data alone, forward alone in one of five.
  func shares(_ model: TinyModel, seed: UInt64, count: Int) throws -> [String] {
    var problems: [String] = []
    for index in 0..<count {
      var random = SplitMix64(state: seed &+ UInt64(index) &* 1_000_003)
      func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
      let mesh = pick(Mesh.shapes(devices: world.size, maximumAxes: 3))
      guard let axis = BatchShares.axis(of: mesh) else { continue }
      var samples: [Int] = []
      repeat { samples = (0..<mesh[axis]).map { _ in pick([1, 2, 3, 5]) } } while Set(samples).count == 1
      let microBatches = pick([1, 2])
      let total = samples.reduce(0, +)
      let graph = try model.graph(
        batch: total, layers: 2, hidden: 24, heads: 6, ffn: pick([20, 27]), vocabulary: 31, sequence: pick([7, 8]))
      var builder = DecisionBuilder(graph: graph, mesh: mesh)
      builder.shares = BatchShares(samples, mesh: mesh)
      let assignments = builder.random(using: &random, around: index % 3 == 2 ? "data" : nil)
      let zero = graph.operators.map { _ in pick(ZeROStage.allCases) }
      let recompute = graph.segments.map { _ in pick(Recompute.allCases) }
      var decision = builder.decision(
        assignments, batch: total * microBatches, microBatches: microBatches, schedule: pick([Schedule.gpipe, .oneForwardOneBackward]),
        mode: pick([.train, .train, .train, .train, .forward]), optimizer: pick([.adamw, .sgd]), zero: { zero[$0] }, recompute: { recompute[$0] },
        zigzagPairs: pick([1, 1, 2, 4]))
      decision.job.software.updates = pick(WeightUpdates.allCases)
      problems += try mismatches(
        decision, "\(model) seed \(seed) case \(index) mesh \(mesh) samples \(samples) micro-batches \(microBatches) recompute \(recompute)")
    }
    return problems
  }
}
