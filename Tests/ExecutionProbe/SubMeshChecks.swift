// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import ModelGraph
import Plans
import Strategies

/// Pipelines whose stages have meshes of their own.
extension DecisionChecks {
  /// Random strategies on stages of random sizes and shapes, which together have the world's ranks; forward alone in one of five.
  func subMeshes(_ model: TinyModel, seed: UInt64, count: Int) throws -> [String] {
    var problems: [String] = []
    for index in 0..<count {
      var random = SplitMix64(state: seed &+ UInt64(index) &* 1_000_003)
      func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
      let microBatches = model == .resnet ? 1 : pick([1, 2, 3])
      let batch = pick([2, 3]) * microBatches
      var graph = try model.graph(
        batch: batch / microBatches, layers: 3, hidden: 24, heads: 6, ffn: pick([20, 27]), vocabulary: 31, sequence: pick([7, 8]))
      let copies = graph.segments.reduce(0) { $0 + $1.repeats }
      let stages = pick(Array(2...min(3, world.size, copies)))
      var meshes: [[Int]] = []
      repeat { meshes = Self.meshes(stages: stages, ranks: world.size, using: &random) } while Set(meshes).count == 1
      var cuts = Array(1..<copies)
      while cuts.count >= stages { cuts.remove(at: Int(random.next() % UInt64(cuts.count))) }
      graph = Self.dividing(graph, at: cuts)
      let segments = Self.segments(of: graph, between: cuts)
      let builder = DecisionBuilder(graph: graph, mesh: meshes[0], stageMeshes: meshes, segmentsOfStages: segments)
      let assignments = builder.random(using: &random)
      let zero = graph.operators.map { _ in pick(ZeROStage.allCases) }
      let recompute = graph.segments.map { _ in pick(Recompute.allCases) }
      let schedule = pick([Schedule.gpipe, .oneForwardOneBackward])
      var decision = builder.decision(
        assignments, batch: batch, microBatches: microBatches, cuts: cuts, schedule: schedule,
        mode: pick([.train, .train, .train, .train, .forward]), optimizer: pick([.adamw, .sgd]), zero: { zero[$0] }, recompute: { recompute[$0] },
        zigzagPairs: pick([1, 1, 2, 4]))
      decision.job.software.updates = pick(WeightUpdates.allCases)
      problems += try mismatches(
        decision, "\(model) seed \(seed) case \(index) meshes \(meshes) \(schedule) cuts \(cuts) micro-batches \(microBatches) recompute \(recompute)"
      )
    }
    return problems
  }

  /// A size for each stage, and a mesh of that size.
  private static func meshes(stages: Int, ranks: Int, using random: inout SplitMix64) -> [[Int]] {
    func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
    var rest = ranks
    var meshes: [[Int]] = []
    for stage in 0..<stages {
      let size = stage == stages - 1 ? rest : pick(Array(1...rest - (stages - 1 - stage)))
      rest -= size
      meshes.append(pick([[size]] + (1...size).filter { size % $0 == 0 }.map { [$0, size / $0] }))
    }
    return meshes
  }

  /// A model whose segments end where stages do; copies are counted through the model.
  static func dividing(_ graph: Graph, at cuts: [Int]) -> Graph {
    var graph = graph
    var (segment, first) = (0, 0)
    while segment < graph.segments.count {
      let repeats = graph.segments[segment].repeats
      if let cut = cuts.first(where: { first + 1..<first + repeats ~= $0 }) {
        graph = graph.dividing(segment, into: [cut - first, first + repeats - cut]).graph
        first = cut
      } else {
        first += repeats
      }
      segment += 1
    }
    return graph
  }

  /// The segments of each stage of a model that is divided so, where every segment lies on one stage.
  static func segments(of graph: Graph, between cuts: [Int]) -> [Range<SegmentID>] {
    var first = 0
    let starts = graph.segments.map { segment in
      defer { first += segment.repeats }
      return first
    }
    let bounds = [0] + cuts + [first]
    return zip(bounds, bounds.dropFirst()).map { start, end in
      starts.firstIndex(of: start)!..<(starts.firstIndex(of: end) ?? graph.segments.count)
    }
  }
}
