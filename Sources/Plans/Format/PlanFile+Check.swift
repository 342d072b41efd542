// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Quantities
import Strategies

extension PlanFile {
  /// Checks what the parts of a decision must be to each other, so that lowering finds all it needs.
  ///
  /// - Throws: `PlanError`.
  static func check(_ decision: Decision, _ hardware: HardwareFile, _ root: ObjectReader) throws {
    let graph = decision.graph
    let file = root.node.file
    if let available = hardware.deviceCount, decision.ranks > available {
      throw PlanError.inconsistent(
        file: file, path: "$.mesh",
        problem:
          counted(decision.groups, "stage")
          + (decision.stageMeshes.isEmpty ? " of \(counted(decision.mesh.reduce(1, *), "device"))" : " of several meshes")
          + " need \(decision.ranks); \(hardware.name) has \(available)"
      )
    }
    let cluster = try hardware.cluster(devices: decision.ranks)
    for kind in cluster.kinds where cluster.kindOfDevice.contains(where: { cluster.kinds[$0] == kind }) {
      try checkPrecision(decision.job.precision, of: kind, file: file)
    }

    let strategies = graph.operators.indices.map {
      Strategy(assignment: decision.assignments[$0], rule: OperatorRules.rule(for: $0, in: graph))
    }
    // One stored shard serves all readers of a tied parameter.
    for tensor in graph.tensors.indices where graph.tensors[tensor].isParameter {
      let readers = graph.consumers[tensor]
      for other in readers {
        // Stages with other meshes hold shards of their own.
        guard let first = readers.first(where: { decision.mesh(ofOperator: $0.op) == decision.mesh(ofOperator: other.op) }),
          strategies[other.op].operands[other.operand] != strategies[first.op].operands[first.operand]
        else { continue }
        throw PlanError.inconsistent(
          file: file, path: "$.operators[\(other.op)].assignment",
          problem: "uses \(graph.tensors[tensor].name) otherwise than \(graph.operators[first.op].name) does; a tied parameter has one layout")
      }
    }
    try checkConversions(decision, strategies, file: file)
  }

  private static func checkPrecision(_ precision: Precision, of kind: DeviceKind, file: String) throws(PlanError) {
    let known = kind.peaks.map(\.precision)
    if known.contains(precision) { return }
    throw .inconsistent(
      file: file, path: "$.job.dtype",
      problem: "found \"\(precision.rawValue)\", but the device \"\(kind.name)\" has a peak rate only for "
        + "\(known.map(\.rawValue).joined(separator: ", ")); make the plan again with `tpplan search --dtype` and one of these")
  }

  /// Every change of layout between a producer and a reader, and of gradients on their way back, is listed.
  private static func checkConversions(_ decision: Decision, _ strategies: [Strategy], file: String) throws {
    let graph = decision.graph
    let listed = Set(decision.conversions.map { Conversion(tensor: $0.tensor, from: $0.from, to: $0.to, steps: []) })
    let needsGradient = decision.job.mode == .train ? graph.reachesLoss() : [Bool](repeating: false, count: graph.tensors.count)
    func require(_ tensor: TensorID, _ from: Layout, _ to: Layout, reader: String) throws {
      if from == to || listed.contains(Conversion(tensor: tensor, from: from, to: to, steps: [])) { return }
      throw PlanError.missingConversion(
        file: file, path: "$.conversions", tensor: graph.tensors[tensor].name, from: from.notation, to: to.notation, reader: reader)
    }
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation {
      for source in graph.sources(of: tensor) {
        for site in graph.consumers[tensor] where decision.mesh(ofOperator: site.op) == decision.mesh(ofOperator: source) {
          let use = strategies[site.op].operands[site.operand]
          try require(tensor, strategies[source].result, use.forward, reader: graph.operators[site.op].name)
          if needsGradient[tensor] {
            try require(tensor, use.gradient, strategies[source].resultGradient, reader: "the backward pass of \(graph.operators[source].name)")
          }
        }
      }
    }
  }
}

extension Graph {
  /// The operators that a tensor comes from: its producer, or, for what comes in from the copy before, the producers of the exits on the
  /// other side of each seam.
  fileprivate func sources(of tensor: TensorID) -> [OperatorID] {
    if let producer = producer[tensor] { return [producer] }
    return segments.enumerated().flatMap { index, segment -> [OperatorID] in
      guard let position = segment.entries.firstIndex(of: tensor) else { return [] }
      let before = index > 0 ? producer[segments[index - 1].exits[position]] : nil
      let itself = segment.repeats > 1 ? producer[segment.exits[position]] : nil
      return [before, itself].compactMap { $0 }
    }
  }
}
