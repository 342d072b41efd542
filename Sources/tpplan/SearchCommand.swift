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
    examples: [
      "tpplan search models/gpt2.json hardware/dgx-a100.json --devices 8",
      """
      tpplan search models/llama-3-8b.json hardware/dgx-h100.json --devices 8 \\
        --batch 64 --pin '*.mlp.up_proj=column' --time-limit 30s -o plan.json
      """,
      "tpplan search models/gpt2.json hardware/dgx-a100.json --devices 8 --space",
    ])

  @OptionGroup var options: SearchOptions

  @Option(
    name: [.short, .customLong("output")], help: ArgumentHelp("Where the plan goes; - is standard output.", valueName: "file"), completion: .json)
  var output = "plan.json"

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Also print the next best configurations, so many in all, each with its own best plan.", valueName: "count"))
  var top = 1

  @Flag(help: "Print what would be searched, each dimension with its values, and stop.")
  var space = false

  @Option(
    name: .customLong("write-lp"),
    help: ArgumentHelp("Write the plan's integer linear program to this file, in CPLEX LP format.", valueName: "file"),
    completion: .file(extensions: ["lp"]))
  var programFile: String?

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    var (request, context) = try options.request()
    guard (1...1_000).contains(top) else { throw UsageError("--top \(top): expected a number from 1 to 1000") }
    request.top = top
    let comparesBatches = options.workload.batch == .max
    if comparesBatches { request.reversed = nil }
    if comparesBatches, top > 1 {
      throw UsageError("--top ranks the configurations of one batch; with --batch max leave it out, then rank those of the batch")
    }
    if space { return try printSpace(request) }
    try options.workload.files.files(writing: [(output, "--output"), (programFile, "--write-lp")]).check()
    for file in [output, programFile].compactMap({ $0 }) { try checkWritable(file) }

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
        // GLPK writes to names, of which a descriptor has one.
        try atomicWrite(to: programFile) { descriptor in (try? problem.writeLP(to: "/dev/fd/\(descriptor)") { names[$0] }) != nil }
      }
      let plan = context.plan(planned)
      try PlanFile.write(plan, to: output)
      let summary = PlanSummary(plan: plan, seconds: elapsed / .seconds(1))
      if output == "-" { return }
      switch format {
      case .text:
        let batches = compared.isEmpty ? [] : ["  batches      \(compared.map(String.init).joined(separator: " ")): the most samples per second"]
        try printLines(summary.lines + batches + ["  plan         \(output)"])
        if top > 1 { try printLines(Ranking(planned).lines) }
      case .json:
        let more: JSON = top > 1 ? ["top": Ranking(planned).json] : compared.isEmpty ? [:] : ["batches": .array(compared.map { .int($0) })]
        try summary.json(output: output).adding(more).printLine()
      }
      if watch.wasInterrupted, planned.certificate.status == .timeLimit {
        throw Failure(code: Failure.interrupted, "interrupted: the plan written is the best so far, and not proven optimal")
      }
    case .infeasible(let shortfall):
      var infeasibility = try Infeasibility(request, shortfall)
      infeasibility.explain(seconds: request.timeLimit.map { $0 - (ContinuousClock.now - start) / .seconds(1) } ?? Planner.usualRepairSeconds)
      if format == .json, output != "-" { try infeasibility.json.printLine() }
      throw ExitCode(Failure.nothingFits)
    case .timeLimit(let bound):
      if format == .json, output != "-" {
        try (["status": "time_limit", "lower_bound_seconds": .double(bound.value), "search_seconds": .double(elapsed / .seconds(1))] as JSON)
          .printLine()
      }
      if watch.wasInterrupted { throw Failure(code: Failure.interrupted, "interrupted before any plan was found; no plan takes less than \(bound)") }
      throw Failure(
        code: Failure.timeLimit,
        "no plan was found within \(Seconds(request.timeLimit ?? 0)); no plan takes less than \(bound). Give more time with --time-limit.")
    }
  }

  private func printSpace(_ request: SearchRequest) throws {
    var dimensions = try Planner.space(request)
    if options.workload.batch == .max { dimensions.append(try Planner.batchSpace(request)) }
    switch format {
    case .text: try printLines(dimensions.map { "\($0.name): \($0.values)" })
    case .json:
      try JSON.object(JSON.Object([("space", .object(JSON.Object(dimensions.map { ($0.name, .string($0.values)) })))])).printLine()
    }
  }
}
