// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Validation

extension AccuracyReport {
  /// All figures; fractions, not percentages.
  var json: JSON {
    let totals = totals
    return .object(
      JSON.Object([
        ("sets", .array(sets.map(\.json))), ("other_files", .array(otherFiles.map { .string($0) })),
        (
          "total",
          .object(
            JSON.Object([
              ("rows", .int(totals.rows)), ("step_time", totals.priced?.json ?? .null), ("groups", .int(totals.groups)),
              ("spearman", .figure(totals.spearman)), ("regret", .figure(totals.regret)),
            ]))
        ),
      ]))
  }
}

extension JSON {
  fileprivate static func figure(_ value: Double?) -> JSON { value.map { .double($0) } ?? .null }
}

extension ErrorFigures {
  var json: JSON {
    .object(
      JSON.Object([
        ("rows", .int(rows)), ("mean", .double(mean)), ("p95", .double(p95)), ("bias", .double(bias)), ("worst", .double(worst.error)),
        ("worst_id", .string(worst.id)),
      ]))
  }
}

extension SetAccuracy {
  fileprivate var json: JSON {
    func times(_ times: Times?) -> JSON {
      times.map { .object(JSON.Object([("model", $0.model.json), ("naive", $0.naive.json)])) } ?? .null
    }
    var object = JSON.Object([
      ("name", .string(name)), ("rows", .int(rows)), ("step_time", times(priced)), ("step_time_searched", times(searched)),
      ("rows_without_time", .int(withoutTime)),
    ])
    object["time_sources"] = .array(sources.map { .object(JSON.Object([("source", .string($0.source.rawValue)), ("rows", .int($0.rows))])) })
    if let peer { object["peer"] = .object(JSON.Object([("name", .string(peer.name)), ("step_time", peer.figures.json)])) }
    object["ranking"] = ranking
    object["memory_as_GB"] = memory?.decimal.json ?? .null
    object["memory_as_GiB"] = memory?.binary.json ?? .null
    object["out_of_memory"] = .object(
      JSON.Object([
        ("rows", .int(outOfMemory.rows)), ("caught", .int(outOfMemory.caught)), ("rows_that_ran", .int(ran.rows)),
        ("false_alarms", .int(ran.falseAlarms)),
      ]))
    object["skipped"] = .array(
      skipped.map { .object(JSON.Object([("reason", .string($0.reason)), ("ids", .array($0.ids.map { .string($0) }))])) })
    object["assumptions"] = .array(assumptions.map { .object(JSON.Object([("text", .string($0.text)), ("rows", .int($0.rows))])) })
    return .object(object)
  }

  private var ranking: JSON {
    func one(_ group: Group) -> JSON {
      .object(
        JSON.Object([
          ("group", .string(group.name)), ("rows", .int(group.model.rows)), ("spearman", .figure(group.model.spearman)),
          ("regret", .double(group.model.regret)), ("naive_spearman", .figure(group.naive.spearman)), ("naive_regret", .double(group.naive.regret)),
        ]))
    }
    func means(_ figures: [RankFigures]) -> [(String, JSON)] {
      [
        ("spearman", .figure(AccuracyReport.mean(figures.compactMap(\.spearman)))), ("regret", .figure(AccuracyReport.mean(figures.map(\.regret)))),
        ("worst_regret", .figure(figures.map(\.regret).max())),
      ]
    }
    return .object(
      JSON.Object([
        ("groups", .array(groups.map(one))), ("model", .object(JSON.Object(means(groups.map(\.model))))),
        ("naive", .object(JSON.Object(means(groups.map(\.naive))))),
      ]))
  }
}
