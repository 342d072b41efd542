// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Execution
import Foundation
import Hardware
import Kernels
import Quantities

/// `tpplan calibrate`: measures the machine that it runs on, and writes a hardware file.
///
/// As in `tpplan run`, the process that a person starts starts `mpirun` with this same command line, and each rank finds itself started by it.
struct CalibrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calibrate", abstract: "Measure this machine, and write a hardware file for it.",
    discussion: """
      Times the executor's own kernels and communication, with all ranks busy at once: matrix products of many shapes, attention, kernels that are \
      bound by memory, the optimizer, every collective in groups of every size, and messages. Fits the constants of a hardware file to them, and \
      records there on what they were measured, and how well they fit. Close everything else first.
      """,
    examples: ["tpplan calibrate --quick -o hardware.json"])

  @Option(parsing: .unconditional, help: "Ranks that are busy at once (default: one for each core).")
  var ranks: Int?
  @Flag(help: "Fewer shapes and repetitions: seconds instead of a minute.")
  var quick = false
  @Option(
    name: [.short, .customLong("output")], help: ArgumentHelp("Where to write the hardware file; - is standard output.", valueName: "file"),
    completion: .json)
  var output: String
  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    if let ranks, !(1...1024).contains(ranks) { throw UsageError("--ranks \(ranks): expected a number from 1 to 1024") }
    if RankEnvironment.isRank {
      try RankEnvironment.prepare(kernel: BLAS.kernelName(), threads: 1)
      BLAS.setThreads(1)
      let exitCode = { (error: any Error) in Failure(error)?.code ?? Failure.internal }
      throw ExitCode(try MPIProcess.run(exitCode: exitCode) { process in try runRank(process) })
    }
    // Two are enough for a message, also where there is one core.
    let cores = RankEnvironment.usableCores
    if let ranks, ranks > max(2, cores) {
      throw UsageError("--ranks \(ranks): this machine has \(counted(cores, "core")), and what ranks take that wait for one is no measurement")
    }
    try RunCommand.requireVectorInstructions()
    try checkWritable(output)
    let launcher = Launcher(
      ranks: ranks ?? RankEnvironment.usableCores, arguments: Array(CommandLine.arguments.dropFirst()),
      environment: BLASEnvironment.variables(kernel: BLAS.kernelName(), threads: 1))
    let bar = ProgressBar("measuring")
    var results: [UInt8] = []
    let watch = { (line: String) in
      if let done = CalibrationProgress(line: line) { bar.show(done.part) } else { bar.interrupt { note(line) } }
    }
    let outcome = try launcher.run(output: { results += $0 }, diagnostics: watch)
    bar.end()
    if let message = outcome.message { note("tpplan: \(message)") }
    try StandardOutput.write(results)
    throw ExitCode(outcome.exitCode)
  }

  private func runRank(_ process: borrowing MPIProcess) throws -> Int32 {
    if let ranks, ranks != process.size {
      throw UsageError("--ranks \(ranks): mpirun has started \(process.size); leave --ranks out, or start tpplan without mpirun")
    }
    let load = CalibratedHardware.Machine.currentLoad()
    let isFirst = process.rank == 0
    let start = ContinuousClock.now
    let measured = try CalibrationRun.carryOut(world: process.world, isQuick: quick) { part in
      if isFirst { CalibrationProgress(part: part).write() }
    }
    guard isFirst else { return 0 }
    let file = try CalibratedHardware.file(measured, ranks: process.size, isQuick: quick, on: .current(load: load))
    try atomicWrite(file.json.prettyBytes, to: output)
    if output == "-" { return 0 }
    if let remark = BLASEnvironment.remark(kernel: BLAS.kernelName()) { note("tpplan: \(remark), and the constants are of the other") }
    let text = CalibrationText(file: file, seconds: (ContinuousClock.now - start) / .seconds(1), output: output)
    switch format {
    case .text: try printLines(text.lines)
    case .json: try text.json.printLine()
    }
    return 0
  }
}
