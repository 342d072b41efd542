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

  /// A collective of an operator's own: what it is for, and what it takes.
  struct Note: Hashable {
    let kind: String
    let size: String
  }

  struct Exchange: Hashable {
    let isForward: Bool
    let kind: CollectiveKind?
    let axes: [Int]
    let bytes: Bytes
    let time: Seconds
    /// Whether it is only there where the first copy gets something from another block.
    let isAtStart: Bool

    var lines: [String] {
      ["\(isForward ? "fwd" : "bwd") \(kind?.rawValue ?? "send") \(bytes), \(time)"] + (isAtStart ? ["  at the first layer only"] : [])
    }
  }

  struct Edge: Hashable {
    let from: Int
    let to: Int
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
      nodes.append(.seam("to the layer after"))
    }
  }

  private struct Key: Hashable {
    let tensor: TensorID
    let use: Strategy.Use
  }

  /// The collectives of one use: a plan lists them at the first reader.
  private static func exchanges(_ report: PlanReport, tensor: TensorID, readBy op: OperatorID) -> [Exchange] {
    let repeats = report.graph.segments[report.graph.segmentOfOperator[op]].repeats
    var found: [Exchange] = []
    for part in report.prediction.collectives where part.op == op && part.tensor == tensor && [.forward, .backward].contains(part.cause) {
      let exchange = Exchange(
        isForward: part.cause == .forward, kind: part.kind, axes: part.axes, bytes: part.bytes, time: part.time,
        isAtStart: report.graph.producer[tensor] == nil && part.copies == 1 && repeats > 2)
      // What comes from the copy before and what comes from another segment may be converted alike.
      if !found.contains(exchange) { found.append(exchange) }
    }
    return found
  }

  /// What else ranks exchange for an operator.
  private static func notes(_ report: PlanReport, _ op: OperatorID) -> [Note] {
    var notes: [Note] = []
    for part in report.prediction.collectives where part.op == op {
      let kind = part.kind?.rawValue ?? "send"
      let words: (kind: String, size: String)? =
        switch part.cause {
        case .interior: ("inside: \(kind)", "\(part.bytes), \(part.time)")
        case .weights: ("weights: \(kind)", "\(part.bytes), \(part.time)")
        case .parts: ("gradient parts: \(kind)", "\(part.bytes), \(part.time)")
        case .gradient: ("gradient: \(kind)", "\(part.bytes), \(part.time)")
        case .updated: ("updated: \(kind)", "\(part.bytes), \(part.time)")
        case .tied: ("tied: \(kind)", "\(part.bytes), \(part.time)")
        case .forward, .backward, .boundary: nil
        }
      guard let words else { continue }
      let note = Note(kind: words.kind, size: words.size)
      if !notes.contains(note) { notes.append(note) }
    }
    return notes
  }
}

extension Graph {
  /// A name without the place of a copy's number.
  static func plain(_ name: String) -> String { name.replacing("{i}.", with: "").replacing(".{i}", with: "") }
}
