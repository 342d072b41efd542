// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Planner
import Report
import Testing

@testable import Plans
@testable import tpplan

/// Golden: what is in plans/ is what the search gives today, and what `inspect` prints of it.
///
/// With the variable TPPLAN_RECORD=1 the files are written again; then look at `git diff`.
@Suite(.serialized) struct GeneratedPlansTests {
  struct Recipe: CustomTestStringConvertible, Sendable {
    let name: String
    let model: String
    let hardware: String
    let devices: Int
    let batch: Int
    let sequence: Int
    /// Whether the search is short enough for a debug build; `make plans` compares all of them, with the release build.
    let isQuick: Bool
    var testDescription: String { name }

    func plan() throws -> Plan {
      try PlansTests.plan(modelDocument(model), hardware: hardware, devices: devices, batch: batch, sequence: sequence) { $0.mayLeaveIdle = true }
    }
    var path: String { "\(packageFolder)/plans/\(name).json" }
  }

  static let recipes = [
    Recipe(name: "gpt2-dgx-a100-8", model: "gpt2", hardware: "dgx-a100", devices: 8, batch: 64, sequence: 1024, isQuick: false),
    Recipe(name: "llama-3-8b-derecho-8", model: "llama-3-8b", hardware: "derecho", devices: 8, batch: 8, sequence: 2048, isQuick: false),
    Recipe(name: "bert-base-ethernet-4", model: "bert-base", hardware: "ethernet", devices: 4, batch: 256, sequence: 512, isQuick: false),
    Recipe(name: "mlp-dgx-a100-4", model: "mlp", hardware: "dgx-a100", devices: 4, batch: 8, sequence: 128, isQuick: true),
  ]
  static let isRecording = ProcessInfo.processInfo.environment["TPPLAN_RECORD"] == "1"

  @Test("Golden: the search gives the plan in plans/, byte for byte", arguments: recipes.filter { $0.isQuick || isRecording })
  func regenerated(_ recipe: Recipe) throws {
    let plan = try recipe.plan()
    if Self.isRecording { try PlanFile.write(plan, to: recipe.path) }
    #expect(try readFile(recipe.path) == PlanFile.encode(plan).prettyBytes)
  }

  @Test("Every plan in plans/ is read, proven, and as it would be written", arguments: recipes)
  func committed(_ recipe: Recipe) throws {
    let plan = try PlanFile.read(recipe.path)
    #expect(plan.certificate.status == .optimal)
    #expect(try readFile(recipe.path) == PlanFile.encode(plan).prettyBytes)
    // The documents that it was made from are the ones in the repository.
    #expect(plan.modelSHA256 == (try modelDocument(recipe.model)).value.sha256)
    #expect(plan.hardware == (try HardwareFile(readingFrom: "\(packageFolder)/hardware/\(recipe.hardware).json")))
    #expect(plan.decision.ranks == recipe.devices && plan.decision.job.batch == recipe.batch)
  }

  @Test("Golden: inspect's text")
  func inspected() throws {
    let plan = try PlanFile.read(Self.recipes[1].path)
    let path = "\(packageFolder)/Tests/PlansTests/Golden/inspect-\(Self.recipes[1].name).txt"
    let text = try PlanReport(plan).lines(TextStyle(isEmphatic: false, columns: 80)).joined(separator: "\n") + "\n"
    if Self.isRecording { try atomicWrite(Array(text.utf8), to: path) }
    #expect(try String(decoding: readFile(path), as: UTF8.self) == text)
  }
}
