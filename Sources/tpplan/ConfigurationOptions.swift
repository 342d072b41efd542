// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Planner
import Strategies

/// A configuration that a person gives, in Megatron-LM's terms.
struct ConfigurationOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: ArgumentHelp("Tensor-parallel degree.", valueName: "degree"))
  var tp = 1
  @Option(parsing: .unconditional, help: ArgumentHelp("Pipeline stages.", valueName: "stages"))
  var pp = 1
  @Option(parsing: .unconditional, help: ArgumentHelp("Data-parallel replicas.", valueName: "degree"))
  var dp = 1
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Context-parallel degree: so many devices share out each sequence.", valueName: "degree"))
  var cp = 1
  @Option(
    help: ArgumentHelp(
      "How attention shares out a sequence: gather (of all keys and values), ring (they travel around), or ulysses (all-to-all to heads); default: the cheapest.",
      valueName: "way"))
  var cpWay: ContextWay?
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Expert-parallel degree: so many of the data replicas share out each layer's experts.", valueName: "degree"))
  var ep = 1
  @Flag(help: "Split the sequence between tensor-parallel regions (Megatron's sequence parallelism).")
  var sp = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("ZeRO stage of the weights that several replicas hold: 0, 1, 2 or 3 (FSDP).", valueName: "stage"),
    completion: .zeroStages)
  var zero = 0

  @Option(help: ArgumentHelp(Recompute.help, valueName: "what"))
  var recompute: Recompute = .none

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "So many layers of each stage (of several chunks, of each chunk) compute that again, the others nothing (default: all).",
      valueName: "layers"))
  var recomputeLayers: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Sequences per micro-batch and data replica (default: 1 with several stages, else all that a replica has).", valueName: "sequences"))
  var microBatch: Int?
  @Option(help: "The pipeline's schedule (default: 1f1b, or interleaved with --vpp, which that needs).")
  var schedule: Schedule.Kind?
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Chunks of the model on each stage (virtual pipeline stages), for the interleaved schedule.", valueName: "chunks"))
  var vpp = 1
  @Option(
    help: ArgumentHelp(
      "Layers on each stage, for example 11,13,8, or 0 for the embedding or the head alone; with several chunks, on each chunk in the model's order.",
      valueName: "layers"))
  var stages: String?
  @Option(
    help: ArgumentHelp(
      "Each stage's data-parallel and tensor-parallel degree, for example 2x4,1x8, in place of --pp, --dp and --tp.", valueName: "meshes"))
  var stageMeshes: String?

  /// Whose devices the configuration takes.
  var product: String { "--tp \(tp) × --pp \(pp) × --dp \(dp) × --cp \(cp)" }

  /// The degrees that the options name.
  func degrees() throws -> MegatronDegrees {
    let given = [("--tp", tp), ("--pp", pp), ("--dp", dp), ("--cp", cp), ("--ep", ep), ("--vpp", vpp)]
    for (name, value) in given where !(1...1_048_576).contains(value) {
      throw UsageError("\(name) \(value): expected a number from 1 to 1048576")
    }
    if let microBatch, !(1...1_000_000_000).contains(microBatch) {
      throw UsageError("--micro-batch \(microBatch): expected a number from 1 to 1000000000")
    }
    if sp && tp == 1 && stageMeshes == nil { throw UsageError("--sp splits the sequence over tensor-parallel ranks; it needs --tp of at least 2") }
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.pipeline, degrees.data) = (tp, pp, dp)
    if cpWay != nil && cp == 1 { throw UsageError("--cp-way says how a sequence is shared out; it needs --cp of at least 2") }
    (degrees.context, degrees.contextWay) = (cp, cpWay)
    degrees.expert = ep
    degrees.isSequenceParallel = sp
    degrees.recompute = recompute
    degrees.recomputedLayers = try SearchOptions.recomputedLayers(recomputeLayers, recompute)
    degrees.zero = try SearchOptions.zeroStage(zero)
    degrees.microBatchSize = microBatch
    if schedule == .interleaved, vpp == 1 { throw UsageError("--schedule interleaved needs the number of chunks on each stage, for example --vpp 2") }
    degrees.schedule = schedule ?? (vpp > 1 ? .interleaved : .oneForwardOneBackward)
    degrees.chunks = vpp
    try addStageMeshes(to: &degrees)
    degrees.stageLayers = try stages.map { try SearchOptions.numbers($0, separator: ",", option: "--stages", example: "11,13,8", atLeast: 0) }
    return degrees
  }

  /// - Throws: `UsageError` where a mesh is no pair of degrees, or a degree is given twice.
  private func addStageMeshes(to degrees: inout MegatronDegrees) throws {
    guard let stageMeshes else { return }
    let meshes = try SearchOptions.meshes(stageMeshes)
    guard meshes.allSatisfy({ $0.count == 2 && $0.allSatisfy { $0 <= 1_048_576 } }) else {
      throw UsageError("--stage-meshes \(stageMeshes): expected the data-parallel and the tensor-parallel degree of each stage, for example 2x4,1x8")
    }
    for (name, value) in [("--tp", tp), ("--pp", pp), ("--dp", dp), ("--cp", cp), ("--ep", ep), ("--vpp", vpp)] where value > 1 {
      throw UsageError("--stage-meshes \(stageMeshes): \(name) \(value) is that of all stages; leave one of the two out")
    }
    if meshes.reduce(0, { min($0, 1 << 20) + $1.reduce(1, *) }) > 1 << 20 {
      throw UsageError("--stage-meshes \(stageMeshes): the stages have more than 1048576 devices together")
    }
    degrees.stageMeshes = meshes
    (degrees.pipeline, degrees.data, degrees.tensor) = (meshes.count, meshes[0][0], meshes[0][1])
  }
}
