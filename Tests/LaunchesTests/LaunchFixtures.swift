// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies
import TestSupport

@testable import Launches

/// Launches as they were published, small models to read them for, and plans of drawn degrees.
enum LaunchFixtures {
  static func text(_ name: String) throws -> String {
    String(decoding: try readFile("\(Samples.folder)/Tests/Fixtures/launches/\(name)"), as: UTF8.self)
  }

  /// A tiny model of Tests/Fixtures/transformers.
  static func model(_ name: String) throws -> Graph { try ModelReader.read("\(Samples.folder)/Tests/Fixtures/transformers/\(name)").graph }

  /// Whether a finding of this severity names a place and has these words.
  static func has(_ findings: [Finding], _ severity: Finding.Severity, _ place: String, _ words: String) -> Bool {
    findings.contains { $0.severity == severity && $0.place == place && $0.text.contains(words) }
  }

  static func llama(layers: Int, heads: Int, keyValueHeads: Int, isTied: Bool = false, bias: Bool = false) throws -> Graph {
    var model = LlamaConfiguration()
    (model.name, model.vocabulary, model.maximumPositions, model.layers, model.heads) = ("llama", 96, 64, layers, heads)
    (model.hidden, model.headSize, model.keyValueHeads, model.ffn) = (8 * heads, 8, keyValueHeads, 96)
    (model.tiesEmbeddings, model.queryKeyValueBias, model.mlpBias) = (isTied, bias, bias)
    return try model.graph()
  }

  static func gpt2(layers: Int) throws -> Graph {
    var model = GPT2Configuration()
    (model.name, model.vocabulary, model.positions, model.layers, model.heads) = ("gpt", 96, 64, layers, 4)
    (model.hidden, model.ffn) = (32, 128)
    return try model.graph()
  }

  static func plan(_ fixed: SearchRequest, on hardware: HardwareFile) throws -> Plan {
    var fixed = fixed
    fixed.ignoresMemoryLimit = true
    guard case .planned(let planned) = try Planner.search(fixed) else { throw LaunchError(file: fixed.graph.name, "has no plan") }
    return Samples.plan(planned, on: hardware)
  }

  /// The plan that a text means for a model, on a plan's devices.
  static func again(_ text: String, _ format: LaunchFormat, _ graph: Graph, _ plan: Plan, batch: Int? = nil) throws -> Decision {
    let launch = try format.read(Array(text.utf8), file: "launch", model: graph)
    if let finding = launch.findings.first(where: { $0.severity == .illegal }) { throw LaunchError(file: "launch", "\(finding)") }
    // torchtitan's job alone says how long sequences are.
    let job = try LaunchJob(
      launch, graph: graph, on: plan.hardware, devices: plan.decision.ranks, batch: batch,
      sequence: format == .torchtitan ? nil : plan.decision.job.sequence)
    return try job.planned().decision
  }
}
