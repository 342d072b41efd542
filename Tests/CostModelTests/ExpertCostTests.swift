// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: what a mixture of experts takes, worked by hand.
@Suite struct ExpertCostTests {
  /// b = 8 sequences of s = 64 positions, h = 32 features, 2 of 4 experts of width 48.
  private func pricing(devices: Int) throws -> Pricing {
    var builder = GraphBuilder(name: "experts")
    let (b, s) = (builder.axis("batch", 8, .batch), builder.axis("seq", 64, .sequence))
    let (v, h) = (builder.axis("vocab", 16, .vocabulary), builder.axis("hidden", 32, .feature))
    let (e, f) = (builder.axis("experts", 4, .experts), builder.axis("ffn", 48, .feature))
    let routes = builder.axis("routes", 4, .whole)
    let c = builder.slots("slots", Axis.Slots(positions: s, experts: e, perToken: 2))
    builder.begin(segment: "all")
    let x = builder.embedding("x", ids: builder.input(.inputIDs, [b, s]), rows: v, features: h).result
    let logits = builder.linear("router", x, from: [h], to: [e], bias: false)
    let routed = builder.apply(.route(topK: 2, renormalises: true), "route", [logits], to: [b, s, routes])
    let sent = builder.apply(.dispatch, "dispatch", [x, routed], to: [e, b, c, h])
    let up = builder.apply(.expertLinear, "up", [sent, builder.parameter("up.weight", stored: [[e], [h], [f]])], to: [e, b, c, f])
    let down = builder.apply(.expertLinear, "down", [up, builder.parameter("down.weight", stored: [[e], [f], [h]])], to: [e, b, c, h])
    let y = builder.apply(.combine, "combine", [down, routed], to: [b, s, h])
    builder.crossEntropyLoss(builder.linear("head", y, from: [h], to: [v], bias: false))
    builder.end()
    let graph = try builder.finish()
    let cluster = try cluster(devices: devices)
    let mesh = Mesh(shape: [devices])
    return Pricing(
      graph: graph, mesh: [devices], rates: try DeviceRates(cluster.kind(of: 0), .fp32),
      job: Job(batch: 8, microBatches: 1, sequence: 64, mode: .train, optimizer: .adamw, precision: .fp32),
      placements: [cluster.placement(ofAxes: [], in: mesh), cluster.placement(ofAxes: [0], in: mesh)])
  }

  private func op(_ name: String, _ pricing: Pricing) throws -> OperatorID {
    try #require(pricing.graph.operators.firstIndex { $0.name == name })
  }

  private func strategy(_ word: String, _ op: OperatorID, _ pricing: Pricing) throws -> Strategy {
    try #require(Strategy.all(for: pricing.rules[op], mesh: pricing.mesh).first { $0.words(pricing.rules[op]) == [word] })
  }

  /// Each of 4 devices has the places of 2 of 8 sequences, 4 experts · 2 · 32 places · 32 features · 4 bytes = 32,768 bytes, b·s·k·h/P in all. It keeps one
  /// quarter, and sends ¾ = 24,576 bytes at 100 GB/s to three others at 1 µs each.
  @Test func tokensGoToTheirExpertsInOneAllToAll() throws {
    let pricing = try pricing(devices: 4)
    let dispatch = try op("dispatch", pricing)
    let tokens = try strategy("data", dispatch, pricing)
    let experts = try strategy("expert", try op("up", pricing), pricing)
    let sent = pricing.graph.operators[dispatch].result
    #expect(pricing.bytes(sent, tokens.result) == Bytes(8 * 64 * 2 * 32 / 4 * 4))
    let path = try #require(Resharder(pricing).path(sent, from: tokens.result, to: experts.operands[0].forward))
    #expect(path.steps.map(\.collective) == [.allToAll])
    #expect(abs(path.time.value * 1e6 - (3 * 1 + 24576 / 100e3)) < 1e-9)
    // And the same way back.
    #expect(try #require(Resharder(pricing).time(sent, from: experts.operands[0].gradient, to: tokens.resultGradient)) == path.time)
  }

  /// 2 experts a token: 2 · 8·64 tokens · 2 products of 2·32·48 operations, whoever computes them; backward twice that.
  @Test(arguments: ["expert", "data", "column", "row"]) func operationsAreThoseOfTheChosenExperts(word: String) throws {
    let pricing = try pricing(devices: 4)
    let up = try op("up", pricing)
    let cost = pricing.cost(up, try strategy(word, up, pricing))
    let tokens = 8 * 64 * 2
    // The device computes 10¹² operations and moves 10¹¹ bytes a second: these products are bound by memory, so count by that.
    let strategy = try strategy(word, up, pricing)
    let bytes = zip(pricing.graph.operators[up].operands, strategy.operands).reduce(
      pricing.bytes(pricing.graph.operators[up].result, strategy.result)
    ) {
      $0 + pricing.bytes($1.0, $1.1.forward)
    }
    let operations = 2.0 * Double(tokens * 32 * 48) / 4
    let byHand = max(operations / 1e12, bytes.value / 1e11)
    #expect(abs(cost.forward.value - byHand) < 1e-15)
    #expect(abs(cost.backward.value - 2 * byHand) < 1e-15)
  }

  /// Experts over devices: a quarter of the weights each, and no gradient to add up. Data over devices: all of them, and an all-reduce.
  @Test func expertWeightsAreSharedOutOrSynchronised() throws {
    let pricing = try pricing(devices: 4)
    let up = try op("up", pricing)
    let spread = pricing.weights(up, try strategy("expert", up, pricing), .none, ownsParameter: [false, true])
    let copied = pricing.weights(up, try strategy("data", up, pricing), .none, ownsParameter: [false, true])
    #expect(spread.weights == Bytes(4 * 32 * 48 * 4 / 4) && copied.weights == Bytes(4 * 32 * 48 * 4))
    #expect(spread.collectives.isEmpty)
    #expect(copied.collectives.map(\.kind) == [.allReduce] && copied.collectives[0].bytes == Bytes(4 * 32 * 48 * 4))
  }

  /// Kept: the places' features before each product (h, f), the results (h) for the weights' gradients, and the routes: two weights and two numbers a token.
  @Test func whatBackwardNeeds() throws {
    let pricing = try pricing(devices: 4)
    let graph = pricing.graph
    func kept(_ name: String) throws -> Set<String> {
      let op = try op(name, pricing)
      return Set(
        graph.operators[op].operands.indices.filter { pricing.keeps(op, operand: $0) }.map { graph.tensors[graph.operators[op].operands[$0]].name })
    }
    #expect(try kept("route").isEmpty && pricing.keepsResult(op("route", pricing)))
    #expect(try kept("dispatch") == ["route"])
    #expect(try kept("up") == ["dispatch"] && kept("down") == ["up"])
    #expect(try kept("combine") == ["down", "route"])
    let route = try op("route", pricing)
    #expect(pricing.bytes(graph.operators[route].result, try strategy("data", route, pricing).result) == Bytes(8 * 64 * 4 * 4 / 4))
  }
}
