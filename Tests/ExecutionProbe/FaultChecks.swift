// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import ModelGraph
import Plans
import Strategies

extension DecisionChecks {
  /// Mistakes made on purpose in a Megatron-parallel GPT-2: what verification says of each.
  func faults() throws -> [String] {
    let graph = try TinyModel.gpt2.graph(batch: 2)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size])
    let megatron = builder.decision(builder.assignments([builder.megatron]), batch: 2)
    // The same with the batch split, and weights in parts.
    let shared = { (stage: ZeROStage) in
      builder.decision(builder.assignments([{ _, _ in ["data"] }]), batch: 4, microBatches: 2, zero: { _ in stage })
    }
    func outcome(_ label: String, _ fault: FaultInjection.Fault?, in decision: Decision? = nil) throws -> [String] {
      let decision = decision ?? megatron
      let report = try run(decision, verifies: true, steps: 1, faults: fault.map(FaultInjection.init))
      guard let verification = report.verification else { return [] }
      guard let difference = verification.firstDifference else { return ["\(label): nothing, \(verification.comparedTensors) tensors"] }
      return ["\(label): \(difference.tensor) [\(difference.layout)] rank \(difference.rank)"]
    }
    let clean = try run(megatron, verifies: true, steps: 1)
    // Ten times what rounding may do; every rank needs the same number.
    let tolerance = Float(try world.broadcast(clean.verification.map { [$0.forwardTolerance] } ?? [0]))
    return try outcome("none", nil) + outcome("all-reduce 2", .droppedAllReduce(number: 2))
      + outcome("bias", .doubledBias(operator: "transformer.h.{i}.mlp.c_fc.bias", copy: 1))
      + outcome("element", .disturbedResult(operator: "transformer.h.{i}.mlp.act", copy: 0, relative: 10 * tolerance))
      + outcome("ZeRO 1, reduce-scatter 3", .droppedReduceScatter(number: 3), in: shared(.optimizer))
      + outcome("ZeRO 3", nil, in: shared(.weights))
      + outcome("ZeRO 3, reduce-scatter 0", .droppedReduceScatter(number: 0), in: shared(.weights))
  }
}

extension DecisionChecks {
  /// A deep network of rectifiers on split samples, on some seeds of which rounding moves a value across 0 between a run and its reference: they agree all
  /// the same, and a gradient that was not added up is still found.
  func kinks() throws -> [String] {
    var lines: [String] = []
    for seed in 1...4 as ClosedRange<UInt64> {
      let graph = try TinyModel.resnet(batch: 8, layers: 24, width: 16, classes: 31)
      let builder = DecisionBuilder(graph: graph, mesh: [world.size])
      let decision = builder.decision(builder.assignments([{ _, _ in ["data"] }]), batch: 8, zero: { _ in .optimizer })
      var checks = self
      checks.seed = seed
      lines += try checks.mismatches(decision, "seed \(seed)")
      if seed > 1 { continue }
      let found = try checks.run(decision, verifies: true, steps: 1, faults: FaultInjection(.droppedReduceScatter(number: 5))).verification
      if let found { lines.append("reduce-scatter 5: \(found.firstDifference?.tensor ?? "nothing")") }
    }
    return lines
  }
}

extension Communicator {
  /// The root's first number on every rank.
  fileprivate func broadcast(_ numbers: [Double]) throws -> Double {
    var number = numbers[0]
    try broadcast(&number, count: 1)
    return number
  }
}
