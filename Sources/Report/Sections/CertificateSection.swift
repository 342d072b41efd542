// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

extension ReportFigures {
  var certificateSection: HTML {
    let certificate = plan.certificate
    let meaning =
      switch certificate.status {
      case .optimal: "No plan of the space below takes less time, within \(certificate.tolerance)."
      case .timeLimit: "The best plan found in the time given; a better one may exist, but none of the space below takes less than the bound."
      case .given: "The configuration was given; nothing was compared with it, and nothing is proven."
      }
    return section("certificate", "Certificate", lead: meaning) {
      if certificate.status != .given && certificate.objective > .zero {
        let bound = certificate.lowerBound / certificate.objective
        figure("The lower bound beside the plan's step.") {
          Bar(
            parts: [
              .init(hue: .green, share: min(1, max(0, bound)), text: "lower bound \(certificate.lowerBound)"),
              .init(hue: .grey, share: max(0, 1 - bound), text: "gap", isHatched: true),
            ]
          ).html("The lower bound is \(percent(bound)) of the step.")
        }
      }
      summaryTable(certificate)
      if !certificate.space.isEmpty { spaceTable(certificate) }
    }
  }

  private func summaryTable(_ certificate: Certificate) -> HTML {
    var table = DataTable("What is proven", [.text(""), .text("")])
    table.add(["status", certificate.status.rawValue])
    table.add(["objective", "\(certificate.objective)"])
    if certificate.status != .given {
      table.add(["lower bound", "\(certificate.lowerBound)"])
      table.add(["gap", percent(certificate.gap)])
      table.add(["configurations priced", "\(certificate.priced)"])
      table.add(["pruned by their bounds", "\(certificate.pruned)"])
      table.add(["infeasible", "\(certificate.infeasible)"])
      table.add(["tolerance", certificate.tolerance])
    }
    return table.html
  }

  private func spaceTable(_ certificate: Certificate) -> HTML {
    var table = DataTable("The searched space", [.text("dimension"), .text("values")])
    for dimension in certificate.space { table.add([dimension.name, dimension.values]) }
    return table.html
  }

  var aboutSection: HTML {
    section("about", "About this plan") {
      var table = DataTable("What the plan was made for", [.text(""), .text("")])
      let _ = addRows(to: &table)
      table.html
      if !plan.assumptions.isEmpty {
        tag("h3") { "Assumed" }
        tag("ul") { for assumption in plan.assumptions { tag("li") { assumption } } }
      }
      if step.prediction.step != prediction.step {
        tag("p", ["class": "warning"]) {
          "The plan's file says that a step takes \(prediction.step); this version of the cost model says \(step.prediction.step). The time line is this version's, all other figures the file's."
        }
      }
    }
  }

  private func addRows(to table: inout DataTable) {
    table.add(["model", "\(graph.name), \(abbreviated(Double(graph.parameterCount))) parameters"])
    table.add(["hardware", plan.hardware.name])
    table.add(["source of the hardware's figures", plan.hardware.source])
    for kind in cluster.kinds where cluster.kindOfDevice.contains(where: { cluster.kinds[$0] == kind }) {
      let peaks = kind.peaks.map { "\($0.precision.rawValue) \($0.rate)" }.joined(separator: ", ")
      table.add(["device \(kind.name)", "\(peaks); \(kind.memory) at \(kind.memoryBandwidth), \(kind.reservedMemory) reserved"])
    }
    table.add(["job", jobText])
    table.add(["devices", "\(decision.ranks)" + (plan.idleDevices > 0 ? "; idle: \(plan.idleText)" : "")])
    table.add(["SHA-256 of the model", plan.modelSHA256])
    table.add(["SHA-256 of the hardware", plan.hardwareSHA256])
  }
}
