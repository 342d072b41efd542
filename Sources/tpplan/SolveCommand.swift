// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Quantities
import Search
import ShardingProblems

/// `tpplan solve`: the search's solver on a bare sharding problem.
struct SolveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "solve", abstract: "Solve a bare sharding problem, with a proof or a bound.",
    discussion: """
      The file is in the format of the ASPLOS 2025 contest on intra-operator parallelism (github.com/google/iopddl), compressed by \
      gzip or not.
      """,
    examples: ["tpplan solve Benchmarks/solve/example.json --time-limit 10s -o solution.json"])

  @Argument(help: "The problem; - is standard input.", completion: .file(extensions: ["json", "gz"]))
  var problem: String

  @Option(
    name: [.short, .customLong("output")], help: ArgumentHelp("Where the solution goes; - is standard output.", valueName: "file"),
    completion: .json)
  var output = "solution.json"

  @Option(help: "Return the best solution found, with its gap, after this time, reading included, for example 180s.")
  var timeLimit = "60s"

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    let start = ContinuousClock.now
    let seconds = try SearchOptions.seconds(timeLimit)
    var files = CommandFiles()
    files.reads(problem, as: "PROBLEM")
    files.writes(output, as: "--output")
    try files.check()
    try checkWritable(output)
    let watch = SearchWatch(limit: seconds)
    let file = try ProblemFile(readingFrom: problem)
    let read = ContinuousClock.now
    let solution = try file.solve(stop: watch.stop, threads: min(8, max(1, ProcessInfo.processInfo.activeProcessorCount)))
    watch.end()
    try solution.write(to: output)
    if output != "-" {
      let elapsed = (read: (read - start) / .seconds(1), total: (ContinuousClock.now - start) / .seconds(1))
      switch format {
      case .text: try printLines(lines(file, solution, elapsed))
      case .json: try printLines([json(file, solution, elapsed)])
      }
    }
    try throwFailure(solution, wasInterrupted: watch.wasInterrupted)
  }

  private func lines(_ file: ProblemFile, _ solution: ShardingSolution, _ seconds: (read: Double, total: Double)) -> [String] {
    let name = file.name ?? problem
    var lines = ["\(name): \(counted(file.nodeCosts.count, "node")), \(counted(file.edges.count, "edge"))"]
    if let cost = solution.cost { lines.append("  cost         \(cost)") }
    if let bound = solution.lowerBound {
      let proof =
        switch solution.status {
        case .optimal: solution.gap == 0 ? "optimal, gap 0" : "optimal, gap \(solution.gap ?? 0)"
        case .timeLimit: solution.gap.map { "stopped early, gap \(percent($0))" } ?? "stopped early, no solution yet"
        case .infeasible: "infeasible"
        }
      lines.append("  certificate  \(proof) (bound \(bound))")
    }
    lines.append("  time         \(Seconds(seconds.total)), of which \(Seconds(seconds.read)) reading")
    lines.append("  solution     \(output)")
    return lines
  }

  private func json(_ file: ProblemFile, _ solution: ShardingSolution, _ seconds: (read: Double, total: Double)) -> String {
    func text(_ value: JSON) -> String { value.canonicalText }
    return "{\(solution.figures),\"name\":\(file.name.map { text(.string($0)) } ?? "null"),\"nodes\":\(file.nodeCosts.count)"
      + ",\"output\":\(text(.string(output))),\"read_seconds\":\(text(.double(seconds.read))),\"solve_seconds\":\(text(.double(seconds.total)))"
      + ",\"status\":\"\(solution.status.rawValue)\"}"
  }

  private func throwFailure(_ solution: ShardingSolution, wasInterrupted: Bool) throws {
    switch solution.status {
    case .optimal: return
    case .infeasible: throw Failure(code: Failure.nothingFits, "\(problem): no choice is legal: \(solution.reason ?? "")")
    case .timeLimit:
      let hasChoice = solution.choice != nil
      if wasInterrupted {
        throw Failure(
          code: Failure.interrupted,
          hasChoice ? "interrupted: the solution written is the best so far, and not proven optimal" : "interrupted before any solution was found")
      }
      guard !hasChoice else { return }
      throw Failure(
        code: Failure.timeLimit,
        "\(problem): no legal solution was found within \(timeLimit), and none was excluded. Give more time with --time-limit.")
    }
  }
}
