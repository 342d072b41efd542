// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// Which readers of a parameter hold a copy of it: the first one on each stage. Where there are several, their gradients are exchanged.
///
/// Only parameters that segments without repeats read can be apart, so each reader stands on one stage.
struct Ties: Hashable {
  /// For each tied parameter, and each of its readers in the graph's order, the number of the first reader on the same stage; empty for all other
  /// tensors. Equal ties compare equal, whatever the stages are called.
  private let places: [[Int]]

  /// - Parameter place: for a parameter and one of the segments that read it, a number that segments on one stage share.
  init(_ graph: Graph, place: (TensorID, SegmentID) -> Int) {
    places = graph.tensors.indices.map { tensor in
      let segments = graph.consumers[tensor].map { graph.segmentOfOperator[$0.op] }
      guard graph.tensors[tensor].isParameter, Set(segments).count > 1 else { return [] }
      let named = segments.map { place(tensor, $0) }
      return named.map { name in named.firstIndex(of: name) ?? 0 }
    }
  }

  /// Whether the copy that this reader uses counts at this reader.
  func owns(_ tensor: TensorID, _ site: Graph.OperandSite, _ graph: Graph) -> Bool {
    guard let position = graph.consumers[tensor].firstIndex(of: site) else { return false }
    return places[tensor].isEmpty ? position == 0 : places[tensor][position] == position
  }

  /// Whether several stages hold the parameter.
  func isSplit(_ tensor: TensorID) -> Bool { Set(places[tensor]).count > 1 }
}

extension Space {
  /// The ties under a cut.
  func ties(_ frame: Frame, cut: [Int], first: Int = 0) -> Ties {
    let stages =
      !frame.runs.isEmpty ? stages(cut: cut, runs: frame.runs) : frame.first == nil ? stages(cut: cut) : stages(cut: cut, first: first)
    return Ties(graph(frame)) { _, segment in (stages.firstIndex { $0.contains { $0.segment == segment } } ?? 0) % frame.stages }
  }

  /// What is apart under every cut: readers on the first stage and readers on the last. Everything else counts as together, which is no dearer.
  func certainTies(stages: Int) -> Ties {
    let graph = request.graph
    return Ties(graph) { tensor, segment in
      let first = graph.consumers[tensor].map { graph.segmentOfOperator[$0.op] }.min() ?? 0
      return stages > 1 && first <= layerSegments.lowerBound && segment >= layerSegments.upperBound - 1 && segment > first ? 1 : 0
    }
  }
}
