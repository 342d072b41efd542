// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import Planner
import Quantities
import Report

/// How far predicted steps lie from measured ones.
struct PredictionError {
  /// As a part of a step.
  let share: Double
  let source: String

  /// Of a machine that `calibrate` measured, 95 % of the plans in Benchmarks/local/results.md. Of others the mean of all measured steps in
  /// Documentation/accuracy.md, with constants that were fitted to some of them, or without.
  init(_ hardware: HardwareFile) {
    if hardware.calibration != nil {
      (share, source) = (0.056, "95 % of plans on a calibrated machine")
    } else if hardware.devices.allSatisfy({ $0.efficiency.fit != nil }) {
      (share, source) = (0.08, "mean of published measurements")
    } else {
      (share, source) = (0.22, "mean of published measurements where no constants are fitted, as in \(hardware.name)")
    }
  }
}

/// The optimum beside known plans.
struct Comparison {
  /// What a plan took on this machine.
  struct Measured {
    /// The median.
    let step: Seconds
    /// For what part of it the rank that waited most for a core had one; nil where that is not known.
    let coreShare: Double?
  }

  let best: PlanOutcome.Planned
  let known: [KnownPlan]
  let error: PredictionError
  /// Of the best, then of the known plans that there are; empty where nothing was run.
  var measured: [Measured] = []

  private typealias Row = (name: String, planned: PlanOutcome.Planned?, obstacle: String, measured: Measured?)

  private var rows: [Row] {
    var rest = measured[...]
    let first: Row = ("the best", best, "", rest.popFirst())
    return [first] + known.map { ($0.rule.rawValue, $0.planned, $0.obstacle ?? "", $0.planned == nil ? nil : rest.popFirst()) }
  }

  /// The fastest of the known plans.
  private var nearest: (name: String, ratio: Double)? {
    known.compactMap { plan in plan.planned.map { (plan.rule.rawValue, $0.prediction.step / best.prediction.step) } }.min { $0.1 < $1.1 }
  }

  func lines(_ style: TextStyle) -> [String] {
    var table = TextTable([
      ("", .left), ("step", .right), ("of the best", .right), ("memory", .right), ("measured", .right), ("of the best", .right), ("plan", .left),
    ])
    table.hasRemarks = true
    for row in rows {
      guard let planned = row.planned else {
        table.add(row.name, "-", "", "", "", "", row.obstacle)
        continue
      }
      table.add(
        row.name, "\(planned.prediction.step)", "\(rounded(planned.prediction.step / best.prediction.step))", "\(planned.prediction.memory)",
        row.measured.map { "\($0.step)" } ?? "", row.measured.flatMap { own in measured.first.map { "\(rounded(own.step / $0.step))" } } ?? "",
        planned.decision.splitText)
    }
    var lines = table.lines(style)
    if best.certificate.status != .optimal { lines.append("  The best is the best found in the time, not proven (--time-limit).") }
    if let nearest {
      let slower = "\(nearest.name) is \(percent(nearest.ratio - 1)) slower"
      lines += style.fit(
        nearest.ratio - 1 <= error.share
          ? "  \(slower), which is less than predictions are off (\(percent(error.share)): \(error.source)): it may be as good"
          : "  Of the others \(slower); predictions are off by \(percent(error.share)) (\(error.source))")
    } else {
      lines.append("  None of the others fits.")
    }
    return lines + measuredLines
  }

  /// Which plan was the fastest where all were run, and whether other work was in the way.
  private var measuredLines: [String] {
    guard let own = measured.first?.step else { return [] }
    var lines: [String] = []
    let run = rows.compactMap { row in row.measured.map { (name: row.name, step: $0.step) } }
    if let fastest = run.min(by: { $0.step < $1.step }), fastest.step < own {
      lines.append("  As measured here, \(fastest.name) is \(percent((own - fastest.step) / own)) faster than the best.")
    }
    let disturbed = measured.compactMap(\.coreShare).filter { $0 < 0.9 }
    if let least = disturbed.min() {
      lines.append(
        "  Disturbed: in \(disturbed.count) of \(counted(measured.count, "run")) a rank had its core for only a part of the time (\(percent(least)) in one): other processes, or "
          + "more ranks than cores, make measured times longer, and their order no answer.")
    }
    return lines
  }

  var json: JSON {
    let all = rows.map { row -> JSON in
      var object = JSON.Object([("name", .string(row.name))])
      if let planned = row.planned {
        object["step_seconds"] = .double(planned.prediction.step.value)
        object["memory_bytes_per_device"] = .double(planned.prediction.memory.value)
        object["plan"] = .string(planned.decision.splitText)
        object["measured_step_seconds"] = row.measured.map { .double($0.step.value) }
        object["measured_core_share"] = row.measured?.coreShare.map { .double($0) }
      } else {
        object["obstacle"] = .string(row.obstacle)
      }
      return .object(object)
    }
    return [
      "plans": .array(all), "status": .string(best.certificate.status.rawValue), "prediction_error": .double(error.share),
      "nearest": nearest.map { .string($0.name) } ?? .null, "is_within_error": .bool(nearest.map { $0.ratio - 1 <= error.share } ?? false),
    ]
  }
}
