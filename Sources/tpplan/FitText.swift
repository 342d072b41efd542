// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Quantities
import Validation

/// What `fit` prints, and what it records in the file.
struct FitText {
  private let report: FitReport
  private let rows: FitSamples
  private let files: FitFiles

  init(_ report: FitReport, _ rows: FitSamples, _ files: FitFiles) { (self.report, self.rows, self.files) = (report, rows, files) }

  /// Rows up to this number are named one by one.
  static let namedRows = 24

  /// The rows of a fit, as the hardware file names them, and the errors.
  func record(date: String?) -> String {
    let used = report.rows.map { rows.samples[$0] }
    let ids = used.map(\.row.id)
    var words: [String]
    if ids.count <= Self.namedRows {
      words = ["rows \(ids.joined(separator: ", "))"]
    } else {
      let tables = FitSamples.groups(used, atMost: .max)
      let isOneTable = Set(used.map(\.table)).count == 1
      let names = isOneTable ? ["\(ids.count) of \(used[0].table)"] : tables.map { "\($0.indices.count) of \($0.name)" }
      let digest = JSON.array(ids.map { .string($0) }).sha256.prefix(16)
      words = ["rows: \(names.joined(separator: ", ")) (SHA-256 of their ids \(digest))"]
    }
    words.append("mean error \(percent(report.after.mean)), unfitted \(percent((report.unfitted ?? report.before).mean))")
    if let leftOut = report.leftOut { words.append("\(percent(leftOut.mean)) on rows left out of the fit in \(report.folds.count) groups") }
    if let date { words.append(date) }
    return words.joined(separator: "; ")
  }

  /// With fewer, a factor of 1.5 of a constant weighs as much as every row's error.
  private static let fewRows = 10

  func lines(output: String?) -> [String] {
    var lines = ["\(counted(rows.samples.count, "row")), of which \(report.rows.count) are fitted on, in \(report.evaluations) evaluations"]
    if rows.samples.count < Self.fewRows {
      lines.append("  fewer than \(Self.fewRows) rows: constants stay near what they were, and errors of other steps are not known from these")
    }
    for (reason, count) in rows.leftOut { lines.append("  \(counted(count, "row")) left out: \(reason)") }
    var table = TextTable([
      ("constant", .left), ("before", .right), ("after", .right), ("range", .left), ("+-10 %", .right), ("what it is", .left),
    ])
    for constant in report.constants {
      let own = constant.constant
      let rise = constant.isTold ? RowsText.signed(constant.rise) : ""
      let remark = constant.isAtEnd ? "; at the end of its range" : ""
      let told = constant.isTold ? "" : "; the rows do not tell it"
      table.add(
        own.name, Self.text(own.value), constant.isFitted ? Self.text(constant.after) : "",
        "\(Self.text(own.constant.low)) to \(Self.text(own.constant.high))", rise, own.constant.meaning + remark + told)
    }
    lines += ["", "Constants", "  +-10 %: how much the mean error rises when the constant moves by so much"] + table.lines()
    var errors = TextTable([
      ("step time", .left), ("rows", .right), ("mean", .right), ("p95", .right), ("bias", .right), ("worst", .right), ("its row", .left),
    ])
    func add(_ name: String, _ figures: ErrorFigures?) {
      guard let figures else { return }
      errors.add(
        name, "\(figures.rows)", percent(figures.mean), percent(figures.p95), RowsText.signed(figures.bias), RowsText.signed(figures.worst.error),
        figures.worst.id)
    }
    add("unfitted", report.unfitted)
    add("before", report.before)
    add("after", report.after)
    add("left out", report.leftOut)
    lines += ["", "Errors", "  left out: rows with constants that were fitted without their group"] + errors.lines()
    if !report.folds.isEmpty {
      var table = TextTable([("group", .left), ("rows", .right), ("mean", .right), ("left out", .right), ("constants without it", .left)])
      for fold in report.folds {
        let values = fold.values.map { "\(report.constants[$0.constant].constant.name) \(Self.text($0.value))" }
        table.add(Self.short(fold.name), "\(fold.rows)", percent(fold.with.mean), percent(fold.without.mean), values.joined(separator: ", "))
      }
      lines += ["", "Groups left out"] + table.lines()
    } else {
      lines += ["", "no group was left out: the rows are of one model on as many devices, or --folds is 0"]
    }
    if !report.constants.contains(where: \.isFitted) { lines += ["", "no constant was fitted: the rows tell none"] }
    if let output { lines += ["", files.clusters.indices.compactMap { files.output(output, of: $0) }.joined(separator: "\n")] }
    return lines
  }

  func json(output: String?, record: String) -> JSON {
    func values(_ values: [(constant: Int, value: Double)]) -> JSON {
      .object(JSON.Object(values.map { (report.constants[$0.constant].constant.name, .double($0.value)) }))
    }
    let constants = report.constants.map { constant -> JSON in
      let own = constant.constant
      return [
        "name": .string(own.name), "before": .double(own.value), "after": .double(constant.after), "unfitted": .double(own.prior),
        "range": [.double(own.constant.low), .double(own.constant.high)], "is_fitted": .bool(constant.isFitted), "is_told": .bool(constant.isTold),
        "is_at_end": .bool(constant.isAtEnd), "error_rise_per_10_percent": .double(constant.rise),
        "movement_per_10_percent": .double(constant.movement),
        "meaning": .string(own.constant.meaning),
      ]
    }
    let folds = report.folds.map { fold -> JSON in
      [
        "group": .string(fold.name), "rows": .int(fold.rows), "constants": values(fold.values), "left_out": fold.without.json,
        "fitted": fold.with.json,
      ]
    }
    return [
      "rows": .int(rows.samples.count), "rows_fitted_on": .int(report.rows.count),
      "rows_left_out": .array(rows.leftOut.map { ["reason": .string($0.reason), "rows": .int($0.rows)] }),
      "constants": .array(constants), "before": report.before.json, "after": report.after.json, "unfitted": report.unfitted?.json ?? .null,
      "left_out": report.leftOut?.json ?? .null, "groups": .array(folds), "evaluations": .int(report.evaluations), "fitted_on": .string(record),
      "outputs": .array(output == nil ? [] : files.clusters.indices.compactMap { files.output(output, of: $0).map { .string($0) } }),
    ]
  }

  /// Up to three significant digits, without zeros behind the point.
  static func text(_ value: Double) -> String { JSON.double(Double(String(format: "%.3g", value)) ?? value).canonicalText }

  private static func short(_ name: String) -> String { name.count <= 40 ? name : name.prefix(37) + "..." }
}
