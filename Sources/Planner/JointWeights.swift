// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph

/// The least that many configurations of one frame weigh: for a lower bound of all of them at once.
///
/// Each of them takes at least as long as one of its chains, and one of its stages holds so many copies and keeps so many passes. Where the least
/// weight of all stands for each weight, the same choice of strategies is no dearer and needs no more memory. So for every choice x, and a price λ
/// on that memory, no configuration takes less than least(x) + λ·(memory(x) − limit) (Lagrangian relaxation).
struct JointWeights {
  /// By segment, and by the place of conversions.
  private var segments: [Configuration.Weights] = []
  private var places: [FoldedModel.Place: Configuration.Weights] = [:]
  let load: Configuration.Load

  var objective: BlockTables.Objective {
    let places = places
    return .init(segments: segments, place: { places[$0] ?? .init() })
  }

  /// - Parameters:
  ///   - operators: of the frame; they tell which chain, and which stage, counts most in each configuration.
  ///   - configurations: with the same numbers of stages and micro-batches.
  init(_ operators: FoldedModel, _ configurations: [Configuration]) {
    let copy = CopyCosts(operators)
    let count = operators.pricing.graph.segments.count
    let kinds = (0..<count).flatMap { to in [.inside(to), .seam(from: to - 1, to: to), .seam(from: to, to: to)] as [FoldedModel.Place] }
    var loads: [Configuration.Load] = []
    for configuration in configurations {
      let path = copy.longestChain(configuration)
      let weights = configuration.nodeWeights(path, segments: count)
      segments = segments.isEmpty ? weights : zip(segments, weights).map { $0.least($1) }
      for place in kinds {
        let weight = configuration.edgeWeights(path, place)
        places[place] = places[place].map { $0.least(weight) } ?? weight
      }
      loads.append(copy.fullestLoad(configuration))
    }
    load = loads.dropFirst().reduce(loads[0]) { $0.least($1) }
  }
}

/// What one copy of each segment takes where every operator has its least time.
private struct CopyCosts {
  private var forward: [Int64]
  private var backward: [Int64]
  private var once: [Int64]
  private var resident: [Int64]
  private var kept: [Int64]

  init(_ model: FoldedModel) {
    let none = [Int64](repeating: 0, count: model.pricing.graph.segments.count)
    (forward, backward, once, resident, kept) = (none, none, none, none, none)
    for node in model.nodes {
      let times: [Int64] = zip(node.forward, node.backward).map { forward, backward in forward + backward }
      let least = times.firstIndex(of: times.min() ?? 0) ?? 0
      forward[node.segment] += node.forward[least]
      backward[node.segment] += node.backward[least]
      once[node.segment] += node.once[least]
      resident[node.segment] += node.resident[least]
      kept[node.segment] += node.leastKept[least]
    }
  }

  func longestChain(_ configuration: Configuration) -> PipelineTimeline.Path {
    func sum(_ copies: [Int], _ costs: [Int64]) -> Int64 {
      var sum: Int64 = 0
      for segment in copies.indices { sum += Int64(copies[segment]) * costs[segment] }
      return sum
    }
    let times = configuration.copies.map {
      PipelineTimeline.StageTimes(
        forward: sum($0, forward), backward: sum($0, backward), once: sum($0, once), sendForward: 0, sendBackward: 0)
    }
    return PipelineTimeline.longestBound(
      times, stages: configuration.stages, schedule: configuration.schedule, microBatches: configuration.microBatches, mode: configuration.mode)
  }

  func fullestLoad(_ configuration: Configuration) -> Configuration.Load {
    func bytes(_ load: Configuration.Load) -> Int64 {
      var sum = load.reserved
      for segment in load.copies.indices { sum += Int64(load.copies[segment]) * resident[segment] + Int64(load.kept[segment]) * kept[segment] }
      return sum
    }
    let loads = (0..<configuration.stages).map { configuration.load(ofStage: $0) }
    let sizes = loads.map(bytes)
    return loads[sizes.firstIndex(of: sizes.max() ?? 0) ?? 0]
  }
}

extension Configuration.Weights {
  /// The least of both, part by part.
  fileprivate func least(_ other: Self) -> Self {
    .init(
      forward: min(forward, other.forward), backward: min(backward, other.backward), once: min(once, other.once),
      sendForward: min(sendForward, other.sendForward), sendBackward: min(sendBackward, other.sendBackward),
      wrapForward: min(wrapForward, other.wrapForward), wrapBackward: min(wrapBackward, other.wrapBackward))
  }
}

extension Configuration.Load {
  /// No stage's own: what both hold at least.
  fileprivate func least(_ other: Self) -> Self {
    .init(
      stage: stage, copies: zip(copies, other.copies).map { min($0, $1) }, kept: zip(kept, other.kept).map { min($0, $1) },
      reserved: min(reserved, other.reserved))
  }
}
