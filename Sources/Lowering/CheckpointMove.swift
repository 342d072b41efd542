// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// What has to travel for a training to go on under another plan: what each device needs of the parameters and of the optimizer's state, and does not hold already.
///
/// Both plans use the first devices of one cluster. What several devices hold, each of them needs.
package struct CheckpointMove: Hashable, Sendable {
  /// Elements of parameters that each device of the new plan gets from another, and those that it has already.
  package private(set) var moved: [Int]
  package private(set) var kept: [Int]
  /// The same of the elements whose optimizer state it owns.
  package private(set) var movedState: [Int]
  package private(set) var keptState: [Int]

  /// What one device holds of a parameter: boxes of elements; as a whole, and of the part that it updates.
  private struct Holding {
    let values: [Region]
    let owned: [Region]
  }

  /// - Precondition: both are plans of the same model.
  package init(from old: Decision, to new: Decision) {
    (moved, kept) = (Array(repeating: 0, count: new.ranks), Array(repeating: 0, count: new.ranks))
    (movedState, keptState) = (moved, moved)
    let before = Dictionary(uniqueKeysWithValues: Self.parameters(old).map { ($0.name, $0) })
    for parameter in Self.parameters(new) {
      let source = before[parameter.name]
      for (group, site) in parameter.sites {
        for rank in new.ranks(ofGroup: group) {
          let own = Self.holding(parameter.tensor, site, rank, group, new)
          var known = Holding(values: [], owned: [])
          if let source, rank < old.ranks, let (oldGroup, oldSite) = source.sites.first(where: { old.ranks(ofGroup: $0.group).contains(rank) }) {
            known = Self.holding(source.tensor, oldSite, rank, oldGroup, old)
          }
          let (values, owned) = (Self.common(own.values, known.values), Self.common(own.owned, known.owned))
          kept[rank] += values
          moved[rank] += Self.count(own.values) - values
          guard parameter.isLearned else { continue }
          keptState[rank] += owned
          movedState[rank] += Self.count(own.owned) - owned
        }
      }
    }
  }

  private struct Parameter {
    let name: String
    let tensor: TensorID
    let isLearned: Bool
    /// Each group of devices that holds it, with where it is read there.
    let sites: [(group: Int, site: Graph.OperandSite)]
  }

  /// Every parameter of every copy.
  private static func parameters(_ decision: Decision) -> [Parameter] {
    let graph = decision.graph
    let isLearned = graph.reachesLoss()
    var found: [Parameter] = []
    for tensor in graph.tensors.indices where graph.tensors[tensor].isParameter {
      guard let first = graph.consumers[tensor].first else { continue }
      let segment = graph.segmentOfOperator[first.op]
      let isPerCopy = graph.tensors[tensor].parameter.map { Graph.isPerCopy($0.checkpointName) } ?? false
      if !isPerCopy, graph.segments[segment].repeats == 1 || !decision.groupsHolding(tensor).isEmpty {
        let groups = decision.groupsHolding(tensor)
        let sites = groups.compactMap { group in decision.reader(of: tensor, onGroup: group).map { (group, $0) } }
        found.append(Parameter(name: graph.name(ofParameter: tensor, copy: 0), tensor: tensor, isLearned: isLearned[tensor], sites: sites))
        continue
      }
      for (stage, held) in decision.stages.enumerated() {
        for unit in held.units where unit.segment == segment {
          for copy in unit.copies {
            found.append(
              Parameter(
                name: graph.name(ofParameter: tensor, copy: copy), tensor: tensor, isLearned: isLearned[tensor],
                sites: [(decision.group(ofStage: stage), first)]))
          }
        }
      }
    }
    return found
  }

  private static func holding(_ tensor: TensorID, _ site: Graph.OperandSite, _ rank: Int, _ group: Int, _ decision: Decision) -> Holding {
    let graph = decision.graph
    let mesh = decision.mesh(ofGroup: group)
    let coordinates = MeshPlace.coordinates(of: rank - decision.ranks(ofGroup: group).lowerBound, in: mesh)
    let rule = OperatorRules.rule(for: site.op, in: graph)
    let use = Strategy(assignment: decision.assignments[site.op], rule: rule).operands[site.operand]
    let region = Shard.region(shape: graph.shape(tensor), layout: use.forward, mesh: mesh, coordinates: coordinates)
    let isTrained = decision.job.mode == .train
    let sharing = isTrained ? ParameterSharing(of: tensor, readBy: site.op, use, in: decision, isLearned: true) : .none
    let part = region.regions(ofElements: sharing.part(of: region.elementCount, mesh: mesh, coordinates: coordinates))
    return Holding(values: sharing.stage == .weights ? part : [region], owned: part)
  }

  private static func count(_ boxes: [Region]) -> Int { boxes.reduce(0) { $0 + $1.elementCount } }

  /// Boxes of one list do not overlap.
  private static func common(_ a: [Region], _ b: [Region]) -> Int {
    a.reduce(0) { sum, box in
      b.reduce(sum) { $0 + (zip(box, $1).allSatisfy { $0.overlaps($1) || $0.isEmpty } ? box.intersection($1).elementCount : 0) }
    }
  }
}
