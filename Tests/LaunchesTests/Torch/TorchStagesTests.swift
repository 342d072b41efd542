// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import Planner
import Plans
import Strategies
import TestSupport
import Testing

@testable import Launches

/// Pipelines in what `export --to torch` writes.
@Suite struct TorchStagesTests {
  /// The tests' models with as many layers as pipelines take.
  private static func deep(_ model: JSON, layers: Int) -> JSON {
    guard case .object(var members) = model else { return model }
    for key in ["n_layer", "num_hidden_layers"] where members[key] != nil { members[key] = .int(layers) }
    return .object(members)
  }

  private static let gpt2 = deep(TorchModels.gpt2, layers: 4)

  @Test("Golden: the script of a pipeline (TPPLAN_RECORD=1 writes it again)")
  func golden() throws {
    let plan = try TorchModels.plan(Self.gpt2, batch: 8) { ($0.pipeline, $0.tensor, $0.chunks, $0.schedule) = (2, 2, 2, .interleaved) }
    let text = try TorchScript.exporting(plan)
    let path = "\(TorchModels.packageFolder)/Tests/LaunchesTests/Golden/gpt2-pp2-tp2.py"
    if ProcessInfo.processInfo.environment["TPPLAN_RECORD"] == "1" { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
  }

  // MARK: - Round trip

  @Test("Pipelines of given degrees that are exported and read again are the same", arguments: 0..<42)
  func degrees(seed: Int) throws {
    var random = SeededGenerator(seed: 400 + seed)
    let kind = seed % TorchModels.all.count
    let layers = random.pick([4, 6, 8])
    let model = Self.deep(TorchModels.all[kind], layers: layers)
    let plan = try TorchModels.plan(model, batch: 16) {
      $0.pipeline = random.pick([2, 4])
      $0.schedule = random.pick(Schedule.Kind.allCases)
      if $0.schedule == .interleaved { ($0.pipeline, $0.chunks) = (2, 2) }
      $0.tensor = random.pick([1, 2])
      $0.data = random.pick([1, 2])
      $0.isSequenceParallel = $0.tensor > 1 && kind < 6 && random.chance(0.5)
      $0.zero = random.pick(ZeROStage.allCases)
      $0.recompute = random.pick([.none, .full, .selective])
      if $0.recompute != .none, random.chance(0.5) { $0.recomputedLayers = 1 }
      $0.microBatchSize = random.pick([1, 2])
      if random.chance(0.4) {
        // Any cut.
        var cut = Array(repeating: 1, count: $0.pipeline * $0.chunks)
        for _ in 0..<layers - cut.count { cut[random.int(0...cut.count - 1)] += 1 }
        $0.stageLayers = cut
      }
    }
    #expect(plan.decision.groups > 1)
    #expect(try TorchModels.again(plan, model).equalsAlone(plan.decision))
  }

  @Test("Pipelines that a search finds are refused with an operator, or are the same when they are exported and read again")
  func searched() throws {
    var same = 0
    for seed in 0..<8 {
      let model = Self.deep(TorchModels.all[seed % 4], layers: 4)
      var request = try TorchModels.request(model, devices: 4, batch: 8)
      (request.pipelineDegree, request.mesh, request.shares, request.isZigzag) = (2, [2], [], false)
      request.layersMayDiffer = seed < 4
      request.recompute = seed < 4 ? nil : Recompute.none
      request.constraints = [try StrategyConstraint(parsing: "*=replicate", isForbidden: true)].filter { _ in seed % 2 == 0 }
      let plan = try TorchModels.plan(request)
      do {
        #expect(try TorchModels.again(plan, model).equalsAlone(plan.decision))
        same += 1
      } catch let refusal as Inexpressible {
        #expect(plan.decision.graph.operators.contains { $0.name == refusal.place }, "\(refusal)")
      }
    }
    #expect(same >= 4)
  }

  // MARK: - What the tables say

  @Test("Stages stand in a table, with what passes between them and weights that two of them have")
  func tables() throws {
    let plan = try TorchModels.plan(Self.gpt2, batch: 8) {
      ($0.pipeline, $0.tensor, $0.isSequenceParallel, $0.stageLayers) = (2, 2, true, [1, 3])
    }
    let text = try TorchScript.exporting(plan)
    #expect(text.contains(#"MESH = {"pp": 2, "tp": 2}"#))
    #expect(text.contains(#"    {"embedding": range(0, 1), "block": range(0, 1)},"#))
    #expect(text.contains(#"    {"block": range(1, 4), "head": range(0, 1)},"#))
    #expect(text.contains(#"    "block": [((JOB["sequence"], 32), Shard(1))],"#))
    #expect(text.contains(#"        "lm_head.weight": View("transformer.wte.weight", 0, [[(51, 32)], [(32, 1)]]),"#))
    let launch = try TorchScript.reading(text).launch
    #expect(launch.degrees.pipeline == 2 && launch.degrees.stageLayers == [1, 3] && launch.degrees.schedule == .oneForwardOneBackward)
  }

  @Test("Between layers that split a tensor otherwise, the stage of the second converts it")
  func seams() throws {
    let model = Self.deep(TorchModels.gpt2, layers: 8)
    let plan = try TorchModels.plan(model, batch: 8) {
      ($0.pipeline, $0.tensor, $0.isSequenceParallel, $0.recompute, $0.recomputedLayers) = (2, 2, true, .selective, 2)
    }
    // Of each stage the last layers have their sequences whole.
    var part = ""
    let lines = try TorchScript.exporting(plan).components(separatedBy: "\n").map { line in
      if line.hasPrefix("    \"block") { part = line }
      return ["    \"block+2\": {", "    \"block+6\": {"].contains(part) ? line.replacing("\"sequence\"", with: "\"replicate\"") : line
    }
    let request = try TorchScript.reading(lines.joined(separator: "\n"))
      .request(for: TorchModels.graph(model), on: plan.hardware.cluster(devices: 4))
    let mixed = try TorchModels.plan(request)
    let text = try TorchScript.exporting(mixed)
    #expect(
      text.contains(
        ##"""
                if 2 in stage.get("block+2", ()):
                    operators["shared.block+2.from0"] = nn.Identity()
        """##))
    #expect(
      text.contains(
        ##"""
                if 4 in self.stage.get("block+4", ()):
                    x = self.get_submodule("shared.block+4.from0")(x)
        """##))
    #expect(try TorchModels.again(mixed, model).equalsAlone(mixed.decision))
  }

  @Test(
    "Stages that are not all of the model once and in order are named",
    arguments: [
      (#""block": range(0, 2)"#, #""block": range(0, 3)"#, #"STAGES[1]["block"]"#, "layer 2 of block, which the stages before have too"),
      (
        #""block": range(2, 4)"#, #""block": range(3, 4)"#, #"STAGES[1]["block"]"#,
        "begins with layer 3 of block; the stages before end before layer 2"
      ),
      (#", "head": range(0, 1)"#, "", "STAGES", "has no stage with head"),
      (#""embedding": range(0, 1), "#, "", #"STAGES[0]["block"]"#, "begins with layer 0 of block; the stages before end before embedding"),
      (#""block": range(2, 4)"#, #""block": range(2, 5)"#, #"STAGES[1]["block"]"#, "PARTS has range(0, 4)"),
      (#"{"block": range(2, 4)"#, #"{"block": range(2, 3)}, {"block": range(3, 4)"#, "STAGES", "has 3 stages for 2 ranks of the axis pp"),
      (#""block": range(2, 4)"#, #""blocks": range(2, 4)"#, #"STAGES[1]["blocks"]"#, "is no part of PARTS"),
      (#""block": range(2, 4)"#, #""block": 2"#, #"STAGES[1]["block"]"#, "expected the numbers of layers"),
      (#""schedule": "1f1b""#, #""schedule": "interleaved""#, "STAGES", "a multiple of that, at least two for each"),
      (#""schedule": "1f1b""#, #""schedule": "zbv""#, #"JOB["schedule"]"#, "expected one of"),
      (#"{"pp": 2, "tp": 2}"#, #"{"tp": 2, "pp": 2}"#, "MESH", "inside of another axis"),
    ])
  func changed(own: String, other: String, place: String, reason: String) throws {
    let text = try TorchScript.exporting(TorchModels.plan(Self.gpt2, batch: 8) { ($0.pipeline, $0.tensor) = (2, 2) })
    #expect(text.contains(own))
    let failure = #expect(throws: LaunchError.self) { _ = try TorchScript.reading(text.replacing(own, with: other)) }
    #expect(failure?.place == place && failure?.description.contains(reason) ?? false, "\(failure?.description ?? "")")
  }

  @Test("Layers that were moved to another stage are another plan, which the script then is")
  func moved() throws {
    let plan = try TorchModels.plan(Self.gpt2, batch: 8) { $0.pipeline = 2 }
    let text = try TorchScript.exporting(plan)
      .replacing(#""block": range(0, 2)"#, with: #""block": range(0, 3)"#).replacing(#""block": range(2, 4)"#, with: #""block": range(3, 4)"#)
    let read = try TorchScript.reading(text)
    let found = try TorchModels.plan(read.request(for: TorchModels.graph(Self.gpt2), on: plan.hardware.cluster(devices: 2))).decision
    #expect(found.searchedLayers == [3, 1])
    #expect(try read.findings(against: found).isEmpty)
    let misplaced = text.replacing(#"{"embedding": range(0, 1), "block": range(0, 3)}"#, with: #"{"embedding": range(0, 1)}"#)
      .replacing(#"{"block": range(3, 4)"#, with: #"{"block": range(0, 4)"#)
    let alone = try TorchScript.reading(misplaced)
    #expect(try alone.findings(against: found).map(\.place) == ["STAGES[0]", "STAGES[1]"])
  }

  @Test("Parts that hand on one tensor and two are refused by the part")
  func handedOn() throws {
    let model = try Document(readingFrom: "\(TorchModels.packageFolder)/Tests/Fixtures/flamingo-tiny.json").value
    let plan = try TorchModels.plan(model) { $0.pipeline = 2 }
    let refusal = #expect(throws: Inexpressible.self) { _ = try TorchScript.exporting(plan) }
    #expect(refusal?.place == "resampler_embedding")
  }
}
