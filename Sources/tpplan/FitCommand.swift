// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Hardware
import Quantities
import Validation

/// `tpplan fit`: constants of a cluster from measured steps.
struct FitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fit", abstract: "Fit a few constants of a hardware file to measured steps.",
    discussion: """
      FILES are tables of measured steps (or folders of them) and one hardware file, or several of one kind of device, whose constants are then \
      the same and fitted together. Rows are those whose hw is the name of a hardware file. At most 8 constants, each in its physical range, stay \
      near to what the file says they are without a fit: a factor of 1.5 counts as much as one row of twenty that is 10 % off.
      """,
    examples: ["tpplan fit validation hardware/dgx_a100_80g_hdr200x8.json -o fitted.json"])

  @Argument(help: ArgumentHelp("Tables of measured steps, folders of them, and hardware files.", valueName: "files"), completion: .json)
  var inputs: [String]

  @Option(
    name: [.short, .customLong("output")],
    help: ArgumentHelp(
      "Where the hardware file with the fitted constants goes, - is standard output; of several, the folder (default: none is written).",
      valueName: "path"), completion: .json)
  var output: String?

  @Option(
    name: .customLong("constant"),
    help: "Fit this constant, for example attention or nvlink.startup_us; may be repeated (default: those that the rows tell).")
  var constants: [String] = []

  @Flag(help: "Rows of other clusters, or of none, count as rows of this one.")
  var allRows = false

  @Flag(help: "Rows that leave some of their split open count, with the split that is fastest by the files as they are.")
  var searchedRows = false

  @Option(parsing: .unconditional, help: "Fit on so many rows at most: as many of each table, at even distances; errors are of all rows.")
  var rowsAtMost = 120

  @Option(parsing: .unconditional, help: "Groups of rows that are left out in turn, at most; 0 leaves none out.")
  var folds = 8

  @Option(help: "A date to be recorded with the fit.")
  var date: String?

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    guard rowsAtMost > 0 else { throw UsageError("--rows-at-most \(rowsAtMost): a fit needs a row at least") }
    guard folds >= 0 else { throw UsageError("--folds \(folds): 0 or more") }
    let files = try FitFiles(inputs, allRows: allRows)
    try checkOutput(files)
    let problem: FitProblem
    let rows: FitSamples
    let report: FitReport
    let watch = ProgressWatch()
    do {
      defer { watch.end() }
      rows = try FitSamples(
        files.tables, clusters: Set(files.clusters.map(\.name)), allOn: allRows ? files.clusters[0].name : nil, searches: searchedRows,
        RowPricer(HardwareShelf(files.clusters.map { ($0.name, $0.file) })), threads: EstimateCommand.threads
      ) { done in
        watch.show("\(counted(done, "row")) priced")
        return !watch.stop.isReached
      }
      guard !rows.samples.isEmpty else { throw Failure(code: Failure.badInput, files.noRows(rows)) }
      problem = FitProblem(files.clusters.map { ($0.name, $0.file) }, rows.samples, threads: EstimateCommand.threads) { evaluation, row in
        watch.show("fit: evaluation \(evaluation), \(counted(row, "row")) priced")
        return !watch.stop.isReached
      }
      report = try FitReport(problem, chosen: try chosen(problem), rowsAtMost: rowsAtMost, folds: folds)
    } catch is CancellationError {
      throw Failure(code: Failure.interrupted, "interrupted: a fit that is not complete is not printed, and no file was written")
    } catch let error as FitError { throw Failure(code: Failure.internal, error.description) }
    let text = FitText(report, rows, files)
    let record = text.record(date: date)
    for (i, cluster) in files.clusters.enumerated() {
      guard let path = files.output(output, of: i) else { continue }
      try atomicWrite(cluster.written(report, file: i, record: record).prettyBytesInOrder, to: path)
    }
    if output == "-" { return }
    switch format {
    case .text: try printLines(text.lines(output: output))
    case .json: try text.json(output: output, record: record).printLine()
    }
  }

  /// The numbers of the constants that are named; nil where none is.
  private func chosen(_ problem: FitProblem) throws -> [Int]? {
    if constants.isEmpty { return nil }
    var chosen: [Int] = []
    for name in constants {
      let found = problem.constants.indices.filter { problem.constants[$0].name == name || problem.constants[$0].name.hasSuffix(":\(name)") }
      guard !found.isEmpty else {
        throw UsageError("--constant \(name): there is none of this name; known: \(problem.constants.map(\.name).joined(separator: ", "))")
      }
      chosen += found.filter { !chosen.contains($0) }
    }
    guard chosen.count <= FitProblem.mostConstants else {
      throw UsageError("--constant: these are \(chosen.count) constants; rows tell few: name at most \(FitProblem.mostConstants)")
    }
    return chosen.sorted()
  }

  /// Says before the work that its result could not be written.
  private func checkOutput(_ files: FitFiles) throws {
    guard let output, output != "-" else {
      if output == "-", files.clusters.count > 1 { throw UsageError("-o -: several hardware files are not one output; name a folder") }
      return
    }
    if files.clusters.count > 1 {
      var isDirectory: ObjCBool = false
      guard FileManager.default.fileExists(atPath: output, isDirectory: &isDirectory), isDirectory.boolValue else {
        throw DocumentError.unwritable(file: output, reason: "there are several hardware files, and no folder of this name")
      }
    }
    let outputs = files.clusters.indices.compactMap { files.output(output, of: $0) }
    var all = CommandFiles()
    for path in files.paths { all.reads(path, as: "FILES") }
    for path in outputs { all.writes(path, as: "--output") }
    try all.check()
    for path in outputs { try checkWritable(path) }
  }
}
