// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Validation

/// What `validate` prints.
struct AccuracyText {
  private(set) var lines: [String] = []
  private let style: TextStyle

  init(_ report: AccuracyReport, style: TextStyle = .plain) {
    self.style = style
    addTimes(report)
    addConstants(report)
    addLeftOut(report)
    addRanks(report)
    addMemory(report)
    addRest(report)
  }

  private mutating func section(_ heading: String, _ remark: String, _ table: TextTable) {
    if table.isEmpty { return }
    if !lines.isEmpty { lines.append("") }
    lines.append(style.heading(heading))
    lines += ["  " + remark] + table.lines()
  }

  private mutating func addTimes(_ report: AccuracyReport) {
    var table = TextTable([
      ("set", .left), ("rows", .right), ("mean", .right), ("p95", .right), ("bias", .right), ("worst", .right), ("its row", .left),
      ("unfitted", .right), ("naive mean", .right), ("another's", .right),
    ])
    func add(_ name: String, _ figures: ErrorFigures, unfitted: Double?, naive: ErrorFigures?, peer: (name: String, figures: ErrorFigures)?) {
      table.add(
        name, "\(figures.rows)", percent(figures.mean), percent(figures.p95), RowsText.signed(figures.bias), RowsText.signed(figures.worst.error),
        figures.worst.id, unfitted.map { percent($0) } ?? "", naive.map { percent($0.mean) } ?? "",
        peer.map { "\(percent($0.figures.mean)) (\($0.name))" } ?? "")
    }
    for set in report.sets {
      if let times = set.priced { add(set.name, times.model, unfitted: set.unfitted?.mean, naive: times.naive, peer: set.peer) }
      if let times = set.searched { add("\(set.name), searched", times.model, unfitted: set.unfittedSearched?.mean, naive: times.naive, peer: nil) }
    }
    if let total = report.totals.priced { add("all but searched", total, unfitted: report.unfittedMean, naive: nil, peer: nil) }
    section("Step time", "errors are predicted / measured - 1; mean and p95 of their sizes; searched: rows that leave their split open", table)
  }

  private mutating func addConstants(_ report: AccuracyReport) {
    var table = TextTable([
      ("hardware", .left), ("constant", .left), ("value", .right), ("unfitted", .right), ("range", .left), ("what it is", .left),
    ])
    for value in report.constants {
      let range = "\(FitText.text(value.range.low)) to \(FitText.text(value.range.high))"
      table.add(value.cluster, value.name, FitText.text(value.value), FitText.text(value.unfitted), range, value.range.meaning)
    }
    section("Fitted constants", "of the hardware files, which name the rows", table)
  }

  private mutating func addLeftOut(_ report: AccuracyReport) {
    var table = TextTable([
      ("device", .left), ("set", .left), ("rows", .right), ("mean", .right), ("left out", .right), ("unfitted", .right),
      ("constants without it", .left),
    ])
    for set in report.leftOut ?? [] {
      let values = set.constants.map { "\($0.name) \(FitText.text($0.value))" }.joined(separator: ", ")
      table.add(
        set.family, set.set, "\(set.rows)", percent(set.ordinary.mean), percent(set.leftOut.mean),
        report.constants.isEmpty ? "" : percent(set.unfitted.mean), values)
    }
    section("Sets left out", "mean errors on a set: as above, with constants fitted on the other sets of the device alone, and unfitted", table)
  }

  private mutating func addRanks(_ report: AccuracyReport) {
    var table = TextTable([
      ("set", .left), ("jobs", .right), ("Spearman", .right), ("naive", .right), ("regret", .right), ("naive", .right), ("worst", .right),
      ("its job", .left),
    ])
    func add(_ name: String, _ groups: [SetAccuracy.Group]) {
      guard let worst = groups.max(by: { $0.model.regret < $1.model.regret }) else { return }
      func spearman(_ figures: [RankFigures]) -> String { AccuracyReport.mean(figures.compactMap(\.spearman)).map { rounded($0) } ?? "" }
      func regret(_ figures: [RankFigures]) -> String { AccuracyReport.mean(figures.map(\.regret)).map { percent($0) } ?? "" }
      table.add(
        name, "\(groups.count)", spearman(groups.map(\.model)), spearman(groups.map(\.naive)), regret(groups.map(\.model)),
        regret(groups.map(\.naive)),
        percent(worst.model.regret), worst.name)
    }
    for set in report.sets { add(set.name, set.groups) }
    if report.sets.count(where: { !$0.groups.isEmpty }) > 1 { add("all", report.sets.flatMap(\.groups)) }
    section(
      "Ranking",
      "of splits of one job, those that fit first; regret: how much slower the split predicted fastest, of those that fit, is than the fastest, in the mean and at worst",
      table)
  }

  private mutating func addMemory(_ report: AccuracyReport) {
    var table = TextTable([
      ("set", .left), ("rows", .right), ("mean, GB", .right), ("bias", .right), ("mean, GiB", .right), ("bias", .right), ("out of memory", .left),
      ("false alarms", .left),
    ])
    for set in report.sets where set.memory != nil || set.outOfMemory.rows > 0 || set.ran.rows > 0 {
      let memory = set.memory
      table.add(
        set.name, memory.map { "\($0.decimal.rows)" } ?? "", memory.map { percent($0.decimal.mean) } ?? "",
        memory.map { RowsText.signed($0.decimal.bias) } ?? "", memory.map { percent($0.binary.mean) } ?? "",
        memory.map { RowsText.signed($0.binary.bias) } ?? "",
        set.outOfMemory.rows > 0 ? "\(set.outOfMemory.caught) of \(set.outOfMemory.rows) predicted" : "",
        set.ran.rows > 0 ? "\(set.ran.falseAlarms) of \(set.ran.rows) that ran" : "")
    }
    section("Memory", "published figures taken for units of 10^9 bytes, and for units of 2^30", table)
  }

  private mutating func addRest(_ report: AccuracyReport) {
    var table = TextTable([("set", .left), ("rows", .right), ("what", .left)])
    for set in report.sets {
      for (source, rows) in set.sources where source != .published { table.add(set.name, "\(rows)", "time from \(source.rawValue)") }
      for (text, rows) in set.assumptions { table.add(set.name, "\(rows)", "assumed: \(text)") }
      if set.withoutTime > 0 { table.add(set.name, "\(set.withoutTime)", "priced, and no time to compare with") }
      for (reason, ids) in set.skipped { table.add(set.name, "\(ids.count)", "skipped: \(reason)") }
    }
    section("Remarks", "what was assumed or worked out, and what is not compared", table)
    if !report.otherFiles.isEmpty { lines += ["", "no rows of runs: \(report.otherFiles.joined(separator: ", "))"] }
  }
}
