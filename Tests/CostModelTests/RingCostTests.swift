// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: what attention takes on a sequence that is split, worked by hand.
@Suite struct RingCostTests {
  /// One sequence of 1200 positions and 2 key-value heads of 3 query heads of 8 in fp32, on devices of 10¹² operations a second: 4 · 1200² · 6 · 8
  /// operations forward take 276.48 µs on one.
  private func pricing(mesh: [Int], causal: Bool, isZigzag: Bool = false, positions: Int = 1200) throws -> Pricing {
    var builder = GraphBuilder(name: "attention")
    let (b, s) = (builder.axis("batch", 1, .batch), builder.axis("seq", positions, .sequence))
    let (g, r, d) = (builder.axis("groups", 2, .heads), builder.axis("queries", 3, .queries), builder.axis("head", 8, .whole))
    let (h, v) = (builder.axis("hidden", 48, .feature), builder.axis("vocab", 10, .vocabulary))
    builder.begin(segment: "all")
    let (x, _) = builder.embedding("embed", ids: builder.input(.inputIDs, [b, s]), rows: v, features: h)
    let q = builder.linear("q", x, from: [h], to: [g, r, d], bias: false)
    let k = builder.linear("k", x, from: [h], to: [g, d], bias: false)
    let value = builder.linear("v", x, from: [h], to: [g, d], bias: false)
    let out = builder.apply(.attention(causal: causal), "core", [q, k, value], to: [b, s, g, r, d])
    builder.crossEntropyLoss(builder.linear("head", out, from: [g, r, d], to: [v], bias: false))
    builder.end()
    let rates = DeviceRates(
      peak: .teraflops(1), efficiency: .ideal, memory: .gigabytesPerSecond(1e9), launch: .zero, usable: .gibibytes(1))
    let cluster = try cluster(devices: mesh.reduce(1, *))
    let placements = (0..<1 << mesh.count).map { set in cluster.placement(ofAxes: mesh.indices.filter { set >> $0 & 1 == 1 }, in: Mesh(shape: mesh)) }
    return Pricing(
      model: .init(try builder.finish(), .train), mesh: mesh, rates: rates,
      job: Job(batch: 1, microBatches: 1, sequence: positions, mode: .train, optimizer: .adamw, precision: .fp32), placements: placements,
      isZigzag: isZigzag)
  }

  private func cost(_ words: [String], _ pricing: Pricing) throws -> OperatorCost {
    let op = try #require(pricing.graph.operators.firstIndex { $0.name == "core" })
    let rule = pricing.rules[op]
    return pricing.cost(op, try #require(Strategy.all(for: rule, mesh: pricing.mesh).first { $0.words(rule) == words }))
  }

  private func expect(_ found: Seconds, _ microseconds: Double, line: Int = #line) {
    #expect(abs(found.value * 1e6 - microseconds) <= 1e-9 * microseconds, "line \(line): \(found.value * 1e6) µs, by hand \(microseconds) µs")
  }

  /// Four steps of 17.28 µs, 43.2 µs backward. A block of keys or of values is 300 · 2 · 8 · 4 = 19,200 bytes: both take 1 µs + 0.384 µs, and hide.
  /// Only the gradients' way home does not.
  @Test func messagesHideBehindTheWorkOfTheirStep() throws {
    let cost = try cost(["ring"], pricing(mesh: [4], causal: false))
    expect(cost.forward, 4 * 17.28)
    expect(cost.backward, 4 * 43.2 + 1.384)
    #expect(cost.interior == .zero)
    expect(cost.backwardInterior, 1.384)
    // Two blocks of keys and values arrive, and three of gradients are about; beside the result, its gradient and those of q, k and v.
    #expect(cost.transient == Bytes(5 * 38400 + 3 * 57600 + 38400))
  }

  /// Two nodes: eight steps of 4.32 µs, 10.8 µs backward; a hop over the slowest edge takes 20 + 5 µs + 19,200 bytes / 10 GB/s = 26.92 µs, with
  /// gradients as well 28.84 µs. Every step but the last waits forward; backward all, and the last hop.
  @Test func aStepTakesTheLongerOfItsWorkAndItsMessages() throws {
    let cost = try cost(["ring"], pricing(mesh: [8], causal: false))
    expect(cost.forward, 7 * 26.92 + 4.32)
    expect(cost.interior, 7 * (26.92 - 4.32))
    expect(cost.backward, 26.92 + 6 * 28.84 + 26.92 + 26.92)
    expect(cost.backwardInterior, 26.92 + 6 * 28.84 + 26.92 + 26.92 - 8 * 10.8)
  }

  /// Contiguous, the last rank sees half of its own block and all of three others: 7/8 of its 69.12 µs. Zig-zag, every rank half of every block. The
  /// same with all keys gathered; with queries cut once more than keys; and around a ring of rings.
  @Test(arguments: [
    ([4], ["ring"]), ([4], ["context"]), ([2, 2], ["context", "ring"]), ([2, 2], ["ring", "context"]), ([2, 2], ["ring", "ring"]),
  ])
  func zigzagHalvesTheWorkOfACausalMask(mesh: [Int], words: [String]) throws {
    expect(try cost(words, pricing(mesh: mesh, causal: true)).forward, 69.12 * 7 / 8)
    expect(try cost(words, pricing(mesh: mesh, causal: true, isZigzag: true)).forward, 69.12 / 2)
    // Without a mask the order is nothing to the work.
    expect(try cost(words, pricing(mesh: mesh, causal: false, isZigzag: true)).forward, 69.12)
  }

  /// 1202 positions are not 8 equal chunks: the parts are contiguous, of 301 at most.
  @Test func aLengthThatChunksDoNotDivideStaysContiguous() throws {
    let pricing = try pricing(mesh: [4], causal: true, isZigzag: true, positions: 1202)
    #expect(pricing.orders.allSatisfy { $0.isNatural })
    expect(try cost(["context"], pricing).forward, 4 * 301 * 1202 * 48 * 1e-6 * 7 / 8)
  }
}
