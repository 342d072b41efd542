// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: what frozen weights cost, worked by hand.
@Suite struct FrozenTests {
  /// x [16, 8] → first (8 × 4) → relu → second (4 × 8) → loss over 8 classes.
  private func graph(frozen: Set<String>) throws -> Graph {
    var builder = GraphBuilder(name: "two")
    let batch = builder.axis("batch", 16, .batch)
    let (features, inner) = (builder.axis("features", 8, .feature), builder.axis("inner", 4, .feature))
    let classes = builder.axis("classes", 8, .vocabulary)
    builder.begin(segment: "all")
    let x = builder.input(.pixelValues, [batch, features])
    let first = builder.linear("first", x, from: [features], to: [inner], bias: false)
    let relu = builder.elementwise(.activation(.relu), "relu", first)
    builder.crossEntropyLoss(builder.linear("second", relu, from: [inner], to: [classes], bias: false))
    builder.end()
    return try builder.finish().freezing(frozen.contains)
  }

  private func pricing(frozen: Set<String>) throws -> Pricing {
    let cluster = try cluster(devices: 2)
    let placements = [[], [0]].map { cluster.placement(ofAxes: $0, in: Mesh(shape: [2])) }
    let job = Job(batch: 16, microBatches: 1, sequence: nil, mode: .train, optimizer: .adamw, precision: .bf16)
    // One operation a second, so that a product takes as many seconds as it has operations.
    let rates = DeviceRates(
      peak: FLOPRate(1), efficiency: .ideal, memory: .gigabytesPerSecond(1000), launch: .zero, usable: .gibibytes(1))
    return Pricing(graph: try graph(frozen: frozen), mesh: [2], rates: rates, job: job, placements: placements)
  }

  private func strategy(_ name: String, _ word: String, _ pricing: Pricing) throws -> (op: OperatorID, strategy: Strategy) {
    let op = try #require(pricing.graph.operators.firstIndex { $0.name == name })
    let all = Strategy.all(for: pricing.rules[op], mesh: [2])
    return (op, try #require(all.first { $0.words(pricing.rules[op]) == [word] }))
  }

  /// 2 · 16 · 8 · 4 operations a product. The first operator's input has no gradient; the second's has.
  @Test func backwardMakesOnlyTheProductsThatAreWanted() throws {
    let product = 2.0 * 16 * 8 * 4
    func backward(_ name: String, frozen: Set<String>) throws -> Double {
      let pricing = try pricing(frozen: frozen)
      let (op, strategy) = try strategy(name, "replicate", pricing)
      return (pricing.cost(op, strategy).backward.value / product * 1e6).rounded() / 1e6
    }
    #expect(try backward("first", frozen: []) == 1)
    #expect(try backward("second", frozen: []) == 2)
    // Frozen behind something learned: the input's gradient alone.
    #expect(try backward("first", frozen: ["second.weight"]) == 1)
    #expect(try backward("second", frozen: ["second.weight"]) == 1)
    // Learned behind something frozen: the weight's gradient alone.
    #expect(try backward("first", frozen: ["first.weight"]) == 0)
    #expect(try backward("second", frozen: ["first.weight"]) == 1)
  }

  /// A product's weight gradient is made of its input, and its input's gradient of its weight.
  @Test func backwardKeepsOnlyWhatItReads() throws {
    func keeps(_ name: String, frozen: Set<String>) throws -> Bool {
      let pricing = try pricing(frozen: frozen)
      return pricing.keeps(try strategy(name, "replicate", pricing).op, operand: 0)
    }
    #expect(try keeps("relu", frozen: []) && keeps("second", frozen: []))
    #expect(try keeps("relu", frozen: ["second.weight"]) && !keeps("second", frozen: ["second.weight"]))
    #expect(try !keeps("relu", frozen: ["first.weight"]) && keeps("second", frozen: ["first.weight"]))
  }

  /// 32 weights: 2 bytes each as kernels read them. Learned, also 4 of gradient and 4 + 8 of master weight and AdamW's state, and an all-reduce of
  /// the gradients of replicas that see different data.
  @Test func frozenWeightsHaveNoGradientAndNoState() throws {
    for (frozen, bytes) in [(Set<String>(), [64.0, 128, 384]), (["second.weight"], [64.0, 0, 0])] {
      let pricing = try pricing(frozen: frozen)
      let (op, strategy) = try strategy("second", "data", pricing)
      let cost = pricing.weights(op, strategy, .none, ownsParameter: [false, true])
      #expect([cost.weights, cost.gradients, cost.optimizerState].map(\.value) == bytes)
      #expect((cost.gradientSync > .zero) == frozen.isEmpty && (cost.update > .zero) == frozen.isEmpty)
      #expect(pricing.zeroStages(op, strategy) == (frozen.isEmpty ? ZeROStage.allCases : [.none]))
    }
  }
}
