// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import ModelGraph

extension DecisionChecks {
  /// Mistakes made on purpose in a Megatron-parallel GPT-2: what verification says of each.
  func faults() throws -> [String] {
    let graph = try TinyModel.gpt2.graph(batch: 2)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size])
    let decision = builder.decision(builder.assignments([builder.megatron]), batch: 2)
    func outcome(_ label: String, _ fault: FaultInjection.Fault?) throws -> [String] {
      let report = try run(decision, verifies: true, steps: 1, faults: fault.map(FaultInjection.init))
      guard let verification = report.verification else { return [] }
      guard let difference = verification.firstDifference else { return ["\(label): nothing, \(verification.comparedTensors) tensors"] }
      return ["\(label): \(difference.tensor) [\(difference.layout)] rank \(difference.rank)"]
    }
    let clean = try run(decision, verifies: true, steps: 1)
    // Ten times what rounding may do; every rank needs the same number.
    let tolerance = Float(try world.broadcast(clean.verification.map { [$0.forwardTolerance] } ?? [0]))
    return try outcome("none", nil) + outcome("all-reduce 2", .droppedAllReduce(number: 2))
      + outcome("bias", .doubledBias(operator: "transformer.h.{i}.mlp.c_fc.bias", copy: 1))
      + outcome("element", .disturbedResult(operator: "transformer.h.{i}.mlp.act", copy: 0, relative: 10 * tolerance))
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
