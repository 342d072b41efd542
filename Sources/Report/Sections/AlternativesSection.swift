// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Plans
import Quantities
import Strategies

extension ReportFigures {
  var alternativesSection: HTML {
    section("alternatives", "Alternatives", lead: compared) {
      if changes.isEmpty {
        tag("p") { "No choice around the operators can be made otherwise by itself." }
      } else {
        tag("h3") { "One choice made otherwise" }
        tag("p") {
          "The same plan with one choice changed and all others as they are, priced again, not searched: what the choice is worth here. A search with the choice fixed may find better ones around it."
        }
        changesTable
      }
      tag("p") {
        "What the other splits of a layer would make of the step: "
        tag("code") { "tpplan inspect PLAN --layer NAME" }
        ". The next best configurations: "
        tag("code") { "tpplan search … --top 5" }
        "."
      }
    }
  }

  private var compared: String {
    let certificate = plan.certificate
    if certificate.status == .given { return "The configuration was given; the search compared it with nothing." }
    return
      "The search priced \(counted(certificate.priced, "configuration")), excluded \(certificate.pruned) by their bounds, and found \(certificate.infeasible) that do not fit."
  }

  private var changesTable: HTML {
    let longest = max(prediction.step, changes.map(\.prediction.step).max() ?? .zero)
    var table = DataTable(
      "The plan with one choice made otherwise",
      [.text("choice"), .text("step"), .number("step"), .number("difference"), .number("memory"), .number("of the limit"), .text("fits")])
    func add(_ name: String, _ prediction: Prediction, style: String? = nil) {
      let difference = prediction.step - self.prediction.step
      let share = self.prediction.step > .zero ? difference / self.prediction.step : 0
      let fits = (0..<prediction.groups).allSatisfy { prediction.memory(ofGroup: $0).total <= prediction.memoryLimit(ofGroup: $0) }
      let limit = prediction.memoryLimit
      table.add(
        cells: [
          [.text(name)],
          [
            Bar(
              parts: [.init(hue: fits ? .blue : .red, share: longest > .zero ? prediction.step / longest : 0, text: "\(prediction.step)")], height: 12
            ).html(nil)
          ],
          [.text("\(prediction.step)")], [.text(style == "own" ? "–" : (share < 0 ? "" : "+") + percent(share))], [.text("\(prediction.memory)")],
          [.text(limit > .zero ? percent(prediction.memory / limit) : "")], [.text(fits ? "yes" : "no")],
        ], style: style)
    }
    add("this plan", prediction, style: "own")
    for change in changes { add(name(of: change.choice), change.prediction) }
    return table.html
  }

  private func name(of choice: SingleChange.Choice) -> String {
    switch choice {
    case .microBatches(let count): "\(count) micro-batches of \(job.batch / count)"
    case .schedule(let kind): "schedule \(kind.rawValue)"
    case .recompute(let kind): kind == .none ? "nothing computed again" : "recompute \(kind.rawValue) in all layers"
    case .zero(let stage): stage == .none ? "no weights shared out (ZeRO 0)" : "ZeRO \(stage.rawValue) wherever weights allow"
    }
  }
}
