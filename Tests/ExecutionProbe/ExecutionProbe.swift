// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Strategies

/// Runs one named scenario on every rank; rank 0 prints what it saw as one JSON object. ExecutionTests start it.
///
///     execution-probe launch RANKS SCENARIO [ARGUMENT…]     through the launcher
///     execution-probe SCENARIO [ARGUMENT…]                  as a rank, or alone
@main
enum ExecutionProbe {
  static func main() throws {
    var arguments = Array(CommandLine.arguments.dropFirst())
    guard let scenario = arguments.first else { return Swift.print("usage: execution-probe SCENARIO [ARGUMENT…]") }
    arguments.removeFirst()
    if scenario == "launch" {
      let outcome = try Launcher(ranks: Int(arguments[0]) ?? 1, arguments: Array(arguments.dropFirst())).run(
        output: { FileHandle.standardOutput.write(Data($0)) })
      if let message = outcome.message { FileHandle.standardError.write(Data("\(message)\n".utf8)) }
      exit(outcome.exitCode)
    }
    if scenario == "environment" { try RankEnvironment.prepare(kernel: arguments[0], threads: 3) }
    exit(try MPIProcess.run(exitCode: { _ in 65 }) { process in try run(scenario, arguments, process) })
  }

  static func run(_ scenario: String, _ arguments: [String], _ process: borrowing MPIProcess) throws -> Int32 {
    switch scenario {
    case "collectives":
      var check = CollectivesCheck(world: process.world, seed: UInt64(arguments[0]) ?? 0)
      try check.run()
      try print(check.mismatches, process)
    case "messages": try print(try checkMessages(process.world), process)
    case "traffic": try print(try countTraffic(process.world), process)
    case "environment":
      let environment = ProcessInfo.processInfo.environment
      let names = ["OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "PROBE"]
      let own = names.map { "\($0)=\(environment[$0] ?? "")" } + ["arguments=\(CommandLine.arguments.dropFirst().joined(separator: " "))"]
      try print(own, process)
    case "random":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      let checks = DecisionChecks(world: process.world)
      let axes = arguments.count > 3 ? Int(arguments[3]) : nil
      try print(try checks.random(model, seed: UInt64(arguments[1]) ?? 0, count: Int(arguments[2]) ?? 1, axes: axes), process)
    case "table":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      var table = try StrategyTable(world: process.world, model: model)
      try print(try table.cells(), process)
    case "sub-meshes":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      let checks = DecisionChecks(world: process.world)
      try print(try checks.subMeshes(model, seed: UInt64(arguments[1]) ?? 0, count: Int(arguments[2]) ?? 1), process)
    case "shares":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      let checks = DecisionChecks(world: process.world)
      try print(try checks.shares(model, seed: UInt64(arguments[1]) ?? 0, count: Int(arguments[2]) ?? 1), process)
    case "ring":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      let checks = DecisionChecks(world: process.world)
      try print(try checks.random(model, seed: UInt64(arguments[1]) ?? 0, count: Int(arguments[2]) ?? 1, around: "ring"), process)
    case "skew":
      let checks = DecisionChecks(world: process.world)
      try print(
        try checks.skew(
          topK: Int(arguments[0]) ?? 1, strategy: arguments[1], recomputes: arguments[2] == "full", microBatches: Int(arguments[3]) ?? 1), process)
    case "random-folder":
      let checks = DecisionChecks(world: process.world)
      try print(
        try checks.random(
          folder: arguments[0], isFrozen: arguments.last == "frozen", seed: UInt64(arguments[1]) ?? 0, count: Int(arguments[2]) ?? 1), process)
    case "kinks": try print(try DecisionChecks(world: process.world).kinks(), process)
    case "padding": try print(try DecisionChecks(world: process.world).padding(ring: arguments.first == "ring"), process)
    case "memory":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      try print(try DecisionChecks(world: process.world).memory(model, seed: UInt64(arguments[1]) ?? 0), process)
    case "lean-memory": try print(try DecisionChecks(world: process.world).leanMemory(), process)
    case "diverge": try DecisionChecks(world: process.world).diverge()
    case "faults": try print(try DecisionChecks(world: process.world).faults(), process)
    case "oracle":
      let checks = OracleChecks(world: process.world, folder: arguments[0])
      try print(try arguments.dropFirst(1).flatMap { name in try checks.mismatches(strategy: name).map { "\(name): \($0)" } }, process)
    case "train":
      guard let model = TinyModel(rawValue: arguments[0]), let optimizer = OptimizerKind(rawValue: arguments[3]) else {
        throw ProbeError(description: "there is no such model or optimizer")
      }
      let losses = try DecisionChecks(world: process.world).train(
        model, seed: UInt64(arguments[1]) ?? 0, steps: Int(arguments[2]) ?? 1, optimizer: optimizer, folder: arguments[4],
        fromWeights: arguments.last == "weights")
      try print(losses, process)
    case "generate":
      guard let model = TinyModel(rawValue: arguments[0]) else { throw ProbeError(description: "there is no model \(arguments[0])") }
      let checks = DecisionChecks(world: process.world)
      try print(try checks.generate(model, seed: UInt64(arguments[1]) ?? 0, count: Int(arguments[2]) ?? 1), process)
    case "steps": try measureSteps(arguments, process.world)
    case "status": return Int32(arguments[0]) ?? 0
    case "fail": try fail(arguments[0], process)
    case "measure": try measure(process.world)
    default: throw ProbeError(description: "there is no scenario \(scenario)")
    }
    return 0
  }

  /// One array of strings per rank.
  static func print(_ lines: [String], _ process: borrowing MPIProcess) throws {
    let gathered = try process.world.gather(Array(lines.joined(separator: "\n").utf8))
    guard let gathered else { return }
    let ranks = gathered.map { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) }
    Swift.print(String(decoding: try JSONEncoder().encode(ranks), as: UTF8.self))
  }

  /// The last rank ends in the way `kind` names while the others wait for it.
  static func fail(_ kind: String, _ process: borrowing MPIProcess) throws {
    if process.rank == process.size - 1 || kind == "all-throw" {
      switch kind {
      case "exit": _exit(1)
      case "exit-0": _exit(0)
      case "kill": kill(getpid(), SIGKILL)
      case "throw", "all-throw": throw ProbeError(description: "the weights are not\nthere")
      case "abort": process.abort(code: 73, reason: "no space left")
      case "wait":
        // Lets the test know that every rank is up, by its process id.
        while true { sleep(1) }
      default: throw ProbeError(description: "there is no failure \(kind)")
      }
    }
    try process.world.barrier()
  }
}

struct ProbeError: Error, CustomStringConvertible {
  let description: String
}
