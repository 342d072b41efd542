// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Kernels
import ModelGraph
import Strategies

/// Prints the step times of GPT-2 small, for comparing with the reference script; no test reads it.
///
/// Arguments: train or forward, a strategy (`replicate`, `megatron`, `sequence-parallel`, `data`, `pipeline`), steps (one step is verified),
/// layers.
func measureSteps(_ arguments: [String], _ world: Communicator) throws {
  guard arguments.count == 4, let mode = Mode(rawValue: arguments[0]), let steps = Int(arguments[2]), let layers = Int(arguments[3]) else {
    throw ProbeError(description: "steps MODE STRATEGY STEPS LAYERS")
  }
  BLAS.setThreads(1)
  let microBatches = arguments[1] == "pipeline" ? 4 : 1
  let graph = try TinyModel.gpt2.graph(
    batch: 4 / microBatches, layers: layers, hidden: 768, heads: 12, ffn: 3072, vocabulary: 50257, sequence: 256)
  let builder = DecisionBuilder(graph: graph, mesh: [arguments[1] == "pipeline" ? 1 : world.size])
  let preference: (OperatorID, OperatorRule) -> [String] =
    switch arguments[1] {
    case "megatron": builder.megatron
    case "sequence-parallel": builder.sequenceParallel
    case "data": { _, _ in ["data"] }
    default: { _, _ in [] }
    }
  let cuts = arguments[1] == "pipeline" ? (1..<world.size).map { $0 * (layers + 2) / world.size } : []
  let decision = builder.decision(builder.assignments([preference]), batch: 4, microBatches: microBatches, cuts: cuts, mode: mode)
  var request = RunRequest(
    decision, hyperparameters: Hyperparameters(optimizer: .adamw), parameters: .generated(seed: 1),
    inputs: StepInputs(graph: graph, batch: 4, seed: 1))
  request.steps = steps
  if steps == 1 { request.verification = DecisionChecks.onOneRank(decision) }
  let run = try Run(request, world: world)
  let report = try run.carryOut()
  guard world.rank == 0 else { return }
  print("seconds \(report.stepSeconds)\nmedian \(report.medianStepSeconds)\nlosses \(report.losses.compactMap { $0 })")
  print("resident MB \(report.peakResidentBytes.map { $0 / 1_000_000 }), buffers MB \(report.peakBufferBytes.map { $0 / 1_000_000 })")
  if let verification = report.verification { print("\(verification)") }
  print("\(BLAS.kernelName()); traffic \(Traffic.Kind.allCases.map { "\($0.name) \(report.traffic[0][$0].bytes)" })")
}
