// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

extension ReportFigures {
  private static let most = 15

  /// A collective that occurs at several places is one row: layers of several kinds have each their own.
  struct CollectiveRow {
    let item: PlanReport.Collective
    /// For each group of devices, its calls in a step.
    var callsOfGroups: [Int]

    /// The group that makes most of the calls.
    var group: Int { callsOfGroups.indices.max { callsOfGroups[$0] < callsOfGroups[$1] } ?? 0 }
    /// Of one device of that group.
    var calls: Int { callsOfGroups.max() ?? 0 }
    var time: Seconds { item.part.time * calls }

    fileprivate func isLike(_ other: PlanReport.Collective) -> Bool {
      let (a, b) = (item.part, other.part)
      return (a.cause, a.kind, a.bytes, a.time) == (b.cause, b.kind, b.bytes, b.time) && a.axes == b.axes && item.reason == other.reason
    }
  }

  /// Those that take most of a device's step first.
  var collectiveRows: [CollectiveRow] {
    var rows: [CollectiveRow] = []
    for item in report.collectives {
      let calls = (0..<decision.groups).map {
        item.part.calls(at: decision.places(of: item.part, onGroup: $0), microBatches: job.microBatches)
      }
      if let known = rows.firstIndex(where: { $0.isLike(item) }) {
        for group in calls.indices { rows[known].callsOfGroups[group] += calls[group] }
      } else {
        rows.append(CollectiveRow(item: item, callsOfGroups: calls))
      }
    }
    return rows.enumerated().sorted { a, b in (b.element.time, a.offset) < (a.element.time, b.offset) }.map(\.element)
  }

  var collectivesSection: HTML {
    let rows = collectiveRows
    let (messages, collectives) = (rows.filter(\.item.part.travelsBesides), rows.filter { !$0.item.part.travelsBesides })
    return section("collectives", "Collectives", lead: collectivesLead) {
      if !collectives.isEmpty {
        table("What ranks exchange", collectives.prefix(Self.most))
        let rest = collectives.dropFirst(Self.most)
        if !rest.isEmpty { details("\(counted(rest.count, "more collective"))") { table("What else ranks exchange", rest) } }
      }
      if !messages.isEmpty {
        tag("h3") { "Messages" }
        tag("p") {
          "These travel while devices compute, so that their time is not time of the step by itself: where a stage has to wait for one, that is part of its waiting; where a block on its way around a ring takes longer than the work beside it, the rest is part of the operator."
        }
        table("Messages between neighbours", messages)
      }
    }
  }

  private var collectivesLead: String {
    if report.collectives.isEmpty { return "None: no rank sends anything." }
    let stage = decision.groups > 1 ? ", on the stage that makes most of them" : ""
    let overlap =
      job.software.overlap == .weights ? " Those of weights and their gradients hide behind the products of the same weights, as far as they go." : ""
    return
      "Bytes and time of one call; calls of one device in a step, all copies and micro-batches together\(stage), and what they take of the step. The longest first.\(overlap) A layout has a letter for each mesh axis: R whole on every device, S0 split along the first dimension, P a sum that is still in parts."
  }

  private func table(_ caption: String, _ rows: some Sequence<CollectiveRow>) -> HTML {
    var table = DataTable(
      caption,
      [
        .text("collective"), .text("of the step"), .text("why"), .text("mesh axes"), .number("bytes"), .number("one call"),
        .number("calls of a device"), .number("all its calls"), .number("of the step"),
      ])
    for row in rows {
      let item = row.item
      let hue = Hue.collective
      table.add(cells: [
        [chip(item.part.name(in: decision), hue)],
        [Bar(parts: [.init(hue: hue, share: min(1, share(row.time)), text: "\(row.time)")], height: 12).html(nil)],
        [.text(item.reason)], [.text(item.part.axes.map(String.init).joined(separator: ", "))], [.text("\(item.part.bytes)")],
        [.text("\(item.part.time)")], [.text(grouped(row.calls))], [.text("\(row.time)")], [.text(roughly(share(row.time)))],
      ])
    }
    return table.html
  }
}
