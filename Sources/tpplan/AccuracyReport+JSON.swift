// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Validation

extension AccuracyReport {
  /// All figures; fractions, not percentages.
  var json: JSON {
    let totals = totals
    var object = JSON.Object([
      ("sets", .array(sets.map(\.json))), ("other_files", .array(otherFiles.map { .string($0) })),
      (
        "total",
        .object(
          JSON.Object([
            ("rows", .int(totals.rows)), ("step_time", totals.priced?.json ?? .null), ("groups", .int(totals.groups)),
            ("spearman", .figure(totals.spearman)), ("regret", .figure(totals.regret)), ("unfitted_mean", .figure(unfittedMean)),
          ]))
      ),
      ("constants", .array(constants.map(\.json))),
    ])
    if let leftOut { object["left_out"] = .array(leftOut.map(\.json)) }
    return .object(object)
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

extension FittedValue {
  fileprivate var json: JSON {
    [
      "hardware": .string(cluster), "device": device.map { .string($0) } ?? .null, "constant": .string(name), "value": .double(value),
      "unfitted": .double(unfitted), "range": [.double(range.low), .double(range.high)], "meaning": .string(range.meaning),
      "fitted_on": rows.map { .string($0) } ?? .null,
    ]
  }
}

extension LeftOutSet {
  fileprivate var json: JSON {
    [
      "device": .string(family), "set": .string(set), "rows": .int(rows),
      "fitted_on": .object(JSON.Object(others.map { ($0.set, .int($0.rows)) })),
      "constants": .object(JSON.Object(constants.map { ($0.name, .double($0.value)) })),
      "starting_from": .object(JSON.Object(constants.map { ($0.name, .double($0.prior)) })),
      "step_time": ordinary.json, "step_time_left_out": leftOut.json, "step_time_unfitted": unfitted.json,
    ]
  }
}

extension SetAccuracy {
  fileprivate var json: JSON {
    func times(_ times: Times?) -> JSON {
      times.map { .object(JSON.Object([("model", $0.model.json), ("naive", $0.naive.json)])) } ?? .null
    }
    var object = JSON.Object([
      ("name", .string(name)), ("rows", .int(rows)), ("step_time", times(priced)), ("step_time_searched", times(searched)),
      ("step_time_unfitted", unfitted?.json ?? .null), ("step_time_searched_unfitted", unfittedSearched?.json ?? .null),
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
