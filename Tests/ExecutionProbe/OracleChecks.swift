// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import ModelGraph
import Strategies

/// Runs that are compared with what PyTorch computed for a folder's `config.json`: Tests/Fixtures/torch, made by the commands in its README.md,
/// and Tests/Fixtures/transformers, made by its make.py.
struct OracleChecks {
  let world: Communicator
  let folder: String

  private struct Expected: Decodable {
    let losses: [Double]

    private enum CodingKeys: String, CodingKey {
      case losses = "train_losses"
    }
  }

  /// Five training steps under a strategy by name. Losses must agree to 1e-5, logits and gradients of the first step to 1e-4.
  ///
  /// A word for each mesh axis, which has 2 ranks where there are several words, and beside them `frozen` (some parameters; their gradients must
  /// be missing, the others' unchanged), `pipeline` (as many stages as ranks are left, and 2 micro-batches where the loss allows it), `interleaved`
  /// (two stages of two chunks each), `micro` (2 micro-batches), `zigzag` (the sequence in that order, as far as its length allows), `zero1` to
  /// `zero3`, and what is done again in the backward pass.
  func mismatches(strategy: String) throws -> [String] {
    let words = strategy.split(separator: ",").map(String.init)
    let zero = words.compactMap { word in ZeROStage.allCases.first { "zero\($0.rawValue)" == word } }.first ?? .none
    let recompute = words.compactMap(Recompute.init).first ?? .none
    let isInterleaved = words.contains("interleaved")
    let isPipeline = isInterleaved || words.contains("pipeline")
    let names = words.filter {
      !["pipeline", "interleaved", "micro", "frozen", "zigzag"].contains($0) && !$0.hasPrefix("zero") && Recompute(rawValue: $0) == nil
    }
    let inputs = try Safetensors(file: folder + "/inputs.safetensors")
    guard let shape = inputs.entry(named: "input_ids")?.shape, shape.count == 2 else { throw ProbeError(description: "\(folder) has no input_ids") }
    let isFrozen = words.contains("frozen")
    let model = try ModelReader.read(folder).graph.freezing { isFrozen && Self.isFrozen($0) }
    let microBatches = !model.couplesBatch && (isPipeline || words.contains("micro")) ? 2 : 1
    let graph = model.sized(batch: shape[0] / microBatches, sequence: shape[1])
    let mesh = names.isEmpty ? [1] : names.map { _ in names.count == 1 && !isPipeline ? world.size : 2 }
    let builder = DecisionBuilder(graph: graph, mesh: mesh)
    let preferences = names.map { name in
      { (id: OperatorID, rule: OperatorRule) -> [String] in
        switch name {
        case "data": ["data"]
        // Between dispatch and combine by experts, along the data elsewhere.
        case "experts": rule.worksOnSlots ? ["expert"] : ["data"]
        case "megatron": builder.megatron(id, rule)
        case "sequence-parallel": builder.sequenceParallel(id, rule)
        case "sequence": ["sequence"]
        case "ring": ["ring", "sequence"]
        default: []
        }
      }
    }
    // Embedding, two layers and head make four virtual stages.
    let cuts = isPipeline ? (1..<(isInterleaved ? 4 : world.size / mesh.reduce(1, *))).map { $0 } : []
    let decision = builder.decision(
      builder.assignments(preferences), batch: shape[0], microBatches: microBatches, cuts: cuts,
      schedule: isInterleaved ? .interleaved(chunks: 2) : .oneForwardOneBackward, zero: { _ in zero }, recompute: { _ in recompute },
      zigzagPairs: words.contains("zigzag") ? mesh.reduce(1, *) : 1)
    let weights = folder + "/model.safetensors"
    let parameters: ParameterValues =
      FileManager.default.fileExists(atPath: weights) ? .checkpoint(try Checkpoint(path: weights)) : .generated(seed: 1)
    var request = RunRequest(
      decision, hyperparameters: Hyperparameters(optimizer: .adamw), parameters: parameters,
      inputs: try StepInputs(graph: graph, batch: shape[0], file: folder + "/inputs.safetensors", needsLabels: true))
    request.steps = 5
    (request.collectsOutputs, request.collectsGradients) = (true, true)
    let report = try Run(request, world: world).carryOut()
    guard world.rank == 0 else { return [] }
    return try compare(report, isFrozen: isFrozen)
  }

  /// Of two towers one, but for its last norm and projection; of every block its MLP; and all embeddings.
  static func isFrozen(_ parameter: String) -> Bool {
    let parts = ["vision_model.encoder", "vision_model.pre", "vision_model.embeddings", "mlp", "fc1", "fc2", "embed_", "wte", "wpe"]
    return parts.contains { parameter.contains($0) }
  }

  private func compare(_ report: RunReport, isFrozen: Bool) throws -> [String] {
    var problems: [String] = []
    let expected = try JSONDecoder().decode(Expected.self, from: Data(contentsOf: URL(filePath: folder + "/expected.json")))
    // From the second step on, frozen weights make a difference.
    for (loss, value) in zip(report.losses, expected.losses).prefix(isFrozen ? 1 : expected.losses.count)
    where abs((loss ?? .nan) / value - 1) > 1e-5 || loss == nil {
      problems.append("loss \(String(describing: loss)), PyTorch has \(value)")
    }
    if report.losses.count != expected.losses.count { problems.append("\(report.losses.count) losses") }
    let logits = try Safetensors(file: folder + "/expected.safetensors")
    for output in report.outputs { try compare(output, with: logits, floor: 0, &problems) }
    let gradients = try Safetensors(file: folder + "/expected_grads.safetensors")
    var floor: Float = 0
    for entry in gradients.entries { floor = max(floor, 1e-3 * (try values(entry.name, gradients).map(abs).max() ?? 0)) }
    for gradient in report.gradients { try compare(gradient, with: gradients, floor: floor, &problems) }
    let learned = gradients.entries.count { !isFrozen || !Self.isFrozen($0.name) }
    if report.gradients.count != learned || report.outputs.count != logits.entries.count {
      problems.append("\(report.outputs.count) outputs and \(report.gradients.count) gradients")
    }
    return problems
  }

  private func values(_ name: String, _ file: Safetensors) throws -> [Float] {
    let shape = file.entry(named: name)?.shape ?? []
    var values = [Float](repeating: 0, count: shape.reduce(1, *))
    try file.read(name, AffineView(whole: shape), into: &values)
    return values
  }

  private func compare(_ found: NamedArray, with file: Safetensors, floor: Float, _ problems: inout [String]) throws {
    let expected = try values(found.name, file)
    let largest = expected.reduce(floor) { max($0, abs($1)) }
    let error = zip(found.values, expected).reduce(0) { max($0, abs($1.0 - $1.1)) } / largest
    if !(error <= 1e-4) || expected.count != found.values.count { problems.append("\(found.name): error \(error)") }
  }
}
