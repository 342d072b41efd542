// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Quantities
import Search
import Strategies

/// What the entries of a block's tables cost.
extension BlockTables {
  /// What a table's entries cost.
  final class Piece {
    let table: TableMinimum.Table
    let place: FoldedModel.Place
    let costs: Costs

    init(table: TableMinimum.Table, place: FoldedModel.Place, costs: Costs) { (self.table, self.place, self.costs) = (table, place, costs) }
  }

  enum Costs {
    /// Whatever is weighted: 0, or `Problem.forbidden`.
    case match([Int64])
    case exchange([Int64])
    case conversions(Conversions)
  }

  /// By pair of a structure's conversions; `Problem.forbidden` in `forward` marks what must not be.
  final class Conversions {
    let pairOfEntry: [Int32]
    var forward: [Int64] = []
    var backward: [Int64] = []
    /// Kept for backward per micro-batch in flight, or, where it is computed again, alive during one copy's backward pass; else empty.
    var kept: [Int64] = []
    let isRevived: Bool
    /// Of what is not forbidden.
    var mostForward: Int64 = 0
    var mostBackward: Int64 = 0

    init(pairOfEntry: [Int32], isRevived: Bool) { (self.pairOfEntry, self.isRevived) = (pairOfEntry, isRevived) }

    /// For each entry its pair's weighted times, with what `charge` adds to those that are not forbidden.
    func weighted(_ ofForward: Int64, _ ofBackward: Int64, _ charge: (UnsafeMutableBufferPointer<Int64>) -> Void) -> [Int64] {
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: forward.count) { costs in
        for pair in 0..<forward.count {
          let isForbidden = forward[pair] == Problem.forbidden
          costs.initializeElement(
            at: pair, to: isForbidden ? Problem.forbidden : ofForward &* forward[pair] &+ ofBackward &* backward[pair])
        }
        charge(costs)
        return [Int64](unsafeUninitializedCapacity: pairOfEntry.count) { entries, count in
          count = pairOfEntry.count
          for entry in 0..<count { entries.initializeElement(at: entry, to: costs[Int(pairOfEntry[entry])]) }
        }
      }
    }
  }

  /// The times of operators' nodes.
  struct NodeTimes {
    /// For each node its segment, and where its strategies begin; at the end their number.
    private let segments: [SegmentID]
    private let starts: [Int]
    private var forward: [Int64] = []
    private var backward: [Int64] = []
    private var once: [Int64] = []
    private var sendForward: [Int64] = []
    private var sendBackward: [Int64] = []
    /// For each segment the largest of each of its nodes' times.
    private(set) var largest: [Configuration.Weights] = []

    init(_ nodes: ArraySlice<FoldedModel.Node>, _ starts: [Int]) {
      segments = nodes.map(\.segment)
      self.starts = starts
      for node in nodes {
        forward += node.forward
        backward += node.backward
        once += node.once
        sendForward += node.sendForward
        sendBackward += node.sendBackward
      }
      largest = .init(repeating: .init(), count: (segments.max() ?? -1) + 1)
      for (node, segment) in segments.enumerated() {
        for s in starts[node]..<starts[node + 1] {
          largest[segment].forward = max(largest[segment].forward, forward[s])
          largest[segment].backward = max(largest[segment].backward, backward[s])
          largest[segment].once = max(largest[segment].once, once[s])
          largest[segment].sendForward = max(largest[segment].sendForward, sendForward[s])
          largest[segment].sendBackward = max(largest[segment].sendBackward, sendBackward[s])
        }
      }
    }

    /// Adds every strategy's weighted times.
    func add(_ weights: [Configuration.Weights], to costs: UnsafeMutablePointer<Int64>) {
      func add(_ times: [Int64], _ weight: (Configuration.Weights) -> Int64) {
        times.withUnsafeBufferPointer { times in
          for node in segments.indices {
            let weight = weight(weights[segments[node]])
            if weight == 0 { continue }
            for s in starts[node]..<starts[node + 1] { costs[s] &+= weight &* times[s] }
          }
        }
      }
      add(forward, \.forward)
      add(backward, \.backward)
      add(once, \.once)
      add(sendForward, \.sendForward)
      add(sendBackward, \.sendBackward)
    }
  }

  static func exchange(_ model: FoldedModel, _ tensor: TensorID, _ first: [Layout], _ second: [Layout]) -> [Int64] {
    guard let runs = model.runs else { preconditionFailure("stages with one mesh exchange no gradients of tied weights") }
    return first.flatMap { a in second.map { model.pricing.ticks(runs.exchange(tensor, a, $0)) } }
  }

  static func price(_ structure: BlockStructure.Conversions, _ model: FoldedModel, at place: FoldedModel.Place) -> Conversions {
    let (tensor, layouts) = (structure.tensor, structure.layouts)
    // For each of the producer's classes, and each layout that is asked for: the conversions.
    let asked = structure.pairs.reduce((forward: UInt128(0), gradient: UInt128(0))) { ($0.forward | $1.forward, $0.gradient | $1.gradient) }
    let there = model.conversions(tensor, from: structure.produced.map(\.result), to: layouts, at: place, isForward: true) { _, to in
      asked.forward >> UInt128(to) & 1 == 1
    }
    let back =
      !structure.carriesGradient
      ? []
      : model.conversions(tensor, from: layouts, to: structure.produced.map(\.gradient), at: place, isForward: false) { from, _ in
        asked.gradient >> UInt128(from) & 1 == 1
      }
    let pricing = model.graph.segment(ofActivation: tensor).map { model.pricing($0) } ?? model.pricing
    // Where stages have several meshes, some layouts are those of the mesh that a tensor comes from: it is not kept there.
    var kept = structure.pairs.reduce(UInt128(0)) { $0 | $1.kept }
    let sources = structure.regathers ? structure.produced.map { layouts.firstIndex(of: $0.result)! } : []
    for source in sources { kept |= 1 << UInt128(source) }
    var bytes =
      !structure.holds
      ? []
      : layouts.enumerated().map { number, layout in
        model.runs == nil || kept >> UInt128(number) & 1 == 1 ? pricing.keptBytes(tensor, layout).whole : 0
      }
    // In a lower bound from axes by themselves, a copy that two layouts of the mesh have in common must not count on every axis anew: of all but the
    // first, what a layout takes more than a perfectly shared one.
    let once = pricing.sharers == nil ? 0 : bytes.min() ?? 0
    for index in bytes.indices { bytes[index] -= once }
    func sum(_ costs: [Int64], _ first: Int, by step: Int = 1, _ bits: UInt128) -> Int64 {
      var (sum, rest) = (Int64(0), bits)
      while rest != 0 {
        sum = min(Problem.forbidden, sum + costs[first + step * rest.trailingZeroBitCount])
        rest &= rest - 1
      }
      return sum
    }
    let costs = Conversions(pairOfEntry: structure.pairOfEntry, isRevived: structure.isRevived)
    costs.forward.reserveCapacity(structure.pairs.count)
    costs.backward.reserveCapacity(structure.pairs.count)
    for pair in structure.pairs {
      var (forward, backward): (Int64, Int64) = (0, 0)
      if pair.isForbidden {
        forward = Problem.forbidden
      } else if !structure.produced.isEmpty {
        let producer = Int(pair.producer)
        forward = sum(there, producer * layouts.count, pair.forward)
        backward = back.isEmpty ? 0 : sum(back, producer, by: structure.produced.count, pair.gradient)
        if structure.isRevived { backward += forward }
        if forward >= Problem.forbidden || backward >= Problem.forbidden { (forward, backward) = (Problem.forbidden, 0) }
      }
      var held = pair.kept
      if structure.regathers, held != 0, forward < Problem.forbidden {
        let producer = Int(pair.producer)
        let source = sources[producer]
        for layout in layouts.indices where held >> UInt128(layout) & 1 == 1 && layouts[layout].isGathered(from: layouts[source]) {
          held = held & ~(1 << UInt128(layout)) | 1 << UInt128(source)
          backward += there[producer * layouts.count + layout]
        }
      }
      costs.forward.append(forward)
      costs.backward.append(backward)
      if structure.holds { costs.kept.append(held == 0 ? 0 : once + sum(bytes, 0, held)) }
      if forward < Problem.forbidden {
        costs.mostForward = max(costs.mostForward, forward)
        costs.mostBackward = max(costs.mostBackward, backward)
      }
    }
    return costs
  }
}

extension BlockTables.Piece {
  /// What a choice's conversions take.
  func times(_ choice: [Int]) -> (forward: Int64, backward: Int64) {
    switch costs {
    case .match: return (0, 0)
    case .exchange(let times): return (times[table.index(choice)], 0)
    case .conversions(let conversions):
      let pair = Int(conversions.pairOfEntry[table.index(choice)])
      return (conversions.forward[pair], conversions.backward[pair])
    }
  }
}
