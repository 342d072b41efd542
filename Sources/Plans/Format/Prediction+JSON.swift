// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Quantities
import Strategies

extension Prediction {
  /// The figures of the whole step; those of operators stand beside the operators.
  func json(_ graph: Graph) -> JSON {
    [
      "step_seconds": .double(step.value), "bubble_fraction": .double(bubble), "memory_limit_bytes": .double(memoryLimit.value),
      "stages": .array(stages.map(\.json)), "collectives": .array(collectives.map { $0.json(graph) }),
    ]
  }

  /// - Parameters:
  ///   - operators: the figures of every operator, read before.
  ///   - decision: what is predicted; it gives the number of stages and the names of tensors.
  /// - Throws: `DocumentError`.
  init(reading node: Node, operators: [OperatorPart], for decision: Decision) throws {
    let object = try node.object()
    step = try object.seconds("step_seconds")
    bubble = try object.double("bubble_fraction", .within(0, 1))
    memoryLimit = try object.bytes("memory_limit_bytes")
    stages = try object.elements("stages").map { try StagePart(reading: $0) }
    let names = NamedParts(decision.graph)
    collectives = try object.elements("collectives").map { try CollectivePart(reading: $0, names, decision) }
    self.operators = operators
    groups = decision.groups
    try object.finish()
    guard stages.count == decision.stages.count else {
      throw try object.node("stages").invalid(expected: "\(counted(decision.stages.count, "entry", plural: "entries")), one for each stage")
    }
  }
}

extension Prediction.OperatorPart {
  var json: JSON {
    [
      "forward_seconds": .double(forward.value), "backward_seconds": .double(backward.value),
      "communication_seconds": .double(communication.value), "resident_bytes": .double(resident.value), "kept_bytes": .double(kept.value),
    ]
  }

  init(reading node: Node, op: OperatorID) throws(DocumentError) {
    let object = try node.object()
    self.init(
      op: op, forward: try object.seconds("forward_seconds"), backward: try object.seconds("backward_seconds"),
      communication: try object.seconds("communication_seconds"), resident: try object.bytes("resident_bytes"),
      kept: try object.bytes("kept_bytes"))
    try object.finish()
  }
}

extension Prediction.CollectivePart {
  /// What a plan calls messages between pairs of ranks.
  private static let pairwise = "send"

  fileprivate func json(_ graph: Graph) -> JSON {
    [
      "cause": .string(cause.rawValue), "operator": .string(graph.operators[op].name), "tensor": .string(graph.tensors[tensor].name),
      "kind": .string(kind?.rawValue ?? Self.pairwise), "axes": .array(axes.map { .int($0) }), "bytes": .double(bytes.value),
      "time_seconds": .double(time.value), "calls": .int(calls), "copies": .int(copies),
    ]
  }

  fileprivate init(reading node: Node, _ names: NamedParts, _ decision: Decision) throws {
    let object = try node.object()
    let op = try names.op(object.node("operator"))
    let cause = try object.choice("cause", of: Cause.self)
    let kind = try object.node("kind")
    self.init(
      cause: cause, op: op,
      tensor: cause.isOfParameter ? try names.parameter(object.node("tensor")) : try names.value(object.node("tensor")),
      kind: kind.value == .string(Self.pairwise) ? nil : try kind.choice(of: CollectiveKind.self),
      axes: try object.node("axes").meshAxes(decision.mesh(ofOperator: op).count), bytes: try object.bytes("bytes"),
      time: try object.seconds("time_seconds"),
      calls: try object.int("calls", .within(0, 1 << 20)), copies: try object.int("copies", .within(0, 1 << 20)))
    try object.finish()
  }
}

extension Prediction.StagePart {
  fileprivate var json: JSON {
    let part: JSON = [
      "forward_seconds": .double(forward.value), "backward_seconds": .double(backward.value), "gradient_sync_seconds": .double(gradientSync.value),
      "update_seconds": .double(update.value), "communication_seconds": .double(communication.value), "memory": memory.json,
    ]
    guard let memoryLimit, case .object(var object) = part else { return part }
    object["memory_limit_bytes"] = .double(memoryLimit.value)
    return .object(object)
  }

  fileprivate init(reading node: Node) throws {
    let object = try node.object()
    self.init(
      forward: try object.seconds("forward_seconds"), backward: try object.seconds("backward_seconds"),
      gradientSync: try object.seconds("gradient_sync_seconds"), update: try object.seconds("update_seconds"),
      communication: try object.seconds("communication_seconds"), memory: try .init(reading: object.node("memory")),
      memoryLimit: try object.nodeIfPresent("memory_limit_bytes").map { Bytes(try $0.double(.within(1, 1e18))) })
    try object.finish()
  }
}

extension Prediction.MemoryPart {
  fileprivate var json: JSON {
    [
      "weights_bytes": .double(weights.value), "gradients_bytes": .double(gradients.value), "optimizer_state_bytes": .double(optimizerState.value),
      "activations_bytes": .double(activations.value), "micro_batches_in_flight": .int(microBatchesInFlight),
      "transient_bytes": .double(transient.value), "total_bytes": .double(total.value),
    ]
  }

  fileprivate init(reading node: Node) throws {
    let object = try node.object()
    self.init(
      weights: try object.bytes("weights_bytes"), gradients: try object.bytes("gradients_bytes"),
      optimizerState: try object.bytes("optimizer_state_bytes"), activations: try object.bytes("activations_bytes"),
      microBatchesInFlight: try object.int("micro_batches_in_flight", .nonNegative), transient: try object.bytes("transient_bytes"))
    let stated = try object.node("total_bytes")
    try object.finish()
    try stated.expectDerived(.double(total.value), "the sum of the parts")
  }
}

extension ObjectReader {
  /// A duration; no plan's step takes a thousand years.
  func seconds(_ key: String) throws(DocumentError) -> Seconds { Seconds(try double(key, .within(0, 1e11))) }
  func bytes(_ key: String) throws(DocumentError) -> Bytes { Bytes(try double(key, .within(0, 1e18))) }
}
