// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

extension ReportFigures {
  private static let most = 15

  /// A collective that occurs at several places is one row: layers of several kinds have each their own.
  struct CollectiveRow {
    let item: PlanReport.Collective
    var calls: Int

    var time: Seconds { item.part.time * calls }
    fileprivate func isLike(_ other: PlanReport.Collective) -> Bool {
      let (a, b) = (item.part, other.part)
      return (a.cause, a.kind, a.bytes, a.time) == (b.cause, b.kind, b.bytes, b.time) && a.axes == b.axes && item.reason == other.reason
    }
  }

  var collectiveRows: [CollectiveRow] {
    var rows: [CollectiveRow] = []
    for item in report.collectives {
      if let known = rows.firstIndex(where: { $0.isLike(item) }) {
        rows[known].calls += item.callsPerStep
      } else {
        rows.append(CollectiveRow(item: item, calls: item.callsPerStep))
      }
    }
    return rows.enumerated().sorted { a, b in (b.element.time, a.offset) < (a.element.time, b.offset) }.map(\.element)
  }

  var collectivesSection: HTML {
    let rows = collectiveRows
    return section(
      "collectives", "Collectives",
      lead: report.collectives.isEmpty
        ? "None: no rank sends anything."
        : "Bytes and time of one call; calls of one step, all copies, micro-batches and stages together. Those that take longest first."
    ) {
      if !report.collectives.isEmpty {
        table("What ranks exchange", rows.prefix(Self.most), longest: rows[0].time)
        let rest = rows.dropFirst(Self.most)
        if !rest.isEmpty { details("\(counted(rest.count, "more collective"))") { table("What else ranks exchange", rest, longest: rows[0].time) } }
      }
    }
  }

  private func table(_ caption: String, _ rows: some Sequence<CollectiveRow>, longest: Seconds) -> HTML {
    var table = DataTable(
      caption,
      [
        .text("collective"), .text("all calls"), .text("why"), .text("axes"), .number("bytes"), .number("time"), .number("calls"),
        .number("all calls"),
      ])
    for row in rows {
      let item = row.item
      let hue = Hue.collective
      table.add(cells: [
        [chip(item.part.kind?.rawValue ?? "send", hue)],
        [Bar(parts: [.init(hue: hue, share: longest > .zero ? row.time / longest : 0, text: "\(row.time)")], height: 12).html(nil)],
        [.text(item.reason)], [.text(item.part.axes.map(String.init).joined(separator: ", "))], [.text("\(item.part.bytes)")],
        [.text("\(item.part.time)")], [.text("\(row.calls)")], [.text("\(row.time)")],
      ])
    }
    return table.html
  }
}
