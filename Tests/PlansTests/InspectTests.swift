// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Lowering
import ModelGraph
import Planner
import Quantities
import Report
import Strategies
import Testing

@testable import Plans
@testable import tpplan

@Suite struct InspectTests {
  @Test("Differential: the collectives that inspect counts are those in the ranks' programs", arguments: [1, 2])
  func callsPerStep(chunks: Int) throws {
    let plan = try chunks == 1 ? tinyPipeline() : tinyInterleaved()
    var inPrograms: [String: Int] = [:]
    for stage in 0..<plan.decision.groups {
      let program = Lowering.program(for: plan.decision, rank: plan.decision.ranks(ofGroup: stage).lowerBound)
      for instruction in program.instructions {
        switch instruction {
        case .reshard(let step, _, _): if let kind = step.collective { inPrograms[kind.rawValue, default: 0] += 1 }
        case .reduceGradient: inPrograms["gradient", default: 0] += 1
        case .gatherParameter(let index, _, let whole):
          inPrograms[whole == program.parameters[index].value ? "updated" : "weights", default: 0] += 1
        case .scatterGradient(let index, _, let whole):
          inPrograms[whole == program.parameters[index].gradient ? "gradient" : "parts", default: 0] += 1
        case .reduceTied: inPrograms["tied", default: 0] += 1
        case .send: inPrograms["boundary", default: 0] += 1
        // Three all-reduces inside a loss whose vocabulary is split.
        case .kernel(let call):
          let rule = program.rules[call.op]
          for interior in rule.interior where program.strategies[call.op].assignment.contains(interior.axis) {
            inPrograms["interior", default: 0] += call.phase == .backward ? interior.backwardCount : interior.count
          }
        default: break
        }
      }
    }
    var inReport: [String: Int] = [:]
    for item in try PlanReport(plan).collectives {
      switch item.part.cause {
      case .forward, .backward: inReport[item.part.kind?.rawValue ?? "", default: 0] += item.callsPerStep
      default: inReport[item.part.cause.rawValue, default: 0] += item.callsPerStep
      }
    }
    #expect(inReport == inPrograms)
    #expect(Set(inReport.keys).isSuperset(of: ["gradient", "tied", "boundary"]))
    #expect(chunks == 2 || inReport.keys.contains("all-gather"))
  }

  /// A choice that the search left open, and a plan whose other choices it made.
  private func mlp() throws -> Plan {
    try plan(modelDocument("mlp"), hardware: "dgx-a100", devices: 4, batch: 8, sequence: 128) {
      $0.mesh = [4]
      $0.microBatches = 1
    }
  }

  @Test("Oracle: no strategy of a layer beats the proven one, and the proven one gives the plan's own step")
  func alternatives() throws {
    let plan = try mlp()
    let report = try LayerReport(plan, layer: "mlp.fc_out")
    let all = Strategy.all(for: report.rule, mesh: plan.decision.mesh)
    #expect(report.alternatives.count == all.count - 1 && !report.alternatives.contains { $0.choice.assignment == report.chosen.assignment })
    for alternative in report.alternatives {
      guard case .step(let time, let isProven) = alternative.result else {
        Issue.record("\(alternative) has no step")
        continue
      }
      #expect(isProven && time.value >= plan.prediction.step.value * (1 - 1e-6))
    }
    var request = try plan.request()
    request.constraints = [StrategyConstraint(operator: "mlp.fc_out", strategy: report.chosen, rule: report.rule)]
    guard case .planned(let again) = try Planner.search(request) else { throw NoPlan() }
    #expect(again.prediction.step == plan.prediction.step)
  }

  @Test("Differential: what little time tells of a layer's strategies is what more time tells; the rest is said to be unknown")
  func alternativesInTime() throws {
    let plan = try mlp()
    let all = try LayerReport(plan, layer: "mlp.fc_out").alternatives
    for seconds in [0, 0.01, 0.05] {
      let report = try LayerReport(plan, layer: "mlp.fc_out", seconds: seconds)
      #expect(report.alternatives.count == all.count)
      for item in report.alternatives {
        let whole = try #require(all.first { $0.choice.assignment == item.choice.assignment })
        guard case .step(let best, _) = whole.result else { continue }
        switch item.result {
        case .step(let time, let isProven): #expect(isProven ? time == best : time >= best)
        case .atLeast(let bound): #expect(bound <= best)
        case .tooMuchMemory, .noCommonLayout, .impossible: Issue.record("\(item) has a step of \(best)")
        }
      }
      let unknown = report.alternatives.count { !$0.result.isFinal }
      #expect(report.lines(.plain).last?.hasPrefix("  \(unknown) of \(all.count) alternatives") == (unknown > 0) || all.count == 1)
      #expect(seconds > 0 || unknown == all.count)
    }
  }

  @Test("Alternatives that do not fit say by how much")
  func impossible() throws {
    // 16.8 M parameters at 18 bytes (bf16, fp32 gradient, master and two moments) are 0.28 GiB: shared out over four devices they fit a device of
    // 0.1 GiB, but not where every device computes, and so holds, all of the head.
    let plan = try mlp()
    var json = plan.hardware.json
    json.set(["devices", "a100-80", "reserved_GiB"], 0)
    json.set(["devices", "a100-80", "memory_GiB"], 0.1)
    var tight = plan
    tight.hardware = try .init(decoding: Document(file: "tight.json", value: json))
    let report = try LayerReport(tight, layer: "head")
    let shortfalls = report.alternatives.compactMap { item -> Bytes? in
      if case .tooMuchMemory(let least, let limit) = item.result { least - limit } else { nil }
    }
    #expect(shortfalls.count < report.alternatives.count && !shortfalls.isEmpty && shortfalls.allSatisfy { $0 > .zero })
    #expect(report.lines(.plain).contains { $0.contains("does not fit: ") && $0.hasSuffix(" too much") })
  }

  @Test("A layer is found by its name and by the name of a copy; another is refused with a suggestion")
  func layerNames() throws {
    let plan = try tinyPipeline()
    let name = "transformer.h.{i}.mlp.act"
    #expect(try plan.decision.graph.op(named: name) == plan.decision.graph.op(named: "transformer.h.1.mlp.act"))
    let refused = [
      ("transformer.h.2.mlp.act", "copies of transformer.h.{i}.mlp.act are numbered 0 to 1"),
      ("transformer.h.-1.mlp.act", "numbered 0 to 1"),
      ("transformer.h.{i}.mlp.ac", "did you mean transformer.h.{i}.mlp.act?"),
      ("transformer.h.1.mlp.cfc", "did you mean transformer.h.1.mlp.c_fc?"),
      ("mlp.c_fc", "did you mean transformer.h.{i}.mlp.c_fc?"),
      ("x", "`tpplan inspect` prints the names"), ("transformer.h.1.attn.c_attn.qq", "did you mean transformer.h.1.attn.c_attn.q?"),
    ]
    for (wrong, message) in refused {
      do {
        _ = try plan.decision.graph.op(named: wrong)
        Issue.record("\(wrong) names an operator")
      } catch let error as UsageError {
        #expect(error.description.hasPrefix("\(wrong): ") && error.description.contains(message))
      }
    }
    #expect(throws: UsageError.self) { _ = try ProgramReport(plan, option: 8) }
  }

  @Test("A rank's program says what travels around which ranks, and the plan in which order the sequence stands")
  func rings() throws {
    let plan = try tinyRing()
    let lines = try ProgramReport(plan, rank: 2).instructions.filter { $0.note.hasSuffix("around the ring") }
    // Two layers, forward and back.
    #expect(lines.count == 4 && lines.allSatisfy { $0.ranks == [0, 1, 2, 3] })
    #expect(lines[0].note == "transformer.h.0.attn.c_attn.k.bias, transformer.h.0.attn.c_attn.v.bias around the ring")
    let text = try PlanReport(plan).lines(.plain)
    #expect(text.contains("  seq in zig-zag order: part r of 4 holds chunks r and 7 - r of 8"))
  }

  @Test("A rank's program names every buffer by its copy, and peers by their ranks")
  func rankProgram() throws {
    let plan = try tinyPipeline()
    for rank in [0, 5] {
      let report = try ProgramReport(plan, rank: rank)
      let lines = report.lines(.plain)
      #expect(lines.count == report.program.instructions.count + 2)
      #expect(!lines.contains { $0.contains("{i}") })
      // Stage 0 has ranks 0 to 3, stage 1 ranks 4 to 7; neighbours across the boundary are four apart.
      #expect(lines.contains { $0.contains(rank == 0 ? "  to rank 4" : "  to rank 1") })
    }
  }

  @Test("JSON keys have their units, and the figures of the text")
  func json() throws {
    let plan = try tinyPipeline()
    let report = try PlanReport(plan)
    #expect(report.json["step_seconds"] == .double(plan.prediction.step.value))
    #expect(report.json["memory_bytes_per_device"] == .double(plan.prediction.memory.value))
    #expect(report.json["tokens_per_second"] == .double(8 * 32 / plan.prediction.step.value))
    #expect(report.json.get(["collectives", 0, "calls_per_step"]) == .int(report.collectives[0].callsPerStep))
  }
}
