// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Plans
import Quantities
import Strategies

extension ReportFigures {
  var alternativesSection: HTML {
    section("alternatives", searched == nil ? "Sensitivity: one choice changed, nothing re-optimised" : "Alternatives", lead: compared) {
      if let searched {
        tag("p") {
          "The best plan with each other value of a choice: searched with that value fixed and all else free, so that it says why the plan's own was chosen. Bars show how much longer the step is, up to half as long again; red ones do not fit."
        }
        for choice in searched.choices { table(of: choice) }
        for remark in searched.remarks { tag("p", ["class": "note"]) { remark } }
        tag("h3") { "One choice changed, nothing re-optimised" }
      }
      if changes.isEmpty {
        tag("p") { "No choice around the operators can be made otherwise by itself." }
      } else {
        tag("p") {
          "This plan with one choice changed and all others as they are, priced again: how much depends on the choice here. It is no verdict on the other value: the best plan that has it may be much better."
        }
        changesTable
      }
      further
    }
  }

  private var further: HTML {
    tag("p") {
      if searched == nil {
        "Why not another mesh, number of stages, schedule or number of devices: "
        tag("code") { "tpplan explain PLAN" }
        " searches with each fixed, and "
        tag("code") { "tpplan report PLAN --explain" }
        " writes that here. "
      }
      "What the other splits of an operator or a layer would make of the step: "
      tag("code") { "tpplan explain PLAN NAME" }
      ". The next best configurations: "
      tag("code") { "tpplan search … --top 5" }
      "."
    }
  }

  private var compared: String {
    let certificate = plan.certificate
    if certificate.status == .given { return "The configuration was given; the search compared it with nothing." }
    return
      "The search solved \(many(certificate.priced, "configuration")); \(grouped(certificate.pruned)) more are excluded by the bounds of their steps, and \(grouped(certificate.infeasible)) do not fit."
  }

  // MARK: - Searched

  private func table(of choice: SearchedAlternatives.Choice) -> HTML {
    var table = Self.table("\(choice.name): the plan has \(choice.own)", ["best plan with it"])
    add(to: &table, choice.own, prediction, notes: ["this plan"], [decision.splitText], style: "own")
    for value in choice.others {
      guard let prediction = value.prediction else {
        table.add([value.name, "", "–", "–", "–", "–", value.note, value.plan])
        continue
      }
      add(to: &table, value.name, prediction, notes: [value.note], [value.plan])
    }
    return table.html
  }

  // MARK: - Priced

  private var changesTable: HTML {
    var table = Self.table("The plan with one choice made otherwise, nothing re-optimised", [])
    add(to: &table, "this plan", prediction, notes: [], [], style: "own")
    for change in changes {
      add(to: &table, name(of: change.choice), change.prediction, notes: isSearched(change.choice) ? [] : ["outside of the searched space"], [])
    }
    return table.html
  }

  /// The lines at which bars begin stand below each other in all tables.
  private static func table(_ caption: String, _ further: [String]) -> DataTable {
    DataTable(
      caption,
      [
        .text("choice", width: 150), .text("step, beside this plan's", width: 150), .number("step", width: 75), .number("difference", width: 98),
        .number("memory", width: 80), .number("of the limit", width: 70), .text("remark", width: 215),
      ] + further.map { .text($0, width: 258) })
  }

  private func add(
    to table: inout DataTable, _ name: String, _ prediction: Prediction, notes: [String], _ further: [String], style: String? = nil
  ) {
    let difference = share(prediction.step - self.prediction.step)
    let fits = (0..<prediction.groups).allSatisfy { prediction.memory(ofGroup: $0).total <= prediction.memoryLimit(ofGroup: $0) }
    let limit = prediction.memoryLimit
    let remarks = (fits ? [] : ["does not fit"]) + notes.filter { !$0.isEmpty }
    table.add(
      cells: [
        [.text(name)], [DifferenceBar(share: difference, hue: fits ? .blue : .red).html], [.text("\(prediction.step)")],
        [.text(style == "own" ? "–" : signed(difference))], [.text("\(prediction.memory)")],
        [.text(limit > .zero ? roughly(prediction.memory / limit) : "")], [.text(remarks.joined(separator: ", "))],
      ] + further.map { [.text($0)] }, style: style)
  }

  private func signed(_ share: Double) -> String {
    share == 0 ? "0 %" : abs(share) < 0.0005 ? (share < 0 ? "> −0.1 %" : "< +0.1 %") : (share < 0 ? "−" : "+") + roughly(abs(share))
  }

  private func name(of choice: SingleChange.Choice) -> String {
    switch choice {
    case .microBatches(let count): "\(count) micro-batches of \(job.batch / count)"
    case .schedule(let kind): "schedule \(kind.rawValue)"
    case .recompute(let kind): kind == .none ? "nothing computed again" : "recompute \(kind.rawValue) in all layers"
    case .zero(let stage): stage == .none ? "no weights shared out (ZeRO 0)" : "ZeRO \(stage.rawValue) wherever weights allow"
    }
  }

  /// Whether the certificate's space has the value; true where it does not say.
  private func isSearched(_ choice: SingleChange.Choice) -> Bool {
    let (dimension, value) =
      switch choice {
      case .microBatches(let count): ("micro-batches", "\(count)")
      case .schedule(let kind): ("schedules", kind.rawValue)
      case .recompute(let kind): ("recompute", kind.rawValue)
      case .zero(let stage): ("ZeRO stages", "\(stage.rawValue)")
      }
    guard let values = plan.certificate.space.first(where: { $0.name == dimension })?.values else { return true }
    return values.split { " ,:".contains($0) }.contains { $0 == value }
  }
}
