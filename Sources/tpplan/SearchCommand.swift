// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Planner
import Plans
import Quantities
import Strategies

/// `tpplan search`: chooses a split for every operator, with a proof.
struct SearchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "search", abstract: "Choose a split for every layer, with a proof.",
    discussion: "Example: tpplan search models/llama-3-8b.json hardware/dgx-h100.json --devices 8 --batch 64 -o plan.json")

  @OptionGroup var workload: WorkloadOptions

  @Option(name: [.short, .customLong("output")], help: "Where the plan goes; - is standard output.")
  var output = "plan.json"

  @Option(parsing: .unconditional, help: "Sequences per micro-batch and data replica.")
  var microBatch: Int?

  @Option(parsing: .unconditional, help: "Parts that the global batch is cut into.")
  var microBatches: Int?

  @Option(help: "Sizes of a stage's mesh axes, outermost first, for example 2x4.")
  var mesh: String?

  @Option(parsing: .unconditional, help: "Search meshes of at most so many axes: 1, 2 or 3.")
  var meshAxes: Int = SearchRequest.usualMeshAxes
  @Option(help: "Each stage's mesh, in order, for example 2x4,8: stages may differ in shape and in size.")
  var stageMeshes: String?

  @Flag(help: "Search also plans whose first stages have one mesh and whose other stages have another.")
  var subMeshes = false

  @Flag(help: "Search only plans that leave no device idle.")
  var allDevices = false

  @Option(parsing: .unconditional, help: "Number of pipeline stages.")
  var pp: Int?

  @Option(
    help:
      "Layers on each stage, for example 11,13,8, or 0 for the embedding or the head alone; with several chunks, on each chunk in the model's order.")
  var stages: String?

  @Option(help: "gpipe, 1f1b or interleaved.")
  var schedule: Schedule.Kind?

  @Option(parsing: .unconditional, help: "Chunks of the model on each stage (virtual pipeline stages): 1, or more for the interleaved schedule.")
  var vpp: Int?

  @Option(parsing: .unconditional, help: "ZeRO stage of the weights that several replicas hold: 0, 1, 2 or 3 (FSDP).")
  var zero: Int?

  @Option(
    help:
      "What every layer does again in its backward pass: none, elementwise (norms, activation functions and products of elements), gathered (what was gathered is kept split, as Megatron-LM's sequence parallelism does), selective (attention), selective+gathered or full. Without the option a search chooses among all but elementwise."
  )
  var recompute: Recompute?

  @Option(
    parsing: .unconditional,
    help: "So many layers of each stage (of several chunks, of each chunk) compute that again, the others nothing (default: all, or as is best).")
  var recomputeLayers: Int?

  @Flag(help: "Search only plans in which all layers of a block are alike: a smaller space.")
  var layersAlike = false

  @Option(help: "PATTERN=STRATEGY: the operators must be split so, for example 'transformer.h.*.mlp.c_fc=column'. Repeatable.")
  var pin: [String] = []

  @Option(help: "PATTERN=STRATEGY: the operators must not be split so. Repeatable.")
  var forbid: [String] = []

  @Option(parsing: .unconditional, help: "Return the best plan found, with its gap, after this time, for example 30s.")
  var timeLimit: String?

  @Option(parsing: .unconditional, help: "Also print the next best configurations, so many in all, each with its own best plan.")
  var top = 1

  @Flag(help: "Print what would be searched, each dimension with its values, and stop.")
  var space = false

  @Option(name: .customLong("write-lp"), help: "Write the plan's integer linear program to this file, in CPLEX LP format.")
  var programFile: String?

  @Option(help: "text or json.")
  var format: OutputFormat = .text

  /// - Throws: `UsageError` where it is not said what the layers compute again.
  static func recomputedLayers(_ layers: Int?, _ recompute: Recompute?) throws -> Int? {
    guard let layers else { return nil }
    guard let recompute, recompute != .none else {
      throw UsageError("--recompute-layers \(layers): what do these layers compute again? Add --recompute selective or --recompute full")
    }
    guard layers >= 0 else { throw UsageError("--recompute-layers \(layers): expected a number of layers of each stage") }
    return layers
  }

  func run() throws {
    var (request, context) = try workload.request()
    request.pipelineDegree = pp
    request.mayLeaveIdle = !allDevices
    request.mesh = try mesh.map { try Self.numbers($0, separator: "x", option: "--mesh", example: "2x4") }
    let most = SearchRequest.largestMeshAxes
    if let mesh = request.mesh, mesh.count > most {
      throw UsageError("--mesh \(mesh.map(String.init).joined(separator: "x")): a search takes 1 to \(most) mesh axes, not \(mesh.count)")
    }
    guard 1...most ~= meshAxes else { throw UsageError("--mesh-axes \(meshAxes): expected a number from 1 to \(most)") }
    if let mesh, let given = request.mesh, meshAxes < min(given.count, SearchRequest.usualMeshAxes) {
      throw UsageError("--mesh \(mesh) has \(given.count) axes, and --mesh-axes \(meshAxes) allows fewer; leave one of them out")
    }
    request.mostMeshAxes = meshAxes
    request.stageMeshes = try stageMeshes.map(Self.meshes)
    if request.stageMeshes?.contains(where: { $0.count > 2 }) ?? false {
      throw UsageError("--stage-meshes: a search takes one or two axes for each mesh")
    }
    request.mayHaveSubMeshes = subMeshes
    request.microBatches = microBatches
    request.microBatchSize = microBatch
    request.schedule = schedule
    request.chunks = vpp
    try workload.job.checkTrains(zero: zero, recompute: recompute)
    request.recompute = recompute
    request.recomputedLayers = try Self.recomputedLayers(recomputeLayers, recompute)
    request.layersMayDiffer = !layersAlike
    request.zero = try zero.map(Self.zeroStage)
    request.stageLayers = try stages.map { try Self.numbers($0, separator: ",", option: "--stages", example: "11,13,8", atLeast: 0) }
    request.constraints =
      try pin.map { try StrategyConstraint(parsing: $0, isForbidden: false) } + forbid.map { try StrategyConstraint(parsing: $0, isForbidden: true) }
    request.timeLimit = try timeLimit.map(Self.seconds)

    guard (1...1_000).contains(top) else { throw UsageError("--top \(top): expected a number from 1 to 1000") }
    request.top = top
    let comparesBatches = workload.batch == .max
    if comparesBatches { request.reversed = nil }
    if comparesBatches, top > 1 {
      throw UsageError("--top ranks the configurations of one batch; with --batch max leave it out, then rank those of the batch")
    }
    if space { return try printSpace(request) }

    let start = ContinuousClock.now
    let watch = SearchWatch(limit: request.timeLimit)
    let outcome: PlanOutcome
    var compared: [Int] = []
    if comparesBatches {
      let found = try Planner.searchBatches(request, watch.monitor)
      (outcome, request.batch, compared) = (found.outcome, found.batch, found.compared)
    } else {
      outcome = try Planner.search(request, watch.monitor)
    }
    watch.end()
    let elapsed = ContinuousClock.now - start
    switch outcome {
    case .planned(let planned):
      if let programFile {
        let (problem, names) = try Planner.program(of: planned, request)
        do {
          try problem.writeLP(to: programFile) { names[$0] }
        } catch {
          throw Failure(code: Failure.cannotWrite, "--write-lp \(error)")
        }
      }
      let plan = context.plan(planned)
      try PlanFile.write(plan, to: output)
      let summary = PlanSummary(plan: plan, seconds: elapsed / .seconds(1))
      if output == "-" { return }
      switch format {
      case .text:
        let batches = compared.isEmpty ? [] : ["  batches      \(compared.map(String.init).joined(separator: " ")): the most samples per second"]
        print((summary.lines + batches + ["  plan         \(output)"]).joined(separator: "\n"))
        if top > 1 { print(Ranking(planned).lines.joined(separator: "\n")) }
      case .json:
        let more: JSON = top > 1 ? ["top": Ranking(planned).json] : compared.isEmpty ? [:] : ["batches": .array(compared.map { .int($0) })]
        summary.json(output: output).adding(more).printLine()
      }
      if watch.wasInterrupted, planned.certificate.status == .timeLimit {
        throw Failure(code: Failure.interrupted, "interrupted: the plan written is the best so far, and not proven optimal")
      }
    case .infeasible(let shortfall):
      var infeasibility = try Infeasibility(request, shortfall)
      infeasibility.explain(seconds: request.timeLimit.map { $0 - (ContinuousClock.now - start) / .seconds(1) } ?? Planner.usualRepairSeconds)
      if format == .json, output != "-" { infeasibility.json.printLine() }
      throw ExitCode(Failure.nothingFits)
    case .timeLimit(let bound):
      if format == .json, output != "-" {
        (["status": "time_limit", "lower_bound_seconds": .double(bound.value), "search_seconds": .double(elapsed / .seconds(1))] as JSON).printLine()
      }
      if watch.wasInterrupted { throw Failure(code: Failure.interrupted, "interrupted before any plan was found; no plan takes less than \(bound)") }
      throw Failure(
        code: Failure.timeLimit,
        "no plan was found within \(Seconds(request.timeLimit ?? 0)); no plan takes less than \(bound). Give more time with --time-limit.")
    }
  }

  private func printSpace(_ request: SearchRequest) throws {
    var dimensions = try Planner.space(request)
    if workload.batch == .max { dimensions.append(try Planner.batchSpace(request)) }
    switch format {
    case .text: for dimension in dimensions { print("\(dimension.name): \(dimension.values)") }
    case .json:
      JSON.object(JSON.Object([("space", .object(JSON.Object(dimensions.map { ($0.name, .string($0.values)) })))])).printLine()
    }
  }

  static func zeroStage(_ number: Int) throws -> ZeROStage {
    guard let stage = ZeROStage(rawValue: number) else { throw UsageError("--zero \(number): expected 0, 1, 2 or 3") }
    return stage
  }

  static func numbers(_ text: String, separator: Character, option: String, example: String, atLeast least: Int = 1) throws -> [Int] {
    let parts = text.split(separator: separator, omittingEmptySubsequences: false).map { Int($0) }
    guard !parts.isEmpty, parts.allSatisfy({ $0.map { $0 >= least } ?? false }) else {
      throw UsageError("\(option) \(text): expected \(least > 0 ? "positive " : "")whole numbers such as \(example)")
    }
    return parts.compactMap { $0 }
  }

  /// `2x4,8`.
  static func meshes(_ text: String) throws -> [[Int]] {
    try text.split(separator: ",", omittingEmptySubsequences: false).map {
      try numbers(String($0), separator: "x", option: "--stage-meshes", example: "2x4,8")
    }
  }

  /// `30`, `30s`, `500ms` or `2m`.
  static func seconds(_ text: String) throws -> Double {
    let units: [(suffix: String, scale: Double)] = [("ms", 1e-3), ("s", 1), ("m", 60), ("h", 3600), ("", 1)]
    for unit in units where text.hasSuffix(unit.suffix) {
      if let value = Double(text.dropLast(unit.suffix.count)), value >= 0, value.isFinite {
        // Thirty years are no limit either, and fit into every clock.
        return min(value * unit.scale, 1e9)
      }
    }
    throw UsageError("--time-limit \(text): expected a time such as 30s, 500ms or 2m")
  }
}
