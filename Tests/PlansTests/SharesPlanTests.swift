// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Plans
import Report
import Strategies
import Testing

@testable import tpplan

/// Plans whose ranks have unequal numbers of samples.
@Suite struct SharesPlanTests {
  /// 16 A100 and 16 V100 in a row each, of which the first has 10 of 16 samples.
  private func plan() throws -> Plan { try Self.once.get() }

  private static let once = Result {
    try PlansTests.plan(tinyGPT2, hardware: "mixed-a100-v100", devices: 32, batch: 32, sequence: 32) {
      ($0.mesh, $0.pipelineDegree, $0.shares, $0.precision) = ([2, 16], 1, [10, 6], .fp16)
      $0.constraints = [
        .init(pattern: "*.mlp.c_fc", words: ["data", "column"], isForbidden: false),
        .init(pattern: "*.ln_2", words: ["data", "sequence"], isForbidden: false),
      ]
    }
  }

  @Test("Oracle: written, read and written again it is the same, and says who has how many samples") func roundTrip() throws {
    let plan = try plan()
    let json = PlanFile.encode(plan)
    let again = try PlanFile.decode(Document(file: "plan.json", value: json))
    #expect(again == plan && PlanFile.encode(again) == json)
    #expect(json["batch_shares"] == [10, 6])
    #expect(plan.decision.shares == BatchShares([10, 6], mesh: [2, 16]))
    #expect(plan.certificate.space.contains { $0.name == "samples of a rank" && $0.values == "given: 10 6" })
    let summary = PlanSummary(plan: plan, seconds: 0)
    #expect(summary.lines.contains("  samples      10, 6 of a micro-batch for the ranks along mesh axis 0"))
    #expect(summary.json(output: nil)["batch_shares"] == [10, 6])
    let report = try PlanReport(plan)
    #expect(report.lines(.plain).contains { $0.contains("Samples of a micro-batch's 16 along axis 0") })
    #expect(report.lines(.plain).contains { $0.contains("10  a100-40") } && report.lines(.plain).contains { $0.contains("6  v100-16") })
    #expect(report.json["batch_shares"] == [10, 6])
  }

  @Test("Oracle: priced again it takes what it says, and with its own strategy no less") func prices() throws {
    let plan = try plan()
    let prediction = try Planner.predict(plan.decision, on: plan.hardware.cluster(devices: 32))
    #expect(prediction == plan.prediction)
    let request = try plan.request()
    #expect(request.shares == [10, 6])
    guard case .planned(let best) = try Planner.search(request) else { throw NoPlan() }
    #expect(best.decision.shares == plan.decision.shares && best.prediction.step <= plan.prediction.step)
  }

  @Test("Shares that 3 samples would be cut in anyway are planned where they suit the devices, and read") func asCutAnyway() throws {
    let plan = try PlansTests.plan(tinyGPT2, hardware: "mixed-a100-v100", devices: 32, batch: 3, sequence: 32) {
      ($0.mesh, $0.pipelineDegree, $0.shares, $0.precision, $0.microBatches) = ([2, 16], 1, [1, 2], .fp16, 1)
    }
    #expect(plan.decision.shares?.samples == [1, 2])
    #expect(try PlanFile.decode(Document(file: "plan.json", value: PlanFile.encode(plan))) == plan)
  }

  @Test(
    "Each edit is refused with the path of what is wrong",
    arguments: [
      ("a sample too many", [10, 7], "$.batch_shares: found an array of 2, expected the 16 samples of a micro-batch together, not 17"),
      ("a rank too many", [8, 4, 4], "$.batch_shares: found an array of 3, expected 2 numbers of samples, one for each rank along mesh axis 0"),
      ("a rank without samples", [16, 0], "$.batch_shares[1]: found the number 0"),
    ])
  func refused(name: String, samples: [Int], message: String) throws {
    let plan = try plan()
    let document = edited(plan) { $0.set(["batch_shares"], .array(samples.map { .int($0) })) }
    #expect {
      _ = try PlanFile.decode(document)
    } throws: {
      "\($0)".contains(message)
    }
  }

  @Test("Shares of several stages are refused") func severalStages() throws {
    let document = edited(try tinyPipeline()) { $0.set(["batch_shares"], [3, 1]) }
    #expect {
      _ = try PlanFile.decode(document)
    } throws: {
      "\($0)".contains("$.batch_shares: found an array of 2, expected nothing: only plans of one stage share the batch out unevenly")
    }
  }

  @Test("A rank that would have no sample is refused") func nothingLeft() throws {
    let plan = try PlansTests.plan(tinyGPT2, hardware: "derecho", devices: 8, batch: 16, sequence: 32) {
      ($0.mesh, $0.pipelineDegree, $0.microBatches) = ([4, 2], 1, 1)
      $0.constraints = [.init(pattern: "*.mlp.c_fc", words: ["data", "data"], isForbidden: false)]
    }
    for (samples, isLegal) in [([5, 5, 3, 3], true), ([6, 6, 3, 1], false)] {
      let document = edited(plan) { $0.set(["batch_shares"], .array(samples.map { .int($0) })) }
      if isLegal {
        #expect(try PlanFile.decode(document).decision.shares?.samples == samples)
      } else {
        #expect {
          _ = try PlanFile.decode(document)
        } throws: {
          "\($0)".contains("expected no further split of the batch than of the smallest share, 1")
        }
      }
    }
  }
}
