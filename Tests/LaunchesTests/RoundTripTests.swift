// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies
import TestSupport
import Testing

@testable import Launches

/// What is written from a plan in a format, and read again, is that plan.
@Suite struct RoundTripTests {
  private static let seeds = 0..<90

  /// Writes plans, reads them again, and compares; a plan that is refused says where.
  ///
  /// - Returns: how many plans were the same again.
  private func identities(
    _ format: LaunchFormat, _ exporting: (Plan) throws -> String, hasJob: Bool, _ drawing: (inout SeededGenerator) throws -> (Plan, Graph)
  ) throws -> (count: Int, refusals: [String]) {
    var (count, refusals) = (0, [String]())
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let (plan, graph) = try drawing(&random)
      var text = ""
      do {
        text = try exporting(plan)
        let own = plan.decision
        let again = try LaunchFixtures.again(text, format, graph, plan, batch: hasJob ? nil : own.job.batch)
        #expect(own.difference(from: again) == nil, "seed \(seed): \(own.difference(from: again)!)\n\(text)")
        #expect(again == own, "seed \(seed)\n\(text)")
        count += 1
      } catch let refusal as Inexpressible {
        #expect(!refusal.place.isEmpty && !refusal.reason.isEmpty)
        refusals.append("seed \(seed): \(refusal)")
      } catch {
        Issue.record("seed \(seed): \(error)\n\(text)")
      }
    }
    return (count, refusals)
  }

  private func model(_ random: inout SeededGenerator) throws -> Graph {
    let heads = random.pick([4, 8])
    return try LaunchFixtures.llama(
      layers: random.pick([2, 4, 6]), heads: heads, keyValueHeads: random.pick([heads, 4]), isTied: random.chance(0.2), bias: random.chance(0.2))
  }

  private func request(_ graph: Graph, _ degrees: MegatronDegrees, steps: Int, _ precision: Precision, _ hardware: HardwareFile) throws
    -> SearchRequest
  {
    SearchRequest(
      graph: graph, cluster: try hardware.cluster(devices: degrees.devices), batch: (degrees.microBatchSize ?? 1) * degrees.data * steps,
      sequence: 32,
      precision: precision, mode: .train, optimizer: .adamw)
  }

  // MARK: - torchtitan

  private func torchtitanDegrees(_ layers: Int, _ random: inout SeededGenerator) -> MegatronDegrees {
    var degrees = MegatronDegrees()
    degrees.tensor = random.pick([1, 1, 2, 4])
    degrees.context = random.pick([1, 1, 2])
    degrees.contextWay = degrees.context > 1 ? random.pick([.gather, .ring]) : nil
    degrees.pipeline = random.pick([1, 1, 2])
    degrees.data = random.pick([1, 2, 4])
    degrees.isSequenceParallel = degrees.tensor > 1
    degrees.zero = random.pick([.gradients, .weights, .weights])
    let isAlone = degrees.tensor * degrees.pipeline * degrees.context == 1
    if degrees.data * degrees.context == 1 || isAlone && random.chance(0.3) { degrees.zero = .none }
    if random.chance(0.1) { degrees.zero = .optimizer }
    degrees.recompute = random.pick([.none, .full, .elementwise, .selective])
    degrees.microBatchSize = random.pick([1, 2])
    if degrees.pipeline > 1 {
      if layers % 4 == 0, random.chance(0.4) {
        (degrees.chunks, degrees.schedule) = (2, .interleaved)
      } else {
        degrees.schedule = random.pick([.gpipe, .oneForwardOneBackward])
      }
      if degrees.chunks == 1, random.chance(0.4) { degrees.stageLayers = [1, layers - 1] }
    }
    if degrees.recompute == .full, degrees.pipeline == 1, random.chance(0.4) { degrees.recomputedLayers = layers / 2 }
    return degrees
  }

  @Test("differential: torchtitan's job of a plan, read again, is that plan")
  func torchtitan() throws {
    let hardware = try Samples.hardware("dgx-a100")
    let (count, refusals) = try identities(.torchtitan, TorchtitanLaunch.exporting, hasJob: true) { random in
      let graph = try model(&random)
      let degrees = torchtitanDegrees(graph.segments.map(\.repeats).max()!, &random)
      let precision = random.pick([Precision.bf16, .bf16, .fp32])
      var request = try request(graph, degrees, steps: degrees.chunks > 1 ? 4 : random.pick([1, 2]), precision, hardware)
      // What torchtitan does, and cannot do otherwise.
      let isMixed = degrees.zero > .none || degrees.tensor * degrees.pipeline == 1
      request.software.overlap = degrees.data * degrees.context > 1 ? .weights : .none
      if precision == .bf16 {
        request.software.crossEntropy = random.pick([.fused, .unfused])
        request.software.gradients = isMixed ? random.pick([.accumulated, .working]) : .working
      }
      return (try LaunchFixtures.plan(degrees.fix(request), on: hardware), graph)
    }
    #expect(count >= 50, "\(count) of \(Self.seeds.count)\n\(refusals.joined(separator: "\n"))")
    #expect(!refusals.isEmpty)
  }

  // MARK: - DeepSpeed

  @Test("differential: DeepSpeed's configuration of a plan, read again, is that plan")
  func deepspeed() throws {
    let hardware = try Samples.hardware("dgx-a100")
    let (count, refusals) = try identities(.deepspeed, DeepSpeedLaunch.exporting, hasJob: true) { random in
      let graph = random.chance(0.3) ? try LaunchFixtures.gpt2(layers: 4) : try model(&random)
      var degrees = MegatronDegrees()
      degrees.pipeline = random.pick([1, 1, 2])
      degrees.data = random.pick([1, 2, 4])
      if degrees.pipeline == 1, random.chance(0.4) { (degrees.context, degrees.contextWay) = (2, random.pick([.ulysses, .ulysses, .ring])) }
      if degrees.pipeline == 1, degrees.context == 1, random.chance(0.5) { degrees.tensor = random.pick([2, 4]) }
      let isShared = degrees.data * degrees.context > 1
      degrees.zero = isShared ? random.pick(degrees.pipeline > 1 ? [.none, .optimizer] : ZeROStage.allCases) : .none
      degrees.recompute = random.pick([.none, .none, .none, .full, .full, .selective])
      degrees.microBatchSize = random.pick([1, 2])
      let precision = random.pick([Precision.bf16, .fp16, .fp32])
      var request = try request(graph, degrees, steps: random.pick([1, 2, 4]), precision, hardware)
      if precision != .fp32 {
        request.software.gradients = degrees.zero == .none ? .working : random.pick([.working, .accumulated])
        if precision == .bf16, degrees.zero == .optimizer { request.software.gradients = random.pick([.working, .accumulated, .both]) }
      }
      if degrees.zero > .none, degrees.pipeline == 1 { request.software.overlap = random.pick([.none, .weights]) }
      if random.chance(0.2) { request.optimizer = .sgd }
      let styles =
        ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].map { ModuleStyle("*.\($0)", "colwise") }
        + ["o_proj", "down_proj"].map { ModuleStyle("*.\($0)", "rowwise") }
      let fixed = try degrees.fix(request, degrees.tensor > 1 ? styles : nil, .globs)
      return (try LaunchFixtures.plan(fixed, on: hardware), graph)
    }
    #expect(count >= 50, "\(count) of \(Self.seeds.count)\n\(refusals.joined(separator: "\n"))")
    #expect(!refusals.isEmpty)
  }

  // MARK: - transformers

  private func styles(isTied: Bool, _ random: inout SeededGenerator) -> [ModuleStyle] {
    var styles: [ModuleStyle] = []
    func add(_ names: [String], _ style: String) { styles += names.map { ModuleStyle($0, style) } }
    let (attention, mlp) = ("layers.*.self_attn.", "layers.*.mlp.")
    if random.chance(0.8) {
      add(["q_proj", "k_proj", "v_proj"].map { attention + $0 }, "colwise")
      add([attention + "o_proj"], "rowwise")
    } else if random.chance(0.5) {
      add([attention + "o_proj"], "rowwise_split_input")
    }
    if random.chance(0.7) {
      add(["gate_proj", "up_proj"].map { mlp + $0 }, "colwise")
      add([mlp + "down_proj"], "rowwise")
    } else {
      add(["gate_proj", "up_proj"].map { mlp + $0 }, "colwise_gather_output")
      add([mlp + "down_proj"], "rowwise_split_input")
    }
    if random.chance(0.4) { add(["layers.*.input_layernorm", "norm"], "sequence_parallel") }
    let splitsVocabulary = random.chance(0.5)
    if splitsVocabulary { add(["lm_head"], "colwise_gather_output") }
    if isTied ? splitsVocabulary : random.chance(0.4) { add(["embed_tokens"], "embedding_rowwise") }
    return styles
  }

  @Test("differential: transformers' plan of styles of a plan, read again, is that plan")
  func huggingFace() throws {
    let hardware = try Samples.hardware("dgx-a100")
    let (count, refusals) = try identities(.huggingFace, HuggingFacePlan.exporting, hasJob: false) { random in
      let graph = try model(&random)
      var degrees = MegatronDegrees()
      (degrees.tensor, degrees.data) = (random.pick([1, 2, 2, 4]), random.pick([1, 1, 2]))
      if degrees.data > 1, random.chance(0.1) { degrees.zero = .gradients }
      if random.chance(0.1) { degrees.recompute = .full }
      degrees.microBatchSize = 2
      let isTied = graph.tensors.indices.contains { graph.tensors[$0].isParameter && graph.consumers[$0].count > 1 }
      let drawn = styles(isTied: isTied, &random)
      let request = try request(graph, degrees, steps: random.chance(0.1) ? 2 : 1, .bf16, hardware)
      return (try LaunchFixtures.plan(degrees.fix(request, drawn, .names), on: hardware), graph)
    }
    #expect(count >= 50, "\(count) of \(Self.seeds.count)\n\(refusals.joined(separator: "\n"))")
    #expect(!refusals.isEmpty)
  }

  // MARK: - Refusals

  private func refusal(_ exporting: (Plan) throws -> String, _ graph: Graph, _ change: (inout MegatronDegrees, inout Software) -> Void) throws
    -> Inexpressible?
  {
    let hardware = try Samples.hardware("dgx-a100")
    var (degrees, software) = (MegatronDegrees(), Software())
    degrees.microBatchSize = 1
    change(&degrees, &software)
    var request = try request(graph, degrees, steps: 4, .bf16, hardware)
    request.software = software
    let plan = try LaunchFixtures.plan(degrees.fix(request), on: hardware)
    do {
      _ = try exporting(plan)
      return nil
    } catch let refusal as Inexpressible {
      return refusal
    }
  }

  @Test("What a format cannot say is refused by its layer, stage, operator or part")
  func refusals() throws {
    let graph = try LaunchFixtures.llama(layers: 4, heads: 4, keyValueHeads: 4)
    func expect(_ refusal: Inexpressible?, _ place: String, _ words: String) {
      #expect(
        refusal.map { $0.place.contains(place) && $0.reason.contains(words) } ?? false, "\(String(describing: refusal)), expected \(place): \(words)")
    }
    let titan = TorchtitanLaunch.exporting
    expect(try refusal(titan, graph) { d, _ in d.tensor = 2 }, "input_layernorm", "splits the sequence")
    expect(try refusal(titan, graph) { d, _ in (d.data, d.zero) = (2, .optimizer) }, "the data replicas", "ZeRO 1")
    expect(try refusal(titan, graph) { d, _ in (d.data, d.pipeline) = (2, 2) }, "the data replicas", "ZeRO 0")
    expect(try refusal(titan, graph) { d, _ in (d.context, d.contextWay, d.zero) = (2, .ulysses, .weights) }, "core", "Ulysses")
    expect(try refusal(titan, graph) { d, _ in (d.tensor, d.isSequenceParallel) = (8, true) }, "core", "cuts no head")
    expect(try refusal(titan, graph) { d, _ in d.recompute = .selective }, "layer 0", "selective")
    expect(try refusal(titan, graph) { d, _ in (d.recompute, d.recomputedLayers) = (.full, 3) }, "layer 0", "n-th")

    let deep = DeepSpeedLaunch.exporting
    expect(try refusal(deep, graph) { d, _ in (d.pipeline, d.data, d.zero) = (2, 2, .weights) }, "the data replicas", "ZeRO 1 alone")
    expect(try refusal(deep, graph) { d, _ in (d.pipeline, d.stageLayers) = (2, [1, 3]) }, "stage 0", "holds 1 layer")
    expect(try refusal(deep, graph) { d, _ in (d.pipeline, d.chunks, d.schedule) = (2, 2, .interleaved) }, "stage 0", "chunks")
    expect(try refusal(deep, graph) { d, _ in (d.pipeline, d.schedule) = (2, .gpipe) }, "the schedule", "1F1B")
    expect(try refusal(deep, graph) { d, _ in (d.context, d.contextWay) = (2, .ring) }, "core", "Ulysses")
    // Megatron-LM splits the vocabulary, AutoTP linear layers alone.
    expect(try refusal(deep, graph) { d, _ in d.tensor = 2 }, "loss", "give a loss whole logits; search with --pin ")

    let styles = HuggingFacePlan.exporting
    expect(try refusal(styles, graph) { d, _ in d.pipeline = 2 }, "stage 1", "no pipeline")
    expect(try refusal(styles, graph) { d, _ in (d.data, d.zero) = (2, .weights) }, "model.", "ZeRO 3")
    expect(try refusal(styles, graph) { d, _ in d.recompute = .full }, "layer 0", "full")
    expect(try refusal(styles, graph) { _, _ in }, "the micro-batches", "are 4")
  }
}
