// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

/// One block's operators, and between them what ranks exchange: what is drawn of it.
struct OperatorGraph: Hashable {
  enum Node: Hashable {
    /// What comes from the copy before, or goes to the one after.
    case seam(String)
    case op(name: String, words: [String], zero: ZeROStage, time: Seconds, notes: [Note])
    /// Conversions that a tensor goes through before one or several readers take it, and its gradient on the way back.
    case conversion([Exchange])
  }

  /// Equal calls, over the same axes of the mesh.
  struct Calls: Hashable {
    var count = 1
    /// `all-gather`, or `send` to one other rank.
    let kind: String
    /// `axis 1`.
    let axes: String
    /// ` (nvlink)`.
    let links: String
    let bytes: Bytes
    let time: Seconds

    /// `2 × all-reduce`.
    var name: String { (count > 1 ? "\(count) × " : "") + kind }
    /// `64.0 MiB, 321 µs`, of one call.
    var size: String { "\(bytes), \(time)" + (count > 1 ? " each" : "") }
  }

  /// Collectives of an operator's own: what they are for, and whether a step has them once.
  struct Note: Hashable {
    let purpose: String
    let isOnce: Bool
    var calls: Calls

    /// For a narrow box, without links.
    var lines: [String] { ["\(purpose): \(calls.name), \(calls.axes)", "  \(calls.size)\(isOnce ? ", once a step" : "")"] }
    var text: String { "\(purpose): \(calls.name), \(calls.axes)\(calls.links): \(calls.size)\(isOnce ? ", once a step" : "")" }
  }

  struct Exchange: Hashable {
    let isForward: Bool
    /// Whether it is only there where the first copy gets something from another block.
    let isAtStart: Bool
    var calls: Calls

    var text: String { "\(isForward ? "fwd" : "bwd") \(calls.name), \(calls.axes)\(calls.links): \(calls.size)" }
  }

  struct Edge: Hashable {
    let from: Int
    let to: Int
  }

  /// The words of an exchange at an edge, one for each line.
  static func lines(_ exchanges: [Exchange]) -> [String] {
    exchanges.filter { !$0.isAtStart }.map(\.text)
      + (exchanges.contains(where: \.isAtStart) ? ["at the first layer only:"] + exchanges.filter(\.isAtStart).map(\.text) : [])
  }

  /// Each after all that it reads.
  private(set) var nodes: [Node] = []
  private(set) var edges: [Edge] = []

  init(_ report: PlanReport, segment id: SegmentID) {
    let (graph, segment) = (report.graph, report.graph.segments[id])
    /// For each tensor the node that it comes from.
    var source: [TensorID: Int] = [:]
    /// For each tensor and way of using it, the node of its conversions.
    var converted: [Key: Int] = [:]
    for entry in segment.entries {
      source[entry] = nodes.count
      nodes.append(.seam("from the layer before: \(Graph.plain(graph.shortName(ofTensor: entry)))"))
    }
    for op in segment.operators {
      let part = report.prediction.operators[op]
      var before: [Int] = []
      for (position, tensor) in graph.operators[op].operands.enumerated() {
        guard let from = source[tensor] else { continue }
        let use = report.strategies[op].operands[position]
        let key = Key(tensor: tensor, use: use)
        if converted[key] == nil {
          let exchanges = Self.exchanges(report, tensor: tensor, readBy: op)
          converted[key] = from
          if !exchanges.isEmpty {
            converted[key] = nodes.count
            edges.append(Edge(from: from, to: nodes.count))
            nodes.append(.conversion(exchanges))
          }
        }
        if let place = converted[key], !before.contains(place) { before.append(place) }
      }
      edges += before.map { Edge(from: $0, to: nodes.count) }
      source[graph.operators[op].result] = nodes.count
      nodes.append(
        .op(
          name: graph.shortName(of: op), words: report.strategies[op].words(report.rules[op]), zero: report.decision.zero[op],
          time: part.forward + part.backward,
          notes: Self.notes(report, op)))
    }
    for exit in segment.exits {
      guard let from = source[exit] else { continue }
      edges.append(Edge(from: from, to: nodes.count))
      nodes.append(.seam("to the layer after: \(Graph.plain(graph.shortName(ofTensor: exit)))"))
    }
  }

  private struct Key: Hashable {
    let tensor: TensorID
    let use: Strategy.Use
  }

  // MARK: - What ranks exchange

  /// The collectives of one use: a plan lists them at the first reader.
  private static func exchanges(_ report: PlanReport, tensor: TensorID, readBy op: OperatorID) -> [Exchange] {
    let repeats = report.graph.segments[report.graph.segmentOfOperator[op]].repeats
    let isEntry = report.graph.producer[tensor] == nil
    var found: [Exchange] = []
    for part in report.prediction.collectives where part.op == op && part.tensor == tensor && [.forward, .backward].contains(part.cause) {
      let exchange = Exchange(isForward: part.cause == .forward, isAtStart: isEntry && part.copies == 1 && repeats > 2, calls: calls(report, part))
      if let known = found.firstIndex(where: {
        $0.isForward == exchange.isForward && $0.isAtStart == exchange.isAtStart && $0.calls.isLike(exchange.calls)
      }) {
        // What comes from the copy before and what comes from another segment may be converted alike: of two copies each has one.
        if !isEntry || repeats > 2 { found[known].calls.count += part.calls }
      } else {
        found.append(exchange)
      }
    }
    return found
  }

  /// What else ranks exchange for an operator.
  private static func notes(_ report: PlanReport, _ op: OperatorID) -> [Note] {
    var notes: [Note] = []
    for part in report.prediction.collectives where part.op == op {
      let words: (purpose: String, isOnce: Bool)? =
        switch part.cause {
        case .interior: ("inside", false)
        case .weights: ("weights", false)
        case .parts: ("gradient parts", false)
        case .gradient: ("gradient", true)
        case .updated: ("updated", true)
        case .tied: ("tied", true)
        case .forward, .backward, .boundary: nil
        }
      guard let words else { continue }
      let note = Note(purpose: words.purpose, isOnce: words.isOnce, calls: calls(report, part))
      if let known = notes.firstIndex(where: { $0.purpose == note.purpose && $0.calls.isLike(note.calls) }) {
        notes[known].calls.count += part.calls
      } else {
        notes.append(note)
      }
    }
    return notes
  }

  private static func calls(_ report: PlanReport, _ part: Prediction.CollectivePart) -> Calls {
    let segment = report.graph.segmentOfOperator[part.op]
    let stage = report.decision.stages.firstIndex { $0.units.contains { $0.segment == segment } }
    let group = stage.map(report.decision.group(ofStage:)) ?? 0
    var links: [String] = []
    for axis in part.axes { for level in report.levels(ofAxis: axis, onGroup: group) where !links.contains(level.name) { links.append(level.name) } }
    let axes =
      part.axes.isEmpty ? "between stages" : (part.axes.count == 1 ? "axis " : "axes ") + part.axes.map(String.init).joined(separator: " and ")
    return Calls(
      count: part.calls, kind: part.name(in: report.decision), axes: axes, links: links.isEmpty ? "" : " (\(links.joined(separator: ", ")))",
      bytes: part.bytes,
      time: part.time)
  }
}

extension OperatorGraph.Calls {
  fileprivate func isLike(_ other: Self) -> Bool { (kind, axes, bytes, time) == (other.kind, other.axes, other.bytes, other.time) }
}

extension OperatorGraph {
  /// What a node reads: names of operators, or what comes from the layer before.
  func inputs(ofNode node: Int) -> [String] {
    edges.filter { $0.to == node }.flatMap { edge -> [String] in
      switch nodes[edge.from] {
      case .op(let name, _, _, _, _): [name]
      case .seam: ["the layer before"]
      case .conversion: inputs(ofNode: edge.from)
      }
    }
  }

  /// What ranks exchange on the way to an operator, unless an earlier one shares it.
  func exchanges(toNode node: Int) -> [Exchange] {
    edges.filter { edge in edge.to == node && edges.first { $0.from == edge.from } == edge }.flatMap { edge -> [Exchange] in
      if case .conversion(let exchanges) = nodes[edge.from] { exchanges } else { [] }
    }
  }

  /// That, and what they exchange inside it, in words.
  func exchanged(atNode node: Int) -> [String] {
    var texts = Self.lines(exchanges(toNode: node))
    if case .op(_, _, _, _, let notes) = nodes[node] { texts += notes.map(\.text) }
    return texts
  }
}

extension Graph {
  /// A name without the place of a copy's number.
  static func plain(_ name: String) -> String { name.replacing("{i}.", with: "").replacing(".{i}", with: "") }
}
