// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension TorchScript {
  /// - Throws: `Inexpressible` for what stands around a plan's operators and has no counterpart in the script.
  static func refuseOthers(_ decision: Decision) throws {
    let (graph, job) = (decision.graph, decision.job)
    if let stage = decision.stageMeshes.firstIndex(where: { $0 != decision.mesh }) {
      func text(_ mesh: [Int]) -> String { mesh.map(String.init).joined(separator: "x") }
      throw Inexpressible(
        "stage \(stage)",
        "\(firstLayer(of: decision.stages[stage], graph))has a mesh of \(text(decision.stageMeshes[stage])), and stage 0 one of \(text(decision.mesh)); "
          + "the script has one mesh for all; plan it with --mesh")
    }
    let handedOn = graph.segments.dropLast().map(\.exits.count)
    if decision.groups > 1, let segment = handedOn.indices.first(where: { handedOn[$0] != handedOn[0] }) {
      throw Inexpressible(
        graph.segments[segment].name,
        "hands on \(counted(handedOn[segment], "tensor")) and \(graph.segments[0].name) \(handedOn[0]), and the script's stages as many each; "
          + "plan it with --pp 1")
    }
    if let axis = graph.axes.indices.first(where: { !decision.orders[$0].isNatural }) {
      let op = graph.operators.first { op in if case .attention = op.kind { graph.tensors[op.result].dimensions.contains(axis) } else { false } }
      throw Inexpressible(
        op?.name ?? graph.axes[axis].name, "has its sequence in zig-zag order, which takes an attention of its own; plan it without --cp")
    }
    if let shares = decision.shares {
      throw Inexpressible(
        "the batch", "is shared out unevenly, \(shares.samples.map(String.init).joined(separator: ",")); plan it with --shares even")
    }
    guard let loss = graph.loss, graph.producer[loss] != nil else {
      throw Inexpressible(
        graph.operators.last?.name ?? graph.name, "ends without a loss, which the script prints; choose an architecture with a head")
    }
    if job.precision == .fp16 {
      throw Inexpressible("the job", "fp16 needs its losses scaled, which the script does not do; plan it with --dtype bf16")
    }
    if job.software.attention == .unfused {
      throw Inexpressible(firstAttention(graph), "is unfused in the plan, and the script's is torch's fused one; plan it with --attention fused")
    }
    if job.software.updates == .inBackward {
      throw Inexpressible("the job", "updates weights in the backward pass, and the script does so after it; plan it with --updates after")
    }
    for (segment, recompute) in decision.recompute.enumerated() where ![.none, .full, .selective].contains(recompute) {
      throw Inexpressible(
        layer(segment, graph),
        "computes \(recompute.rawValue) again, which torch's checkpoints do not; plan it with --recompute none, selective or full")
    }
    for (segment, recompute) in decision.recompute.enumerated() where recompute != .none && !graph.holdsLayers(segment) {
      throw Inexpressible(graph.segments[segment].name, "is computed again, which the script does with layers alone")
    }
    if let axis = graph.axes.first(where: { $0.role == .batch }) {
      let replicas = try TorchAxes(decision, graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }).replicas
      if axis.extent % replicas != 0 {
        throw Inexpressible(
          "the batch",
          "has \(counted(axis.extent, "sample")) in a micro-batch for \(counted(replicas, "replica")), and the script's replicas have as many each")
      }
    }
  }

  private static func firstLayer(of stage: Stage, _ graph: Graph) -> String {
    guard let unit = stage.units.first, graph.holdsLayers(unit.segment) else { return "" }
    return "begins with layer \(graph.copies(of: unit.segment).lowerBound + unit.copies.lowerBound), "
  }

  /// A segment's first layer, as it is called.
  private static func layer(_ segment: SegmentID, _ graph: Graph) -> String {
    let names = TorchNames(graph, segment)
    return names.module?.replacing("{i}", with: "\(names.first)") ?? names.part
  }

  private static func firstAttention(_ graph: Graph) -> String {
    graph.operators.first { if case .attention = $0.kind { true } else { false } }?.name ?? graph.name
  }
}
