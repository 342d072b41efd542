// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import ModelGraph
import Plans
import Strategies

extension DecisionChecks {
  /// A Mixtral whose routers have weights of zero, so that all logits are equal and every token goes to the first experts: what differs from one
  /// rank, and the calls and bytes of this rank's all-to-alls in a step.
  ///
  /// 2 layers of 8 experts, 4 sequences of 8 tokens, hidden size 24. Labels of half of the tokens do not count, so that their gradients are zero.
  ///
  /// - Parameters:
  ///   - strategy: `experts` over all ranks, or over the first axis of a mesh 2 × n beside `megatron`.
  func skew(topK: Int, strategy: String, recomputes: Bool, microBatches: Int) throws -> [String] {
    // Each rank writes and reads its own.
    let folder = FileManager.default.temporaryDirectory.appending(path: "skew-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var model = LlamaConfiguration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 4 / microBatches, sequence: 8), 2, 24, 4, 20)
    (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (32, 8, 2, 6)
    model.experts = ExpertLayer(naming: .mixtral, count: 8, perToken: topK, ffn: 20, renormalises: true)
    let graph = try model.graph()
    try Self.write(graph, to: folder)
    var checks = self
    checks.folder = folder
    let words = strategy.split(separator: ",").map(String.init)
    let builder = DecisionBuilder(graph: graph, mesh: words.count == 1 ? [world.size] : [2, world.size / 2])
    let preferences = words.map { word in
      { (id: OperatorID, rule: OperatorRule) -> [String] in
        word == "experts" ? (rule.worksOnSlots ? ["expert"] : ["data"]) : builder.megatron(id, rule)
      }
    }
    let decision = builder.decision(
      builder.assignments(preferences), batch: 4, microBatches: microBatches,
      recompute: { recomputes && graph.segments[$0].repeats > 1 ? .full : .none })
    let problems = try checks.mismatches(decision, "top \(topK), \(strategy)")
    let sent = try checks.run(decision, verifies: false, steps: 1).traffic[world.rank][.allToAll]
    return problems + ["\(sent.count) \(sent.bytes)"]
  }

  private static func write(_ graph: Graph, to folder: String) throws {
    var random = SplitMix64(state: 1)
    func number(below bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    var weights = SafetensorsWriter()
    var known = Set<String>()
    for (id, tensor) in graph.tensors.enumerated() {
      guard let source = tensor.parameter, let reader = graph.consumers[id].first else { continue }
      let elements = source.isStacked ? (0..<graph.shape(id)[0]).map { source.element($0) } : [source]
      for copy in 0..<graph.segments[graph.segmentOfOperator[reader.op]].repeats {
        for element in elements {
          let name = Graph.name(element.checkpointName, copy: copy)
          guard known.insert(name).inserted else { continue }
          let isRouter = name.hasSuffix("block_sparse_moe.gate.weight")
          let values = (0..<element.checkpointShape.reduce(1, *)).map { _ in
            isRouter ? 0 : (element.isNormWeight ? 1 : 0) + Float(number(below: 2001) - 1000) / 5000
          }
          weights.add(name, shape: element.checkpointShape, .float32(values))
        }
      }
    }
    try weights.write(to: folder + "/model.safetensors")
    var inputs = SafetensorsWriter()
    let tokens = (0..<32).map { _ in Int64(number(below: 32)) }
    inputs.add("input_ids", shape: [4, 8], .int64(tokens))
    inputs.add("labels", shape: [4, 8], .int64(tokens.enumerated().map { $0 % 2 == 0 ? $1 : -100 }))
    try inputs.write(to: folder + "/inputs.safetensors")
  }
}
