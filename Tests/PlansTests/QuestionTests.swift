// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Lowering
import ModelGraph
import Planner
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Plans
@testable import tpplan

/// What `explain`, `diff`, `check`, `sweep`, `pareto` and `compare` say.
@Suite struct QuestionTests {
  private static let llama = Document(
    file: "tiny-llama.json",
    value: [
      "name": "tiny-llama", "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "intermediate_size": 48, "vocab_size": 61, "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
      "hidden_act": "silu",
    ])

  /// What `search` is told around the operators.
  private func fix(_ request: inout SearchRequest) {
    (request.mesh, request.pipelineDegree, request.microBatches) = ([2], 1, 1)
    (request.recompute, request.layersMayDiffer) = (Recompute.none, false)
  }

  private func small(_ model: String) throws -> Plan {
    switch model {
    case "mlp": try plan(modelDocument("mlp"), hardware: "dgx-a100", devices: 2, batch: 8, sequence: 128, fix: fix)
    case "gpt2": try plan(tinyGPT2, hardware: "derecho", devices: 2, batch: 8, sequence: 32, fix: fix)
    default: try plan(Self.llama, hardware: "derecho", devices: 2, batch: 4, sequence: 16, fix: fix)
    }
  }

  @Test(
    "differential: what explain says of every strategy of every operator is what a search with that pin finds", arguments: ["mlp", "gpt2", "llama"])
  func pins(model: String) throws {
    let plan = try small(model)
    let graph = plan.decision.graph
    var compared = 0
    for op in graph.operators.indices {
      let name = graph.operators[op].name
      let report = try LayerReport(plan, layer: name, seconds: 600)
      // Strategies of one name are one pin.
      var best: [String: AlternativeResult] = [report.chosen.words(report.rule).joined(separator: ","): .step(plan.prediction.step, isProven: true)]
      for item in report.alternatives where best[item.choice.words(report.rule).joined(separator: ",")] == nil {
        best[item.choice.words(report.rule).joined(separator: ",")] = item.result
      }
      for (words, result) in best {
        let again: AlternativeResult
        var request = SearchRequest(
          graph: graph, cluster: try plan.hardware.cluster(devices: 2), batch: plan.decision.job.batch, sequence: plan.decision.job.sequence,
          precision: plan.decision.job.precision, mode: .train, optimizer: .adamw)
        fix(&request)
        request.constraints = [try StrategyConstraint(parsing: "\(name)=\(words)", isForbidden: false)]
        switch try Planner.search(request) {
        case .planned(let planned): again = .step(planned.prediction.step, isProven: planned.certificate.status == .optimal)
        case .infeasible(let why): again = why.memory.map { .tooMuchMemory(least: $0.least, limit: $0.limit) } ?? .noCommonLayout
        case .timeLimit(let bound): again = .atLeast(bound)
        }
        #expect(again == result, "\(model): \(name)=\(words)")
        compared += 1
      }
    }
    #expect(compared > 2 * graph.operators.count)
  }

  @Test("differential: a layer's table has each operator's best other strategy; a stage's moves are searches with these stages")
  func blocksAndStages() throws {
    let plan = try small("gpt2")
    let block = try #require(try BlockReport(plan, name: "transformer.h.{i}.mlp", seconds: 600, stop: StopCondition()) { _, _ in })
    #expect(block.operators.count == 6)
    guard case .array(let operators)? = block.json["operators"] else { throw NoPlan() }
    for row in operators {
      guard case .string(let name)? = row["operator"], case .array(let others)? = row["alternatives"] else { throw NoPlan() }
      let layer = try LayerReport(plan, layer: name, seconds: 600)
      #expect(others.count == layer.alternatives.count)
      for (item, other) in zip(layer.alternatives, others) {
        #expect(item.result.members(beside: plan.prediction.step).allSatisfy { other[$0.0] == $0.1 })
      }
    }
    let ofLayer = plan.decision.graph.operators.count { $0.name.hasPrefix("transformer.h.{i}.") }
    #expect(
      try BlockReport(plan, name: "transformer.h.1", seconds: 600, stop: StopCondition()) { _, _ in }?.operators.count == ofLayer && ofLayer > 10)
    let counts = plan.decision.graph.segments.map(\.operators.count)
    for (name, count) in [("embedding", counts[0]), ("layer 1", ofLayer), ("block", ofLayer), ("head", counts[2]), ("layer 2", nil as Int?)] {
      #expect(try BlockReport(plan, name: name, seconds: 600, stop: StopCondition()) { _, _ in }?.operators.count == count, "\(name)")
    }
    #expect(try BlockReport(plan, name: "transformer.h.2", seconds: 600, stop: StopCondition()) { _, _ in } == nil)

    let deep = try self.deep()
    let stage = try StageAlternatives(deep, stage: 0, seconds: 600, stop: StopCondition()) { _, _ in }
    #expect(Set(stage.alternatives.map(\.choice)) == [.init(from: 0, to: 1), .init(from: 1, to: 0)])
    for item in stage.alternatives {
      var request = try deep.request()
      request.stageLayers = item.choice.from == 0 ? [1, 3] : [3, 1]
      guard case .planned(let planned) = try Planner.search(request) else { throw NoPlan() }
      #expect(item.result == .step(planned.prediction.step, isProven: true))
    }
    let chunked = try self.chunked()
    let second = try StageAlternatives(chunked, stage: 1, seconds: 600, stop: StopCondition()) { _, _ in }
    let moves = [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)].map { StageAlternatives.Move(from: $0.0, to: $0.1) }
    #expect(Set(second.alternatives.map(\.choice)) == Set(moves))
    #expect(second.lines(.plain)[0] == "Stage 1 of 2, 4 layers in 2 chunks")
    #expect(second.lines(.plain)[3].contains("\(chunked.prediction.memory(ofGroup: 1).total): "))
    #expect(second.lines(.plain).contains { $0.contains("one from chunk 1.0 to 0.1") })
    #expect(throws: UsageError.self) { try StageAlternatives(chunked, stage: 2, seconds: 1, stop: StopCondition()) { _, _ in } }
    #expect(throws: UsageError.self) { try StageAlternatives(deep, stage: 2, seconds: 1, stop: StopCondition()) { _, _ in } }
    #expect(
      ExplainCommand.number(of: "stage", in: "stage 2") == 2 && ExplainCommand.number(of: "stage", in: "stage:0") == 0
        && ExplainCommand.number(of: "stage", in: "stages.0") == nil)
  }

  @Test("Of layers of two kinds each kind is asked by itself, on all stages, and no alternative is faster than a proven plan")
  func layersOfTwoKinds() throws {
    let plan = try plan(deepGPT2(layers: 6), hardware: "derecho", devices: 2, batch: 8, sequence: 32) {
      ($0.pipelineDegree, $0.microBatches, $0.schedule, $0.stageLayers) = (1, 4, .oneForwardOneBackward, [6])
      ($0.mesh, $0.recompute, $0.recomputedLayers) = ([2], .full, 4)
    }
    #expect(plan.decision.graph.segments.count == 4)
    var steps: [Seconds] = []
    for (name, copies) in [("transformer.h.{i}.mlp.c_fc", 4), ("transformer.h.5.mlp.c_fc", 2)] {
      let report = try LayerReport(plan, layer: name, seconds: 600)
      #expect(report.copies == copies && report.alternatives.count > 2)
      for item in report.alternatives {
        guard case .step(let time, let isProven) = item.result else { continue }
        #expect(isProven && time >= plan.prediction.step * (1 - 1e-6), "\(name): \(item.choice.assignment)")
        steps.append(time)
      }
    }
    // What four layers lose is not what two do.
    #expect(Set(steps).count > steps.count / 2 + 1)
    let block = try #require(try BlockReport(plan, name: "transformer.h.{i}.mlp", seconds: 600, stop: StopCondition()) { _, _ in })
    #expect(block.operators.count == 12)
    let free = try plan.freeRequest(devices: 2)
    #expect(free.graph.segments.count == 3 && free.layersMayDiffer)
  }

  private func chunked() throws -> Plan {
    try plan(deepGPT2(layers: 8), hardware: "derecho", devices: 2, batch: 8, sequence: 32) {
      ($0.pipelineDegree, $0.mesh, $0.microBatches, $0.schedule) = (2, [1], 4, .interleaved)
      ($0.chunks, $0.stageLayers) = (2, [2, 2, 2, 2])
    }
  }

  private func deep() throws -> Plan {
    try plan(deepGPT2(layers: 4), hardware: "derecho", devices: 2, batch: 8, sequence: 32) {
      ($0.pipelineDegree, $0.mesh, $0.microBatches, $0.schedule, $0.stageLayers) = (2, [1], 4, .oneForwardOneBackward, [2, 2])
    }
  }

  @Test("differential: a plan's other choices are searches with one thing fixed; none is faster than a proven plan")
  func wholePlan() throws {
    let plan = try plan(tinyGPT2, hardware: "derecho", devices: 4, batch: 4, sequence: 32)
    let report = try PlanAlternatives(plan, seconds: 600, stop: StopCondition()) { _, _ in }
    #expect(Set(report.chosen.map(\.dimension)).isSuperset(of: [.devices, .stages, .mesh, .microBatches, .zero, .recompute]))
    for item in report.alternatives {
      guard case .step(let time, let isProven) = item.result else { continue }
      #expect(isProven && time >= plan.prediction.step * (1 - 1e-6), "\(item.choice)")
    }
    var request = try plan.freeRequest(devices: 4)
    request.zero = plan.decision.zero.max() == .weights ? .gradients : .weights
    guard case .planned(let planned) = try Planner.search(request) else { throw NoPlan() }
    let value = plan.decision.zero.max() == .weights ? "2" : "3"
    #expect(
      report.alternatives.contains {
        $0.choice == .init(dimension: .zero, value: value) && $0.result == .step(planned.prediction.step, isProven: true)
      })
    #expect(report.lines(.plain).contains { $0.hasPrefix("  takes     ") })
    // A plan that one search found is one that every other choice of it leaves.
    for item in report.chosen where ![.zero, .recompute].contains(item.dimension) { #expect(item.isMade(by: plan.decision), "\(item)") }
    for item in report.alternatives {
      #expect(item.decision.map(item.choice.isMade(by:)) != false || [.zero, .recompute].contains(item.choice.dimension))
    }
    #expect(report.alternatives.allSatisfy { !$0.choice.isMade(by: plan.decision) })
  }

  @Test("oracle: what a checkpoint's move sends is what ranks' programs hold after it and not before", arguments: [0, 1, 2, 3])
  func moves(number: Int) throws {
    func stages(_ zero: ZeROStage) throws -> Plan {
      try plan(tinyGPT2, hardware: "derecho", devices: 4, batch: 8, sequence: 32) {
        ($0.pipelineDegree, $0.mesh, $0.microBatches, $0.zero) = (2, [2], 2, zero)
      }
    }
    func one(_ words: String, _ zero: ZeROStage) throws -> Plan {
      try plan(tinyGPT2, hardware: "derecho", devices: 4, batch: 8, sequence: 32) {
        ($0.pipelineDegree, $0.mesh, $0.microBatches, $0.zero) = (1, [4], 1, zero)
        $0.constraints = [.init(pattern: "*.mlp.c_fc", words: [words], isForbidden: false)]
      }
    }
    let (old, new) =
      try [
        (one("data", .weights), one("column", .none)), (one("column", .none), stages(.optimizer)), (stages(.weights), one("data", .gradients)),
        (stages(.none), stages(.none)),
      ][number]
    let move = CheckpointMove(from: old.decision, to: new.decision)
    for rank in 0..<4 {
      let (before, after) = (held(old.decision, rank), held(new.decision, rank))
      #expect(move.moved[rank] == after.values.subtracting(before.values).count && move.kept[rank] == after.values.intersection(before.values).count)
      #expect(
        move.movedState[rank] == after.owned.subtracting(before.owned).count && move.keptState[rank] == after.owned.intersection(before.owned).count)
    }
    #expect((move.moved + move.movedState).allSatisfy { $0 == 0 } == (number == 3))
    let difference = try PlanDifference(old, new, names: ("a", "b"))
    #expect(difference.rows.contains(where: \.isChanged) == (number != 3))
    #expect(difference.lines(.plain, all: false).contains("Every operator is split alike.") == (number == 3))
    var other = new
    other.decision.job.optimizer = .sgd
    for (plan, differ) in [(new, false), (other, true)] {
      let lines = try PlanDifference(old, plan, names: ("a", "b")).lines(.plain, all: false)
      #expect(lines.contains { $0.hasPrefix("  The jobs differ (") && $0.contains("sgd") } == differ)
    }
  }

  private struct Element: Hashable {
    let name: String
    let place: [Int]
  }

  /// By element, from a rank's program.
  private func held(_ decision: Decision, _ rank: Int) -> (values: Set<Element>, owned: Set<Element>) {
    let program = Lowering.program(for: decision, rank: rank)
    var (values, owned) = (Set<Element>(), Set<Element>())
    for parameter in program.parameters {
      let name = program.graph.name(ofParameter: parameter.tensor, copy: parameter.copy)
      func elements(_ run: Range<Int>) -> Set<Element> {
        var all: Set<Element> = []
        for box in parameter.region.regions(ofElements: run) {
          var places: [[Int]] = [[]]
          for range in box { places = places.flatMap { place in range.map { place + [$0] } } }
          all.formUnion(places.map { Element(name: name, place: $0) })
        }
        return all
      }
      values.formUnion(elements(parameter.sharing.stage == .weights ? parameter.part : 0..<parameter.region.elementCount))
      owned.formUnion(elements(parameter.part))
    }
    return (values, owned)
  }

  @Test("golden: what --vary takes, and what it does not")
  func variations() throws {
    #expect(try Variation("nvlink.bandwidth_GBps=50..800", points: 5) == Variation("nvlink.bandwidth_GBps=50,100,200,400,800", points: 2))
    #expect(try Variation("batch=8..50", points: 5).values == [8, 16, 32, 50] && Variation("seq=128", points: 5).values == [128])
    for (text, words) in [
      ("batch", "there is no name before a ="), ("batch=9..3", "is no range"), ("seq=1,x", "\"x\" is no number above 0"),
      ("batch=1.5", "is no whole number"),
      ("a.b=3", "takes two values or more"), ("devices=2,2", "given twice"),
    ] {
      #expect {
        try Variation(text, points: 5)
      } throws: { "\($0)".contains(words) }
    }
  }

  @Test("the shipped program answers every question, and check fails on other hardware")
  func commands() throws {
    let folder = try TemporaryFolder()
    let (model, plan, hardware) = (folder.file("model.json"), folder.file("plan.json"), "hardware/dgx-a100.json")
    try Data(tinyGPT2.value.canonicalBytes).write(to: URL(filePath: model))
    func run(_ arguments: String...) throws -> CommandLineRun { try CommandLineRun(arguments) }
    #expect(try run("search", model, hardware, "--devices", "2", "--batch", "4", "-o", plan).status == 0)
    let whole = try run("explain", plan)
    #expect(whole.status == 0 && whole.output.contains("One choice otherwise"), "\(whole.output)")
    #expect(try run("explain", plan, "transformer.h.{i}.mlp.c_fc").output.contains("Alternatives to a step of"))
    #expect(try run("explain", plan, "transformer.h.0.attn").output.contains("attn.core"))
    #expect(try run("explain", plan, "nothing").status == 64)
    let beyond = try run("explain", plan, "layer 9")
    #expect(beyond.status == 64 && beyond.output.contains("layer 9: ") && beyond.output.contains("has layers 0 to "), "\(beyond.output)")
    let compared = try run("compare", model, hardware, "--devices", "2", "--batch", "4")
    #expect(compared.status == 0 && compared.output.contains("data parallel") && compared.output.contains("Megatron's rule"), "\(compared.output)")
    let front = try run("pareto", model, hardware, "--devices", "2", "--batch", "4", "--format", "json")
    #expect(front.status == 0 && front.output.contains("\"too_small\":[]"), "\(front.output)")
    let sweep = try run("sweep", model, hardware, "--devices", "2", "--batch", "4", "--vary", "nvlink.bandwidth_GBps=1..900", "--points", "2")
    #expect(sweep.status == 0 && sweep.output.contains("each plan is the best of its interval"), "\(sweep.output)")
    let named = try run("sweep", model, hardware, "--devices", "2", "--batch", "4", "--vary", "nvlink.width=1..900")
    #expect(named.status == 64 && named.output.contains("nvlink.bandwidth_GBps"), "\(named.output)")
    #expect(try run("sweep", model, hardware, "--devices", "2", "--vary", "batch=2..8", "--format", "json").output.contains("\"vary\":\"batch\""))
    #expect(try run("diff", plan, plan).output.contains("Every operator is split alike."))
    #expect(try run("diff", plan, "plans/mlp-dgx-a100-4.json").status == 64)
    #expect(try run("check", plan, model, hardware).status == 0)
    let other = try run("check", plan, model, "hardware/derecho.json")
    #expect(other.status == 1 && other.output.contains("is not the hardware that the plan was made for"), "\(other.output)")
    let deeper = try run("check", plan, "models/gpt-1.3b.json", hardware)
    #expect(deeper.status == 1 && deeper.output.contains(", the file has gpt-1.3b"), "\(deeper.output)")
  }
}
