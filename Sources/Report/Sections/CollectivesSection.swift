// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

extension ReportFigures {
  private static let most = 15

  var collectivesSection: HTML {
    section(
      "collectives", "Collectives",
      lead: report.collectives.isEmpty
        ? "None: no rank sends anything."
        : "Bytes and time of one call; calls of one step, all copies, micro-batches and stages together. Those that take longest first."
    ) {
      if !report.collectives.isEmpty {
        table("What ranks exchange", report.collectives.prefix(Self.most))
        let rest = report.collectives.dropFirst(Self.most)
        if !rest.isEmpty { details("\(counted(rest.count, "more collective"))") { table("What else ranks exchange", rest) } }
      }
    }
  }

  private func table(_ caption: String, _ items: some Sequence<PlanReport.Collective>) -> HTML {
    var table = DataTable(
      caption,
      [
        .text("collective"), .text("all calls"), .text("why"), .text("axes"), .number("bytes"), .number("time"), .number("calls"),
        .number("all calls"),
      ])
    let longest = report.collectives.first?.timePerStep ?? .zero
    for item in items {
      let hue = Hue.ofCollective(item.part.kind)
      table.add(cells: [
        [chip(item.part.kind?.rawValue ?? "send", hue)],
        [Bar(parts: [.init(hue: hue, share: longest > .zero ? item.timePerStep / longest : 0, text: "\(item.timePerStep)")], height: 12).html(nil)],
        [.text(item.reason)], [.text(item.part.axes.map(String.init).joined(separator: ", "))], [.text("\(item.part.bytes)")],
        [.text("\(item.part.time)")], [.text("\(item.callsPerStep)")], [.text("\(item.timePerStep)")],
      ])
    }
    return table.html
  }
}
