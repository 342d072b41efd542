// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension Decision {
  /// At how many of the places at which a collective occurs the devices of a group take part.
  package func places(of part: Prediction.CollectivePart, onGroup group: Int) -> Int {
    let segment = graph.segmentOfOperator[part.op]
    let held = stages.indices.filter { self.group(ofStage: $0) == group }.flatMap { stages[$0].units }
      .filter { $0.segment == segment && !$0.copies.isEmpty }.map(\.copies)
    let copies = held.reduce(0) { $0 + $1.count }
    let first = held.contains { $0.lowerBound == 0 } ? 1 : 0
    switch part.cause {
    // Each of the operators that read the parameter has the exchange by itself.
    case .tied: return copies > 0 ? 1 : 0
    case .forward where graph.producer[part.tensor] == nil, .backward where graph.producer[part.tensor] == nil:
      // What comes in from another segment does so at the first copy, all else from the copy before.
      return part.copies == 1 ? first : copies - first
    case .boundary where graph.producer[part.tensor] == nil: return first
    case .boundary:
      let all = stages.indices.dropLast().filter { stages[$0].units.last?.segment == segment }
      let wrapping = all.filter { self.group(ofStage: $0 + 1) == 0 }
      let crossing = all.filter { changesMesh(before: $0 + 1) }
      let others = all.filter { !wrapping.contains($0) && !crossing.contains($0) }
      let meant = [all, others, wrapping, crossing].first { $0.count == part.copies } ?? all
      return meant.count { self.group(ofStage: $0) == group }
    case .forward, .backward, .interior, .gradient, .updated, .weights, .parts: return copies
    }
  }
}

extension Prediction.CollectivePart {
  /// Calls in a whole step at so many places.
  package func calls(at places: Int, microBatches: Int) -> Int {
    var some = self
    some.copies = places
    return some.callsPerStep(microBatches: microBatches)
  }

  /// What is called: a collective, a `send` to one other rank, or what stages do with the gradient of a tied parameter.
  func name(in decision: Decision) -> String {
    if let kind { return kind.rawValue }
    return cause != .tied ? "send" : decision.tieCrossesMeshes(tensor) ? "exchange" : CollectiveKind.allReduce.rawValue
  }

  /// Whether it is a message that travels while its sender and its receiver compute, so that its time is none of theirs by itself.
  package var travelsBesides: Bool { kind == nil && [.boundary, .interior].contains(cause) }
}
