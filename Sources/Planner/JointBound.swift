// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Search
import Strategies

/// A lower bound of many configurations of one frame at once, with memory priced.
///
/// Each of them takes at least as long as one of its chains, and one of its stages holds so many copies and keeps so many passes. Where the least
/// weight of all stands for each weight, the same choice of strategies is no dearer and needs no more memory. So for every choice x, and a price λ
/// on that memory while one operator runs, no configuration takes less than least(x) + λ·(memory(x) − limit) (Lagrangian relaxation).
struct JointBound {
  /// A price on the memory while an operator runs.
  struct Price {
    let op: Int
    var ticksPerByte: Double
  }

  private let model: FoldedModel
  /// The least weights of the chains: by segment, and by the place of conversions.
  private var nodes: [Configuration.Weights] = []
  private var places: [FoldedModel.Place: Configuration.Weights] = [:]
  private let load: Configuration.Load

  /// - Parameter configurations: with the same numbers of stages and micro-batches.
  init(_ model: FoldedModel, _ configurations: [Configuration]) {
    self.model = model
    let copy = CopyCosts(model)
    let kinds = Set(model.edges.map(\.place))
    var loads: [Configuration.Load] = []
    for configuration in configurations {
      let path = copy.longestChain(configuration)
      let weights = configuration.nodeWeights(path, segments: model.pricing.graph.segments.count)
      nodes = nodes.isEmpty ? weights : zip(nodes, weights).map { $0.least($1) }
      for place in kinds {
        let weight = configuration.edgeWeights(path, place)
        places[place] = places[place].map { $0.least(weight) } ?? weight
      }
      loads.append(copy.fullestLoad(configuration))
    }
    load = loads.dropFirst().reduce(loads[0]) { $0.least($1) }
  }

  /// The bound, as high as a few prices bring it, or until it reaches the cutoff; nil where no choice of strategies is possible.
  ///
  /// - Parameter price: one that was good for these and other configurations; and the best one found.
  func bound(limit: Int64, cutoff: Int64?, price: inout Price?) throws -> Int64? {
    var climb = Climb(limit: limit, cutoff: cutoff ?? .max)
    if let known = price, try look(known, &climb) { return climb.best }
    let isFirst = price == nil
    guard try !look(nil, &climb), let relaxed = climb.choice else { return climb.isPossible ? climb.best : nil }
    guard let op = price?.op ?? fullest(relaxed) else { return climb.best }
    climb.add(relaxed, time(relaxed), memory(relaxed, op))
    for _ in 0..<(isFirst ? Self.mostPrices : 1) {
      guard let ticks = climb.next else { break }
      let next = Price(op: op, ticksPerByte: ticks)
      let before = climb.best
      let isDone = try look(next, &climb)
      if climb.best > before { price = next }
      if isDone { break }
    }
    return climb.best
  }

  private static let mostPrices = 5

  /// Solves the problem at a price, or without.
  /// - Returns: whether the cutoff is reached, or there is no choice.
  private func look(_ price: Price?, _ climb: inout Climb) throws -> Bool {
    let outcome = try problem(price, limit: climb.limit).solve(
      SolveOptions(cutoff: climb.cutoff == .max ? nil : climb.cutoff, reductions: .all.subtracting(.dominance)))
    if case .infeasible = outcome.status {
      climb.isPossible = false
      return true
    }
    climb.best = max(climb.best, outcome.lowerBound)
    climb.choice = outcome.choice
    guard climb.best < climb.cutoff, let choice = outcome.choice else { return true }
    if let price { climb.add(choice, time(choice), memory(choice, price.op)) }
    return false
  }

  /// The operator with which a choice needs most.
  private func fullest(_ choice: [Int]) -> Int? {
    let running = model.nodes.indices.filter { load.copies[model.nodes[$0].segment] > 0 && !model.runningWith($0).isEmpty }
    func besides(_ op: Int) -> Int64 {
      model.runningWith(op).reduce(0) { $0 + model.nodes[$1].transient[choice[$1]] }
        + model.nodes.indices.reduce(0) { $0 + (model.nodes[$1].segment == model.nodes[op].segment ? model.nodes[$1].revived[choice[$1]] : 0) }
    }
    return running.max { besides($0) < besides($1) }
  }

  private func memory(_ choice: [Int], _ op: Int) -> Int64 { Configuration.memory(model, choice, row: .init(load: load, op: op)) }

  private func time(_ choice: [Int]) -> Int64 {
    var sum: Int64 = 0
    for (index, node) in model.nodes.enumerated() { sum += cost(node, choice[index]) }
    for edge in model.edges {
      let entry = choice[edge.tail] * model.nodes[edge.head].count + choice[edge.head]
      let w = places[edge.place] ?? .init()
      sum += w.forward * edge.forward[entry] + w.backward * edge.backward[entry]
    }
    return sum
  }

  /// Messages from the last stage to the first are left out.
  private func cost(_ node: FoldedModel.Node, _ s: Int) -> Int64 {
    let w = nodes[node.segment]
    let passes = w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s]
    return passes + w.sendForward * node.sendForward[s] + w.sendBackward * node.sendBackward[s]
  }

  private func problem(_ price: Price?, limit: Int64) throws -> Problem {
    let allowance = price.map { Int64(($0.ticksPerByte * Double(limit)).rounded(.up)) } ?? 0
    var builder = try ProblemBuilder(offsets: [-allowance], limits: [])
    for (index, node) in model.nodes.enumerated() {
      let charged = price.map { price in
        Configuration.memory(model, node: index, row: .init(load: load, op: price.op)).map { Int64((price.ticksPerByte * Double($0)).rounded(.down)) }
      }
      _ = try builder.addNode(costs: (0..<node.count).map { cost(node, $0) + (charged?[$0] ?? 0) })
    }
    for edge in model.edges {
      let w = places[edge.place] ?? .init()
      try builder.addEdge(
        edge.tail, edge.head,
        costs: edge.forward.indices.map {
          edge.forward[$0] == Problem.forbidden ? Problem.forbidden : w.forward * edge.forward[$0] + w.backward * edge.backward[$0]
        })
    }
    return builder.build()
  }
}

/// The way to a good price: where the lines of two choices meet, one above the limit and one below it (the intersection method of Lagrangian
/// relaxation).
private struct Climb {
  let limit: Int64
  let cutoff: Int64
  var best = Int64.min
  var choice: [Int]?
  var isPossible = true
  private var above: (time: Double, excess: Double)?
  private var below: (time: Double, excess: Double)?
  private var last: Double?

  init(limit: Int64, cutoff: Int64) { (self.limit, self.cutoff) = (limit, cutoff) }

  mutating func add(_ choice: [Int], _ time: Int64, _ memory: Int64) {
    let line = (Double(time), Double(memory - limit))
    if line.1 > 0 { above = line } else { below = line }
  }

  /// The next price to look at; nil where memory does not bind, or no price is better.
  var next: Double? {
    mutating get {
      guard let above else { return nil }
      var price = last.map { $0 * 10 } ?? 100 * above.time / Double(limit)
      if let below {
        price = (below.time - above.time) / (above.excess - below.excess)
        if price <= 0 || last.map({ abs($0 - price) <= 1e-3 * $0 }) ?? false { return nil }
      }
      last = price
      return price
    }
  }
}

/// What one copy of each segment takes where every operator has its least time: good enough to tell which chain, and which stage, will count.
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
      kept[node.segment] += node.kept[least]
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
    let paths = PipelineTimeline.bounds(
      stages: configuration.stages, schedule: configuration.schedule, microBatches: configuration.microBatches, mode: configuration.mode)
    let lengths = paths.map { $0.length(times) }
    return paths[lengths.firstIndex(of: lengths.max() ?? 0) ?? 0]
  }

  func fullestLoad(_ configuration: Configuration) -> Configuration.Load {
    func bytes(_ load: Configuration.Load) -> Int64 {
      var sum: Int64 = 0
      for segment in load.copies.indices { sum += Int64(load.copies[segment]) * resident[segment] + Int64(load.kept[segment]) * kept[segment] }
      return sum
    }
    let loads = (0..<configuration.stages).map { configuration.loads(ofStage: $0)[0] }
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
    .init(stage: stage, copies: zip(copies, other.copies).map { min($0, $1) }, kept: zip(kept, other.kept).map { min($0, $1) })
  }
}
