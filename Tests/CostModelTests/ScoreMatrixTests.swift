// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: attention that writes its scores, worked by hand.
@Suite struct ScoreMatrixTests {
  /// 2 sequences of 100 positions, 6 heads of 8, in bf16: 2 · 6 · 100² = 120,000 scores; query, key, value and result have 9,600 elements each.
  private func cost(
    peak: Double, memory: Double, dropout: Double = 0.1, causal: Bool = false, mode: Mode = .train, halfDepth: Double = 0
  ) throws -> OperatorCost {
    var builder = GraphBuilder(name: "attention")
    let (b, s) = (builder.axis("batch", 2, .batch), builder.axis("seq", 100, .sequence))
    let (g, r, d) = (builder.axis("groups", 6, .heads), builder.axis("queries", 1, .queries), builder.axis("head", 8, .whole))
    let (h, v) = (builder.axis("hidden", 48, .feature), builder.axis("vocab", 10, .vocabulary))
    builder.begin(segment: "all")
    let (x, _) = builder.embedding("embed", ids: builder.input(.inputIDs, [b, s]), rows: v, features: h)
    let q = builder.linear("q", x, from: [h], to: [g, r, d], bias: false)
    let k = builder.linear("k", x, from: [h], to: [g, d], bias: false)
    let value = builder.linear("v", x, from: [h], to: [g, d], bias: false)
    let out = builder.apply(.attention(causal: causal, dropout: dropout), "core", [q, k, value], to: [b, s, g, r, d])
    builder.crossEntropyLoss(builder.linear("head", out, from: [g, r, d], to: [v], bias: false))
    builder.end()
    let efficiency = KernelEfficiency(gemm: 1, gemmHalfDepth: halfDepth, attention: 1, memory: 1, source: nil)
    let rates = DeviceRates(
      peak: .teraflops(peak), efficiency: efficiency, memory: .gigabytesPerSecond(memory), launch: .zero, usable: .gibibytes(1))
    var job = Job(batch: 2, microBatches: 1, sequence: 100, mode: mode, optimizer: .adamw, precision: .bf16)
    job.software.attention = .unfused
    let pricing = Pricing(model: .init(try builder.finish(), mode), mesh: [1], rates: rates, job: job, placements: [.alone, .alone])
    let op = try #require(pricing.graph.operators.firstIndex { $0.name == "core" })
    return pricing.cost(op, try #require(Strategy.all(for: pricing.rules[op], mesh: [1]).first))
  }

  private func expect(_ found: Seconds, _ nanoseconds: Double, line: Int = #line) {
    #expect(abs(found.value * 1e9 - nanoseconds) <= 1e-9 * nanoseconds, "line \(line): \(found.value * 1e9) ns, by hand \(nanoseconds) ns")
  }

  /// Two products of 2 · 120,000 · 8 operations, four backward, at 10¹² a second; a causal mask saves none.
  @Test func productsTakeTheirOperations() throws {
    for causal in [false, true] {
      let cost = try cost(peak: 1, memory: 1e9, causal: causal)
      #expect(abs(cost.forward.value * 1e9 - 2 * 1920) < 0.01 && abs(cost.backward.value * 1e9 - 4 * 1920) < 0.01)
    }
  }

  /// Products whose inner extent is 8 (QKᵀ; dP) take 1 + 16/8 times as long, those of 100 (PV; dV, dQ, dK) 1 + 16/100 times.
  @Test func shortProductsAreSlower() throws {
    let cost = try cost(peak: 1, memory: 1e9, halfDepth: 16)
    #expect(abs(cost.forward.value * 1e9 - 1920 * (3 + 1.16)) < 0.01 && abs(cost.backward.value * 1e9 - 1920 * (3 + 3 * 1.16)) < 0.01)
  }

  /// At 1 GB/s a byte takes a nanosecond. Scores are 240,000 bytes; each product moves them and two arrays of 19,200 bytes; softmax reads and writes
  /// them, backward it reads two such matrices and writes one; dropout reads and writes them and a mask of a byte each.
  @Test func kernelsPassOverTheWholeMatrix() throws {
    let (scores, operands) = (240_000.0, 38_400.0)
    let dropped = try cost(peak: 1e9, memory: 1)
    expect(dropped.forward, 2 * (scores + operands) + 2 * scores + 2 * scores + 120_000)
    expect(dropped.backward, 4 * (scores + operands) + 3 * scores + 2 * scores + 120_000)
    let plain = try cost(peak: 1e9, memory: 1, dropout: 0)
    expect(plain.forward, 2 * (scores + operands) + 2 * scores)
    expect(plain.backward, 4 * (scores + operands) + 3 * scores)
    // Nothing is dropped where nothing is learned.
    expect(try cost(peak: 1e9, memory: 1, mode: .forward).forward, 2 * (scores + operands) + 2 * scores)
  }

  /// Probabilities, what dropout leaves of them, and its mask: 5 bytes a score.
  @Test func scoresAreKept() throws {
    #expect(try cost(peak: 1, memory: 1).extras == Bytes(5 * 120_000))
    #expect(try cost(peak: 1, memory: 1, dropout: 0).extras == Bytes(2 * 120_000))
    #expect(try cost(peak: 1, memory: 1, mode: .forward).extras == .zero)
  }
}
