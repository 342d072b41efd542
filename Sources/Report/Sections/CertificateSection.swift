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
      if certificate.status == .timeLimit && certificate.objective > .zero {
        let bound = certificate.lowerBound / certificate.objective
        figure("The lower bound beside the plan's step.") {
          Bar(
            parts: [
              .init(hue: .green, share: min(1, max(0, bound)), text: "lower bound \(certificate.lowerBound)"),
              .init(hue: .grey, share: max(0, 1 - bound), text: "gap", look: .hatched),
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
      table.add(["configurations priced", grouped(certificate.priced)])
      table.add(["excluded by their bounds", grouped(certificate.pruned)])
      table.add(["infeasible", grouped(certificate.infeasible)])
      table.add(["tolerance", certificate.tolerance])
    }
    return table.html
  }

  private func spaceTable(_ certificate: Certificate) -> HTML {
    var table = DataTable("The searched space", [.text("dimension"), .text("values")])
    for dimension in certificate.space {
      // A list of hundreds of meshes is for who asks for it.
      let values = dimension.values.split(separator: " ")
      let isLong = values.count > 40 && values.allSatisfy { $0.first?.isNumber ?? false }
      table.add(cells: [
        [.text(dimension.name)],
        [isLong ? details("\(values.count) values") { dimension.values } : .text(dimension.values)],
      ])
    }
    return table.html
  }

  var aboutSection: HTML {
    section("about", "About this plan") {
      var table = DataTable("What the plan was made for", [.text(""), .text("")])
      let _ = addRows(to: &table)
      table.html
      tag("h3") { "Assumed" }
      tag("ul") { for assumption in plan.assumptions + software { tag("li") { prose(assumption) } } }
      tag("h3") { "To search again" }
      tag("p") {
        tag("code") { command }
        certificateSpaceIsNarrower ? ", with what the searched space says was given." : "."
      }
      if step.prediction.step != prediction.step {
        tag("p", ["class": "warning"]) {
          "The plan's file says that a step takes \(prediction.step); this version of the cost model says \(step.prediction.step). The time line is this version's, all other figures the file's."
        }
      }
    }
  }

  /// What the program that trains is taken to do; a job's own remarks are in its line.
  private var software: [String] {
    let own = job.software
    let gradients =
      switch own.gradients {
      case .accumulated: "gradients are added up in fp32"
      case .working: "gradients are in the number format of the weights"
      case .both: "gradients are in the number format of the weights, and in fp32"
      }
    var found = [
      own.attention == .fused
        ? "attention in blocks: the scores are never whole in memory" : "unfused attention: the score matrix is written, and kept for backward"
    ]
    guard job.mode == .train else { return found }
    found += [
      own.crossEntropy == .fused ? "one kernel for the cross-entropy, and one for its gradient" : "a kernel for each step of the cross-entropy",
      gradients,
      own.overlap == .none
        ? "no collective is hidden behind computing, but blocks on their way around a ring"
        : "the exchange of weights and their gradients is hidden behind the products of the same weights, as far as they go",
      own.updates == .afterBackward ? "weights are updated when the backward pass is over" : "weights are updated within the backward pass",
    ]
    if decision.groups > 1 {
      found.append(own.boundaries == .whole ? "each rank sends all of a stage's result" : "each rank sends a share of a stage's result")
    }
    return found
  }

  /// Words that belong together stay on one line.
  private var command: [HTML] {
    var words = ["tpplan search MODEL HARDWARE", "--devices \(decision.ranks + plan.idleDevices)", "--batch \(job.batch)"]
    if let sequence = job.sequence { words.append("--seq \(sequence)") }
    words.append("--dtype \(job.precision.rawValue)")
    if job.mode != .train { words.append("--mode \(job.mode.rawValue)") }
    if job.mode == .train && job.optimizer != .adamw { words.append("--optimizer \(job.optimizer.rawValue)") }
    return words.enumerated().flatMap { number, word in
      [.text(number == 0 ? "" : " "), tag("span", ["style": "white-space:nowrap"]) { word }]
    }
  }

  private var certificateSpaceIsNarrower: Bool { plan.certificate.space.contains { $0.values.hasPrefix("given") } }

  private func addRows(to table: inout DataTable) {
    table.add(["model", "\(graph.name), \(abbreviated(Double(graph.parameterCount))) parameters"])
    table.add(["hardware", plan.hardware.name])
    table.add(cells: [[.text("source of the hardware's figures")], prose(plan.hardware.source)])
    for kind in cluster.kinds where cluster.kindOfDevice.contains(where: { cluster.kinds[$0] == kind }) {
      let peaks = kind.peaks.map { "\($0.precision.rawValue) \($0.rate)" }.joined(separator: ", ")
      table.add(["device \(kind.name)", "\(peaks); \(kind.memory) at \(kind.memoryBandwidth), \(kind.reservedMemory) reserved"])
    }
    table.add(["job", jobText])
    table.add(["micro-batches", "\(grouped(job.microBatches)), each of \(many(job.batch / job.microBatches, "sample"))"])
    table.add(["devices", grouped(decision.ranks) + (plan.idleDevices > 0 ? "; idle: \(plan.idleText)" : "")])
    table.add(["SHA-256 of the model", plan.modelSHA256])
    table.add(["SHA-256 of the hardware", plan.hardwareSHA256])
    table.add(["page written by", program])
  }
}
