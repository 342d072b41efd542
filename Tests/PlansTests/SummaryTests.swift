// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Planner
import Quantities
import Report
import Strategies
import TestSupport
import Testing

@testable import Plans
@testable import tpplan

/// What `search` and `estimate` print.
@Suite struct SummaryTests {
  private func keys(_ json: JSON) -> Set<String> {
    guard case .object(let object) = json else { return [] }
    return Set(object.members.map(\.key))
  }

  @Test("A searched plan's summary has its proof, in the text and in JSON")
  func searched() throws {
    let summary = PlanSummary(plan: try tinyPipeline(), seconds: 0.25)
    let json = summary.json(output: "plan.json")
    #expect(
      keys(json).isSuperset(of: [
        "objective_seconds", "lower_bound_seconds", "gap", "status", "search_seconds", "configurations", "memory_bytes_per_device",
        "tokens_per_second", "samples_per_second", "model", "hardware", "mode", "dtype", "batch", "sequence", "fits", "plan",
      ]))
    #expect(json["search_seconds"] == 0.25)
    #expect(summary.lines.contains { $0.contains("solved") && $0.hasSuffix("in 250 ms") })
  }

  @Test("Where nothing was compared there is no bound, no gap and no count")
  func given() throws {
    var plan = try tinyPipeline()
    let proof = plan.certificate
    plan.certificate = Certificate(
      status: .given, objective: proof.objective, lowerBound: proof.lowerBound, priced: 1, pruned: 1, infeasible: 0, tolerance: proof.tolerance,
      space: proof.space)
    let summary = PlanSummary(plan: plan, seconds: 0)
    #expect(keys(summary.json(output: nil)).isDisjoint(with: ["lower_bound_seconds", "gap", "configurations", "plan"]))
    #expect(!summary.lines.joined().contains("configurations") && !summary.lines.joined().contains("solved"))
    #expect(!(try PlanReport(plan).lines(.plain)).joined().contains("pruned"))
  }

  @Test("Images have a fixed number of positions, which count as tokens")
  func tokensOfImages() throws {
    let vit = try plan(modelDocument("vit-huge"), hardware: "dgx-a100", devices: 1, batch: 2, sequence: nil, mode: .forward)
    let json = PlanSummary(plan: vit, seconds: 0).json(output: nil)
    // 224 / 14 squared patches and the class token.
    #expect(json["tokens_per_second"] == .double(2 * 257 / vit.prediction.step.value))
  }

  @Test("One device is not said to be several")
  func singular() throws {
    let one = try plan(tinyGPT2, hardware: "local", devices: 1, batch: 1, sequence: 32)
    #expect(PlanSummary(plan: one, seconds: 0).lines[0].contains("on 1 device of local"))
    let text = try PlanReport(one).lines(.plain).joined(separator: "\n")
    #expect(
      text.contains("on 1 device of local") && text.contains("1 sequence of 32") && !text.contains("1 devices") && !text.contains("1 sequences"))
  }

  @Test("Files in each other's place are recognised")
  func swappedFiles() throws {
    let (model, hardware) = ("\(packageFolder)/models/gpt2.json", "\(packageFolder)/hardware/local.json")
    let folder = try TemporaryFolder()
    let onnx = folder.file("model.onnx")
    // An ONNX model's first field, its version.
    try Data([0x08, 0x08]).write(to: URL(filePath: onnx))
    let wrong = [
      ([hardware, model], "\(hardware) is a hardware file; expected a model; the order is MODEL HW"),
      ([model, model], "\(model) is a model; expected a hardware file; the order is MODEL HW"),
      ([model, onnx], "\(onnx) is a model; expected a hardware file; the order is MODEL HW"),
    ]
    for (arguments, message) in wrong {
      do {
        _ = try WorkloadOptions.parse(arguments).request(deviceCount: 1)
        Issue.record("accepted")
      } catch let error as UsageError {
        #expect(error.description == message)
      }
    }
  }

  @Test("Choices that contradict each other are a usage error that names them and the operator")
  func contradiction() throws {
    let options = try WorkloadOptions.parse([
      "\(packageFolder)/models/gpt2.json", "\(packageFolder)/hardware/local.json", "--devices", "2", "--batch", "2", "--seq", "64",
    ])
    var request = try options.request().request
    request.constraints = try ["lm_head=vocab", "lm_head=row"].map { try StrategyConstraint(parsing: $0, isForbidden: false) }
    guard case .infeasible(let why) = try Planner.search(request) else { throw NoPlan() }
    do {
      _ = try Infeasibility(request, why)
      Issue.record("no contradiction")
    } catch let error as UsageError {
      #expect(error.description.hasPrefix("--pin lm_head=vocab and --pin lm_head=row contradict each other: together they leave no split of lm_head"))
    }
  }

  @Test("What does not fit says by how much, and JSON what would")
  func infeasible() throws {
    let options = try WorkloadOptions.parse(["\(packageFolder)/models/llama-3-8b.json", "\(packageFolder)/hardware/dgx-a100.json", "--batch", "16"])
    let request = try options.request(deviceCount: 8).request
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.data) = (4, 2)
    var infeasibility = Infeasibility(degrees, request, (Bytes.gibibytes(100), Bytes.gibibytes(79)))
    #expect(infeasibility.problem.contains("needs 100 GiB on a device that has 79.0 GiB, 21.0 GiB too much"))
    infeasibility.findRepairs(seconds: 0)
    #expect(infeasibility.lines == ["the time limit leaves no time to look for changes that make it fit"])
    infeasibility.findRepairs(seconds: 60)
    #expect(infeasibility.lines[0].contains(" that make it fit: --micro-batch 2 (step "))
    #expect(infeasibility.json.get(["repairs", 0, "change"]) == "--micro-batch 2")
    #expect(infeasibility.json["status"] == "infeasible")
  }

  @Test("--batch takes a number or max, which estimate refuses")
  func batchOption() throws {
    let files = ["\(packageFolder)/models/gpt2.json", "\(packageFolder)/hardware/local.json", "--devices", "2"]
    #expect(try WorkloadOptions.parse(files + ["--batch", "16"]).batch == .sequences(16))
    #expect(try WorkloadOptions.parse(files + ["--batch", "max"]).batch == .max)
    #expect(throws: (any Error).self) { try WorkloadOptions.parse(files + ["--batch", "most"]) }
    #expect(throws: UsageError.self) { try WorkloadOptions.parse(files + ["--batch", "-4"]).request() }
    // The search starts from the model's own.
    #expect(try WorkloadOptions.parse(files + ["--batch", "max"]).request().request.batch == 512)
    #expect(throws: UsageError.self) { try EstimateCommand.parse(files + ["--batch", "max"]).run() }
    #expect(throws: UsageError.self) { try SearchCommand.parse(files + ["--batch", "max", "--top", "2"]).run() }
  }
}
