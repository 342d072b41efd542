// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Validation

/// `tpplan validate`: compares predictions with published measurements.
struct ValidateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "validate", abstract: "Compare predictions with published measurements.",
    discussion: """
      Prices every row of every table in a folder as `estimate --rows` does, and says for each table how far predicted steps and memory are \
      from what was measured, how well the splits of one job are ranked, and what is not compared. Beside it stands the naive prediction, \
      operations / (devices x one rate that is fitted to the same rows), and the pipeline's bubble. Example: tpplan validate
      """)

  @Argument(help: "A folder of tables (default: validation, here or where tpplan was built).")
  var folder: String?

  @Option(help: "The folder of the hardware files that rows name (default: hardware, here or where tpplan was built).")
  var hardwareFolder: String?

  @Option(help: "text or json.")
  var format: OutputFormat = .text

  func run() throws {
    let tables = try ValidationFolder(try ProjectFolder.find(folder, "validation", option: nil, what: "tables of measurements"))
    let pricer = RowPricer(HardwareShelf(folder: try ProjectFolder.hardware(hardwareFolder)))
    let report = try tables.report { try EstimateCommand.prices(of: $0, pricer) }
    switch format {
    case .text: print(AccuracyText(report, style: .ofStandardOutput).lines.joined(separator: "\n"))
    case .json: report.json.printLine()
    }
  }
}
