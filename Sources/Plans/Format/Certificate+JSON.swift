// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

extension Certificate {
  var json: JSON {
    [
      "status": .string(status.rawValue), "objective_seconds": .double(objective.value), "lower_bound_seconds": .double(lowerBound.value),
      "gap_fraction": .double(gap), "tolerance": .string(tolerance),
      "configurations": ["priced": .int(priced), "pruned": .int(pruned), "infeasible": .int(infeasible)],
      "space": .array(space.map { ["name": .string($0.name), "values": .string($0.values)] }),
    ]
  }

  /// Sums and products of doubles are off by less than this; a proof is within 10⁻⁶.
  private static let slack = 2e-6

  /// - Parameter step: what the plan predicts, which is the objective.
  /// - Throws: `DocumentError`, also where the gap is not that of the objective and the bound, or these contradict each other.
  init(reading node: Node, step: Seconds) throws {
    let object = try node.object()
    let counts = try object.object("configurations")
    self.init(
      status: try object.choice("status", of: Status.self), objective: try object.seconds("objective_seconds"),
      lowerBound: try object.seconds("lower_bound_seconds"), priced: try counts.int("priced", .nonNegative),
      pruned: try counts.int("pruned", .nonNegative), infeasible: try counts.int("infeasible", .nonNegative),
      tolerance: try object.string("tolerance"), space: try object.elements("space").map { try Dimension(reading: $0) })
    let stated = try object.node("gap_fraction")
    let bound = try object.node("lower_bound_seconds")
    let stepNode = try object.node("objective_seconds")
    try counts.finish()
    try object.finish()
    try stepNode.expectDerived(.double(step.value), "the plan's predicted step")
    guard lowerBound.value <= objective.value * (1 + Self.slack) + 1e-9 else {
      throw bound.invalid(expected: "at most the objective, \(objective)")
    }
    guard status != .optimal || objective.value <= lowerBound.value * (1 + Self.slack) + 1e-9 else {
      throw bound.invalid(expected: "the objective, \(objective), within the tolerance, as the status is \"optimal\"")
    }
    try stated.expectDerived(.double(gap), "(objective - lower bound) / objective, or 0 where optimal")
  }
}

extension Certificate.Dimension {
  fileprivate init(reading node: Node) throws(DocumentError) {
    let object = try node.object()
    self.init(name: try object.string("name"), values: try object.string("values"))
    try object.finish()
  }
}
