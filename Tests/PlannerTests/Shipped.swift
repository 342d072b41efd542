// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Plans
import Strategies

@testable import Planner

/// Models and hardware files as they are shipped, and altered copies of them.
enum Shipped {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

  static func model(_ name: String) throws -> Graph { try ModelReader.read("\(folder)/models/\(name).json").graph }

  /// A tiny model of Tests/Fixtures/transformers.
  static func fixture(_ name: String) throws -> Graph { try ModelReader.read("\(folder)/Tests/Fixtures/transformers/\(name)").graph }

  /// - Parameter alter: changes the file's text before it is read.
  static func hardware(_ name: String, alter: (inout String) -> Void = { _ in }) throws -> HardwareFile {
    var text = try String(contentsOfFile: "\(folder)/hardware/\(name).json", encoding: .utf8)
    alter(&text)
    return try HardwareFile(decoding: Document(file: name, parsing: text.utf8))
  }

  static func request(
    _ model: String, on hardware: HardwareFile, devices: Int, batch: Int, sequence: Int, mode: Mode = .train
  ) throws -> SearchRequest {
    let cluster = try hardware.cluster(devices: devices)
    return SearchRequest(
      graph: try Shipped.model(model), cluster: cluster, batch: batch, sequence: sequence, precision: cluster.kind(of: 0).defaultPrecision,
      mode: mode, optimizer: .adamw)
  }
}

extension PlanOutcome {
  /// The plan; nil where there is none.
  var plan: Planned? { if case .planned(let plan) = self { plan } else { nil } }
}

extension PlanOutcome.Planned {
  private var graph: Graph { decision.graph }

  private func op(_ name: String) -> OperatorID? { graph.operators.firstIndex { $0.name == name } }

  /// One word per mesh axis.
  func words(_ name: String) -> [String] {
    guard let op = op(name) else { return [] }
    let rule = OperatorRules.rule(for: op, in: graph)
    return Strategy(assignment: decision.assignments[op], rule: rule).words(rule)
  }

  /// The number of devices that share out an operator's work in ways that are neither data nor sequence.
  func tensorDegree(_ op: OperatorID) -> Int {
    let rule = OperatorRules.rule(for: op, in: graph)
    return zip(decision.assignments[op], decision.mesh).reduce(1) { degree, part in
      guard let axis = part.0, rule.iteration[axis].role != .batch, rule.iteration[axis].role != .sequence else { return degree }
      return degree * part.1
    }
  }

  /// The number of devices that share out an operator's samples.
  func dataDegree(_ op: OperatorID) -> Int {
    let rule = OperatorRules.rule(for: op, in: graph)
    return zip(decision.assignments[op], decision.mesh).reduce(1) { $1.0.map { rule.iteration[$0].role == .batch } ?? false ? $0 * $1.1 : $0 }
  }

  /// The kinds of collective that the operators of one segment need for a reason, in the prediction.
  func collectives(_ cause: Prediction.CollectivePart.Cause, segment: String) -> [CollectiveKind] {
    prediction.collectives.filter { $0.cause == cause && graph.segments[graph.segmentOfOperator[$0.op]].name == segment }.compactMap(\.kind)
  }
}
