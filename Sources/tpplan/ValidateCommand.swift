// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Hardware
import Quantities
import Validation

/// `tpplan validate`: compares predictions with published measurements.
struct ValidateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "validate", abstract: "Compare predictions with published measurements.",
    discussion: """
      Prices every row of every table in a folder as `estimate --rows` does, and says for each table how far predicted steps and memory are \
      from what was measured, how well the splits of one job are ranked, and what is not compared. Beside it stands the naive prediction, \
      operations / (devices x one rate that is fitted to the same rows), and the pipeline's bubble; and where constants of hardware files were \
      fitted, what their unfitted values predict.
      """,
    examples: ["tpplan validate", "tpplan validate validation --plot accuracy.svg"])

  @Argument(help: "A folder of tables (default: validation, here, where tpplan was built, or where it is installed).", completion: .directory)
  var folder: String?

  @Option(
    help: ArgumentHelp(
      "The folder of the hardware files that rows name (default: hardware, here, where tpplan was built, or where it is installed).",
      valueName: "folder"), completion: .directory)
  var hardwareFolder: String?

  @Flag(help: "For each kind of device and table, fit the constants on the other tables alone and price the table with them (minutes).")
  var leaveOneOut = false

  @Option(parsing: .unconditional, help: "With --leave-one-out: fit on so many rows at most, as many of each table (default: 120).")
  var rowsAtMost: Int?

  @Option(
    help: ArgumentHelp("Write a picture (SVG) of predicted against measured steps; - is standard output.", valueName: "file"),
    completion: .file(extensions: ["svg"]))
  var plot: String?

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    if let rowsAtMost {
      guard rowsAtMost > 0 else { throw UsageError("--rows-at-most \(rowsAtMost): a fit needs a row at least") }
      guard leaveOneOut else { throw UsageError("--rows-at-most \(rowsAtMost) is of the fits of --leave-one-out; add that, or leave it out") }
    }
    if let folder, folder.hasSuffix(".json"), FileManager.default.fileExists(atPath: folder) {
      throw UsageError("\(folder): validate takes a folder of tables; `tpplan estimate --rows \(folder)` prices one")
    }
    if let plot { try checkWritable(plot) }
    let path = try ProjectFolder.find(folder, "validation", option: nil, what: "tables of measurements")
    let tables = try ValidationFolder(path)
    var files = CommandFiles()
    for file in tables.files { files.reads("\(path)/\(file)", as: "FOLDER") }
    files.writes(plot, as: "--plot")
    try files.check()
    if tables.tables.isEmpty {
      throw UsageError("\(folder ?? "validation"): no table of measured steps is there, a .json file with a list \"rows\"")
    }
    let shelf = HardwareShelf(folder: try ProjectFolder.hardware(hardwareFolder))
    let pricer = RowPricer(shelf)
    let report = try tables.report(
      on: shelf, { try EstimateCommand.prices(of: $0, pricer) },
      unfitted: { try EstimateCommand.prices(of: $0, RowPricer($1)) },
      leaveOut: leaveOneOut ? { try leftOut($0, $1) } : nil)
    if let plot { try atomicWrite(Array(AccuracyPlot(report).text.utf8), to: plot) }
    if plot == "-" { return }
    switch format {
    case .text: try printLines(AccuracyText(report, style: .ofStandardOutput).lines)
    case .json: try report.json.printLine()
    }
  }

  private func leftOut(_ tables: [MeasurementTable], _ files: [(name: String, file: HardwareFile)]) throws -> [LeftOutSet] {
    let watch = ProgressWatch()
    defer { watch.end() }
    do {
      let rows = try FitSamples(
        tables, clusters: Set(files.map(\.name)), searches: true, RowPricer(HardwareShelf(files)), threads: EstimateCommand.threads
      ) { done in
        watch.show("\(counted(done, "row")) priced")
        return !watch.stop.isReached
      }
      return try LeftOutSet.all(rows.samples, files, rowsAtMost: rowsAtMost ?? 120, threads: EstimateCommand.threads) { family, evaluation in
        watch.show("tables left out, \(family): evaluation \(evaluation)")
        return !watch.stop.isReached
      }
    } catch is CancellationError {
      throw Failure(code: Failure.interrupted, "interrupted: nothing is printed of figures that are not complete")
    } catch let error as FitError { throw Failure(code: Failure.internal, error.description) }
  }
}
