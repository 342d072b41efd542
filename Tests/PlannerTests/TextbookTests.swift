// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import Lowering
import Plans
import Quantities
import Strategies
import Testing

@testable import Planner

/// Oracle: what the literature finds, on the shipped hardware files; and the reverse on an altered copy of each.
@Suite struct TextbookTests {
  private let block = "transformer.h.{i}"

  /// gpt2 on one sequence: tensor and sequence splits are all there is to share out.
  private func gpt2OnOneNode(alter: (inout String) -> Void = { _ in }) throws -> PlanOutcome.Planned {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("derecho", alter: alter), devices: 4, batch: 1, sequence: 1024)
    (request.pipelineDegree, request.mesh) = (1, [4])
    return try #require(try Planner.search(request).plan)
  }

  private static func slowNVLink(_ text: inout String) {
    text = text.replacingOccurrences(of: "\"bandwidth_GBps\": 300", with: "\"bandwidth_GBps\": 1")
  }

  /// Megatron-LM (Shoeybi et al. 2019, §3): the MLP's first product by columns, its second by rows; operators g and f.
  @Test func mlpInsideOneNodeIsColumnThenRowWithOneAllReduceEachWay() throws {
    let plan = try gpt2OnOneNode()
    #expect(plan.words("\(block).mlp.c_fc") == ["column"])
    #expect(plan.words("\(block).mlp.act") == ["column"])
    #expect(plan.words("\(block).mlp.c_proj") == ["row"])
    for pass in [KernelCall.Phase.forward, .backward] {
      #expect(collectives(plan, in: "\(block).mlp.", pass) == [CollectiveKind](repeating: .allReduce, count: 12), "one for each of 12 layers")
    }
    let slow = try gpt2OnOneNode(alter: Self.slowNVLink)
    #expect(slow.words("\(block).mlp.c_fc") != ["column"])
    #expect(slow.words("\(block).mlp.c_proj") != ["row"])
  }

  /// Megatron-LM, §3: attention by heads, its output projection by rows.
  @Test func attentionIsSplitByHeadsAndItsProjectionByRows() throws {
    let plan = try gpt2OnOneNode()
    for name in ["q", "k", "v"] { #expect(plan.words("\(block).attn.c_attn.\(name)") == ["column"]) }
    #expect(plan.words("\(block).attn.core") == ["heads"])
    #expect(plan.words("\(block).attn.c_proj") == ["row"])
    for pass in [KernelCall.Phase.forward, .backward] {
      #expect(collectives(plan, in: "\(block).attn.", pass) == [CollectiveKind](repeating: .allReduce, count: 12), "q, k and v pay together")
    }
    #expect(try gpt2OnOneNode(alter: Self.slowNVLink).words("\(block).attn.core") != ["heads"])
  }

  /// The collectives in rank 0's program that bring operands of the named operators, or gradients to them, into other layouts.
  private func collectives(_ plan: PlanOutcome.Planned, in prefix: String, _ phase: KernelCall.Phase) -> [CollectiveKind] {
    let graph = plan.decision.graph
    let program = Lowering.program(for: plan.decision, rank: 0)
    return program.instructions.compactMap { instruction in
      guard case .reshard(let step, let from, _) = instruction else { return nil }
      let tensor = program.buffers[from].tensor
      let isBackward = program.buffers[from].role == .gradient
      let readers = graph.consumers[tensor].map { graph.operators[$0.op].name }
      guard isBackward == (phase == .backward), readers.contains(where: { $0.hasPrefix(prefix) }) else { return nil }
      return step.collective
    }
  }

  @Test(arguments: ["column", "row"]) func twoProductsOfABlockAreCheaperWithDifferentSplits(word: String) throws {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("derecho"), devices: 4, batch: 1, sequence: 1024)
    (request.pipelineDegree, request.mesh) = (1, [4])
    let free = try #require(try Planner.search(request).plan)
    #expect(free.words("\(block).mlp.c_fc") != free.words("\(block).mlp.c_proj"))
    request.constraints = ["c_fc", "c_proj"].map { StrategyConstraint(pattern: "\(block).mlp.\($0)", words: [word], isForbidden: false) }
    let alike = try #require(try Planner.search(request).plan)
    #expect(alike.words("\(block).mlp.c_fc") == [word] && alike.words("\(block).mlp.c_proj") == [word])
    #expect(alike.prediction.step > free.prediction.step)
  }

  /// GShard (Lepikhin et al. 2020, §3.2): experts are spread over the devices, everything else is split along the data, and tokens go to their
  /// experts and back in one all-to-all each.
  @Test func expertsAreSpreadOverDevicesWhileDenseLayersKeepAnotherSplit() throws {
    var request = try Shipped.request("mixtral-8x7b", on: Shipped.hardware("dgx-h100"), devices: 16, batch: 64, sequence: 4096)
    (request.pipelineDegree, request.mesh, request.microBatches, request.recompute) = (2, [8], 8, Recompute.none)
    let plan = try #require(try Planner.search(request).plan)
    let layer = "model.layers.{i}"
    for product in ["w1", "w2", "w3"] { #expect(plan.words("\(layer).block_sparse_moe.experts.\(product)") == ["expert"]) }
    for name in ["self_attn.q_proj", "self_attn.core", "self_attn.o_proj", "block_sparse_moe.gate", "block_sparse_moe.dispatch"] {
      let words = plan.words("\(layer).\(name)")
      #expect(!words.contains("expert") && !words.contains("replicate"), "\(name) is \(words)")
    }
    let layers = plan.decision.stages[0].units.reduce(0) { $1.segment == 1 ? $0 + $1.copies.count : $0 }
    for reader in ["experts.w1", "combine"] {
      let found = collectives(plan, in: "\(layer).block_sparse_moe.\(reader)", .forward)
      #expect(Set(found) == [.allToAll] && found.count == 8 * layers, "one for each micro-batch and layer of the first stage")
    }
  }

  /// Narayanan et al. 2021, §3.2: tensor parallelism up to the devices of a node, no further. Stages of two nodes could go to 8.
  @Test func onDerechoTheTensorDegreeStaysInsideTheNode() throws {
    let plan = try llamaOnStagesOfTwoNodes()
    let degrees = plan.decision.graph.operators.indices.filter { isProductOfALayer(plan, $0) }.map { plan.tensorDegree($0) }
    #expect(degrees.max() == 4)
    let fast = try llamaOnStagesOfTwoNodes {
      let nodes = "\"bandwidth_GBps\": 25,"
      $0 = $0.replacingOccurrences(of: nodes, with: "\"bandwidth_GBps\": 100000,").replacingOccurrences(
        of: "\"startup_us\": 15", with: "\"startup_us\": 0"
      )
      .replacingOccurrences(of: "\"latency_us\": 6", with: "\"latency_us\": 0")
    }
    #expect(fast.decision.graph.operators.indices.filter { isProductOfALayer(fast, $0) }.contains { fast.tensorDegree($0) == 8 })
  }

  private func isProductOfALayer(_ plan: PlanOutcome.Planned, _ op: Int) -> Bool {
    let graph = plan.decision.graph
    return graph.operators[op].kind == .linear && graph.segments[graph.segmentOfOperator[op]].repeats > 1
  }

  private func llamaOnStagesOfTwoNodes(alter: (inout String) -> Void = { _ in }) throws -> PlanOutcome.Planned {
    var request = try Shipped.request("llama-3-70b", on: Shipped.hardware("derecho", alter: alter), devices: 128, batch: 64, sequence: 1024)
    (request.mesh, request.microBatches, request.schedule) = ([2, 4], 32, .oneForwardOneBackward)
    request.stageLayers = [Int](repeating: 5, count: 16)
    // Sequence splits are left out: they are another question, and the search is several times faster without.
    request.constraints = ["sequence", "context", "ring"].map { StrategyConstraint(pattern: "*", words: [$0], isForbidden: true) }
    return try #require(try Planner.search(request).plan)
  }

  /// gpt2 at its published batch: gradients cross the network once per step, activations would cross it in every layer.
  @Test func aSmallModelOnEthernetStaysDataParallel() throws {
    let plan = try gpt2OnEthernet()
    let graph = plan.decision.graph
    #expect(graph.operators.indices.allSatisfy { plan.tensorDegree($0) == 1 })
    #expect(graph.operators.indices.filter { graph.operators[$0].kind == .linear }.allSatisfy { plan.dataDegree($0) == 8 })
    // The reverse: with a sequence for each device the gradients weigh more. Ethernet is then too slow for any split; NVLink's figures in its place
    // bring tensor splits.
    let small = try gpt2OnEthernet(batch: 8, microBatches: 1)
    #expect(small.decision.graph.operators.indices.allSatisfy { small.tensorDegree($0) == 1 })
    let fast = try gpt2OnEthernet(batch: 8, microBatches: 1) {
      $0 = $0.replacingOccurrences(of: "\"bandwidth_GBps\": 1.25", with: "\"bandwidth_GBps\": 300")
        .replacingOccurrences(of: "\"startup_us\": 50", with: "\"startup_us\": 5").replacingOccurrences(
          of: "\"latency_us\": 30", with: "\"latency_us\": 2")
    }
    #expect(fast.decision.graph.operators.indices.contains { fast.decision.graph.operators[$0].kind == .linear && fast.tensorDegree($0) == 8 })
  }

  private func gpt2OnEthernet(batch: Int = 512, microBatches: Int = 8, alter: (inout String) -> Void = { _ in }) throws -> PlanOutcome.Planned {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("ethernet", alter: alter), devices: 8, batch: batch, sequence: 1024)
    (request.mesh, request.microBatches) = ([8], microBatches)
    return try #require(try Planner.search(request).plan)
  }

  /// llama-3-8b in training needs 8 × 10^9 × 18 bytes, more than one A100 has.
  @Test func aModelThatFitsOnNoDeviceIsSplitUntilItFits() throws {
    func outcome(devices: Int, memory: Int = 80) throws -> PlanOutcome {
      let hardware = try Shipped.hardware("dgx-a100") { $0 = $0.replacingOccurrences(of: "\"memory_GiB\": 80", with: "\"memory_GiB\": \(memory)") }
      var request = try Shipped.request("llama-3-8b", on: hardware, devices: devices, batch: 1, sequence: 512)
      (request.pipelineDegree, request.mesh) = (1, [devices])
      return try Planner.search(request)
    }
    guard case .infeasible(let why) = try outcome(devices: 1), let memory = why.memory else {
      Issue.record("llama-3-8b fits on one device")
      return
    }
    #expect(memory.limit == .gibibytes(79))
    #expect(memory.least > Bytes(18 * 8.03e9))
    let split = try #require(try outcome(devices: 4).plan)
    #expect(split.prediction.memory <= .gibibytes(79))
    // The reverse: a device with room for everything needs no split.
    #expect(try outcome(devices: 1, memory: 200).plan != nil)
  }

  /// Narayanan et al. 2021, §3: tensor parallelism inside the NVLink domain, pipeline stages across InfiniBand, replicas outside; and Korthikanti et
  /// al. 2022, §4.2.2: what stands between tensor-parallel regions is split along the sequence.
  @Test func gpt3IsTensorParallelInsideTheNodeAndDataParallelOutside() throws {
    var request = try Shipped.request("gpt3-175b", on: Shipped.hardware("dgx-a100"), devices: 1024, batch: 1536, sequence: 2048)
    (request.mesh, request.microBatches, request.schedule) = ([16, 8], 96, .oneForwardOneBackward)
    (request.stageLayers, request.recompute, request.layersMayDiffer) = ([Int](repeating: 12, count: 8), Recompute.none, false)
    // The last axis is a node.
    let inside = try #require(try Planner.search(request).plan)
    for name in ["attn.c_attn.q", "attn.c_attn.k", "attn.c_attn.v", "mlp.c_fc"] { #expect(inside.words("\(block).\(name)") == ["data", "column"]) }
    #expect(inside.words("\(block).attn.core") == ["data", "heads"])
    #expect(inside.words("\(block).mlp.c_proj") == ["data", "row"])
    for name in ["ln_1", "attn.dropout", "attn.residual", "ln_2", "mlp.dropout", "mlp.residual"] {
      #expect(inside.words("\(block).\(name)") == ["data", "sequence"])
    }
  }

  /// The slower NVLink is, the fewer devices share out a layer's products; they take the sequence instead.
  @Test func slowerNVLinkLowersTheTensorDegreeOfGPT3() throws {
    let degrees = try [300, 150].map { bandwidth in
      let hardware = try Shipped.hardware("dgx-a100") {
        $0 = $0.replacingOccurrences(of: "\"bandwidth_GBps\": 300", with: "\"bandwidth_GBps\": \(bandwidth)")
      }
      var request = try Shipped.request("gpt3-175b", on: hardware, devices: 1024, batch: 1536, sequence: 2048)
      (request.mesh, request.microBatches, request.schedule) = ([8, 8], 192, .oneForwardOneBackward)
      (request.stageLayers, request.recompute, request.layersMayDiffer) = ([Int](repeating: 6, count: 16), Recompute.none, false)
      let plan = try #require(try Planner.search(request).plan)
      return plan.decision.graph.operators.indices.filter { isProductOfALayer(plan, $0) }.map { plan.tensorDegree($0) }
    }
    #expect(zip(degrees[0], degrees[1]).allSatisfy { $0 >= $1 } && degrees[0] != degrees[1], "\(degrees)")
  }

  /// Korthikanti et al. 2022, §4.2.2 and §5: what was gathered is the cheapest to have again, then attention; whole layers are the last resort.
  @Test func attentionIsRecomputedBeforeWholeLayers() throws {
    let kinds = try [80, 64, 60, 56, 54].map { memory in
      let hardware = try Shipped.hardware("dgx-a100") { $0 = $0.replacingOccurrences(of: "\"memory_GiB\": 80", with: "\"memory_GiB\": \(memory)") }
      var request = try Shipped.request("megatron-22b", on: hardware, devices: 8, batch: 4, sequence: 2048)
      (request.mesh, request.microBatches, request.zero) = ([8], 1, ZeROStage.none)
      let decision = try #require(try Planner.search(request).plan).decision
      var layers: [Recompute: Int] = [:]
      for unit in decision.stages[0].units where decision.recompute[unit.segment] != .none {
        layers[decision.recompute[unit.segment], default: 0] += unit.copies.count
      }
      return layers
    }
    #expect(kinds[0].isEmpty)
    func layers(_ kind: Recompute) -> [Int] { kinds.map { $0[kind, default: 0] } }
    let gathered = layers(.gathered)
    #expect(0 < gathered[1] && gathered[1] < gathered[2] && kinds[1].count == 1 && kinds[2].count == 1, "\(kinds)")
    let (full, selective) = (layers(.full), layers(.selectiveGathered))
    #expect(0 < full[3] && full[3] < full[4] && full[3] + selective[3] == 48 && full[4] + selective[4] == 48, "\(kinds)")
  }

  /// Jacobs et al. 2023 (DeepSpeed Ulysses): with one sequence of 128K tokens its positions are shared out; attention sees all of them, by heads.
  /// The same tokens in sequences of 8K are shared out by sequence.
  @Test func aContextOf128KIsSplitAlongTheSequence() throws {
    func plan(batch: Int, sequence: Int) throws -> PlanOutcome.Planned {
      var request = try Shipped.request("llama-3-8b-128k", on: Shipped.hardware("dgx-h100"), devices: 8, batch: batch, sequence: sequence)
      (request.mesh, request.microBatches) = ([8], 1)
      return try #require(try Planner.search(request).plan)
    }
    // The first layers may be of a kind of their own.
    func words(_ plan: PlanOutcome.Planned, _ name: String) -> Set<[String]> {
      Set(plan.decision.graph.operators.map(\.name).filter { $0.hasPrefix("model.layers.{i") && $0.hasSuffix(".\(name)") }.map(plan.words))
    }
    let (long, short) = (try plan(batch: 1, sequence: 131_072), try plan(batch: 16, sequence: 8192))
    for name in ["input_layernorm", "self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"] {
      #expect(words(long, name) == [["sequence"]] && words(short, name) == [["data"]], "\(name)")
    }
    #expect(words(long, "self_attn.core").isSubset(of: [["heads"], ["context"], ["ring"]]) && words(short, "self_attn.core") == [["data"]])
  }

  /// Liu et al. 2023; Fang and Zhao 2024, "USP": one long sequence on more devices than attention has heads is split along its positions, by heads
  /// inside a node and around a ring of nodes, whose messages hide behind work where gathering would not; in zig-zag order, since the last of
  /// contiguous parts has almost twice the mean work.
  @Test func aLongSequenceOnMoreDevicesThanHeadsGoesAroundARingOfNodes() throws {
    let core = "model.layers.{i}.self_attn.core"
    func plan(contiguous: Bool = false, _ words: [String]? = nil) throws -> PlanOutcome.Planned {
      var request = try Shipped.request("llama-3-8b-128k", on: Shipped.hardware("dgx-h100"), devices: 64, batch: 1, sequence: 131_072)
      (request.pipelineDegree, request.mesh, request.isZigzag) = (1, [8, 8], !contiguous)
      if let words { request.constraints = [StrategyConstraint(pattern: core, words: words, isForbidden: false)] }
      return try #require(try Planner.search(request).plan)
    }
    let free = try plan()
    #expect(free.words(core) == ["ring", "heads"])
    #expect(free.decision.orders.map(\.pairs).max() == 8)
    #expect(try plan(["context", "heads"]).prediction.step > free.prediction.step)
    let contiguous = try plan(contiguous: true, ["ring", "heads"])
    #expect(contiguous.decision.orders.allSatisfy { $0.isNatural })
    let op = try #require(free.decision.graph.operators.firstIndex { $0.name == core })
    #expect(abs(contiguous.prediction.operators[op].forward / free.prediction.operators[op].forward / (15.0 / 8) - 1) < 0.01)
  }

  /// Van de Geijn and Watts 1997, Xu et al. 2021 (Optimus): splitting products in two dimensions sends less than in one as devices get more. Bytes are
  /// those that a device sends by rings, counted in the plan, on a network of one level.
  @Test func twoDimensionsSendLessThanOneFromSomeNumberOfDevicesOn() throws {
    let hardware = try Shipped.hardware("dgx-a100") { text in
      let (start, end) = (text.range(of: "    {\n      \"name\": \"infiniband\"")!.lowerBound, text.range(of: "\n  ]\n}")!.lowerBound)
      text.replaceSubrange(start..<end, with: "")
      text = text.replacingOccurrences(of: "    },\n\n  ]", with: "    }\n  ]").replacingOccurrences(of: "\"joins\": 8", with: "\"joins\": \"any\"")
    }
    func plan(_ mesh: [Int]) throws -> PlanOutcome.Planned {
      var request = try Shipped.request("mlp", on: hardware, devices: mesh.reduce(1, *), batch: 512, sequence: 1024)
      (request.mesh, request.microBatches, request.zero, request.recompute) = (mesh, 1, ZeROStage.none, Recompute.none)
      request.constraints = ["data", "sequence"].map { StrategyConstraint(pattern: "*", words: [$0], isForbidden: true) }
      return try #require(try Planner.search(request).plan)
    }
    var ratios: [Double] = []
    for side in [2, 4, 8, 16] {
      let (line, square) = (try plan([side * side]), try plan([side, side]))
      ratios.append(sent(line) / sent(square))
      // The cheaper one in bytes is the faster one, where they differ.
      if side > 4 { #expect(square.prediction.step < line.prediction.step) }
    }
    #expect(ratios == ratios.sorted() && ratios[0] <= 1 && ratios[2] > 1.5 && ratios[3] > 3, "\(ratios)")
  }

  /// Agarwal et al. 1995 ("A three-dimensional approach to parallel matrix multiplication"), Irony et al. 2004: with a weight's memory in p^(1/3) copies,
  /// products in three dimensions send n²/p^(2/3) where those in two send n²/p^(1/2), and in one n². Counted in the plans of a chain of products on a
  /// network of one level, whose memory holds no more copies.
  @Test func threeDimensionsSendLessThanTwoWhereMemoryHoldsCopies() throws {
    let model = TinyModel(block: .linear, layers: 64, batch: 4096, hidden: 4096, inner: 4096, vocabulary: 8)
    let weights = 2.0 * 2 * 64 * 4096 * 4096
    func plan(_ mesh: [Int], copies: Int) throws -> PlanOutcome.Planned {
      let devices = mesh.reduce(1, *)
      var hardware = TinyHardware(devices: devices, devicesPerNode: devices)
      (hardware.peak, hardware.memoryBandwidth, hardware.innerBandwidth) = (1e15, 1e13, 1e10)
      hardware.memory = 1.04 * weights * Double(copies) / Double(devices)
      var request = SearchRequest(
        graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .bf16, mode: .forward,
        optimizer: .adamw)
      (request.mesh, request.pipelineDegree, request.microBatches) = (mesh, 1, 1)
      return try #require(try Planner.search(request).plan)
    }
    var ratios: [Double] = []
    for (side, two) in [(2, [2, 4]), (4, [8, 8]), (8, [16, 32])] {
      let (line, square, cube) = try (plan([side * side * side], copies: side), plan(two, copies: side), plan([side, side, side], copies: side))
      #expect(sent(line) > sent(square) && sent(square) > sent(cube))
      #expect(line.prediction.step > square.prediction.step && square.prediction.step > cube.prediction.step)
      #expect(Set(cube.words("block.{i}.up")) == ["data", "row", "column"])
      #expect(Set(cube.words("block.{i}.down")) == ["data", "row", "column"])
      ratios.append(sent(square) / sent(cube))
    }
    #expect(ratios == ratios.sorted() && ratios[2] > 2, "\(ratios)")
  }

  /// Bytes that a device sends in a step.
  private func sent(_ plan: PlanOutcome.Planned) -> Double {
    plan.prediction.collectives.reduce(0) { sum, part in
      let group = Double(part.axes.reduce(1) { $0 * plan.decision.mesh[$1] })
      let passes: Double = part.kind == .allReduce ? 2 : 1
      return sum + passes * (group - 1) / group * part.bytes.value * Double(part.calls * part.copies)
    }
  }

  /// Rajbhandari et al. 2020, §5.3: ZeRO 3 holds an operator's whole weights while it runs. Where they do not fit, products are split.
  @Test func aLayerThatCannotBeGatheredIsSplit() throws {
    var hardware = TinyHardware(devices: 4, innerBandwidth: 1e7)
    func search(memory: Double, replicated: Bool) throws -> PlanOutcome {
      hardware.memory = memory
      let model = TinyModel(block: .mlp, layers: 4, batch: 1024, hidden: 16, inner: 256)
      var request = SearchRequest(
        graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train,
        optimizer: .adamw)
      (request.mesh, request.zero, request.layersMayDiffer) = ([4], .weights, false)
      if replicated { request.constraints = [StrategyConstraint(pattern: "block.*", words: ["data"], isForbidden: false)] }
      return try Planner.search(request)
    }
    // The least memory in which data-parallel layers fit.
    var (short, least) = (1e3, 1e7)
    while least - short > 1 {
      let middle = ((short + least) / 2).rounded()
      if try search(memory: middle, replicated: true).plan == nil { short = middle } else { least = middle }
    }
    func tensorDegrees(_ plan: PlanOutcome.Planned) -> [Int] {
      plan.decision.graph.operators.indices.filter { isProductOfALayer(plan, $0) }.map { plan.tensorDegree($0) }
    }
    let split = try #require(try search(memory: short, replicated: false).plan)
    #expect(tensorDegrees(split).max() == 4)
    // With room the weights are gathered, or with more of it held.
    let roomy = try #require(try search(memory: 1e9, replicated: false).plan)
    #expect(tensorDegrees(roomy).max() == 1)
  }
}
