// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Planner
import Strategies

/// Choices that a search finds made already.
struct ChoiceOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: ArgumentHelp("Sequences per micro-batch and data replica.", valueName: "sequences"))
  var microBatch: Int?

  @Option(parsing: .unconditional, help: ArgumentHelp("Parts that the global batch is cut into.", valueName: "parts"))
  var microBatches: Int?

  @Option(help: ArgumentHelp("Sizes of a stage's mesh axes, outermost first, for example 2x4.", valueName: "sizes"))
  var mesh: String?

  @Option(
    help: ArgumentHelp("Each stage's mesh, in order, for example 2x4,8: stages may differ in shape and in size.", valueName: "meshes"))
  var stageMeshes: String?

  @Flag(help: "Leave no device idle.")
  var allDevices = false

  @Option(parsing: .unconditional, help: ArgumentHelp("Number of pipeline stages.", valueName: "stages"))
  var pp: Int?

  @Option(
    help: ArgumentHelp(
      "Layers on each stage, for example 11,13,8, or 0 for the embedding or the head alone; with several chunks, on each chunk in the model's order.",
      valueName: "layers"))
  var stages: String?

  @Option(help: "The pipeline's schedule.")
  var schedule: Schedule.Kind?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Chunks of the model on each stage (virtual pipeline stages): 1, or more for the interleaved schedule.", valueName: "chunks"))
  var vpp: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("ZeRO stage of the weights that several replicas hold: 0, 1, 2 or 3 (FSDP).", valueName: "stage"),
    completion: .zeroStages)
  var zero: Int?

  @Option(help: ArgumentHelp("\(Recompute.help) Without the option a search chooses among all but elementwise.", valueName: "what"))
  var recompute: Recompute?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "So many layers of each stage (of several chunks, of each chunk) compute that again, the others nothing (default: all, or as is best).",
      valueName: "layers"))
  var recomputeLayers: Int?

  @Option(
    help: ArgumentHelp(
      "PATTERN=STRATEGY: the operators must be split so, for example 'transformer.h.*.mlp.c_fc=column'. Repeatable.", valueName: "split"))
  var pin: [String] = []

  @Option(help: ArgumentHelp("PATTERN=STRATEGY: the operators must not be split so. Repeatable.", valueName: "split"))
  var forbid: [String] = []
}

/// How much is searched.
struct ExtentOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: ArgumentHelp("Search meshes of at most so many axes: 1, 2 or 3.", valueName: "axes"))
  var meshAxes: Int = SearchRequest.usualMeshAxes

  @Flag(help: "Search also plans whose first stages have one mesh and whose other stages have another.")
  var subMeshes = false

  @Flag(help: "Search only plans in which all layers of a block are alike: a smaller space.")
  var layersAlike = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Return the best plan found, with its gap, after this time, for example 30s.", valueName: "time"))
  var timeLimit: String?
}

extension Recompute {
  static let help = """
    What every layer does again in its backward pass: none, elementwise (norms, activation functions and products of elements), gathered (what was \
    gathered is kept split, as Megatron-LM's sequence parallelism does), selective (attention), selective+gathered or full.
    """
}
