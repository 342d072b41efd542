// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: what operators on images take, worked by hand.
@Suite struct ImageCostTests {
  /// b = 8 images of 10 × 10, 16 channels to 32 by kernels of 3 × 3, normalised.
  private func pricing(devices: Int) throws -> Pricing {
    var builder = GraphBuilder(name: "images")
    let (b, rgb) = (builder.axis("batch", 8, .batch), builder.axis("rgb", 3, .whole))
    let (i, o, v) = (builder.axis("i", 16, .feature), builder.axis("o", 32, .feature), builder.axis("classes", 10, .vocabulary))
    let image = [builder.axis("h", 10, .whole), builder.axis("w", 10, .whole)]
    let (three, one) = (
      [builder.axis("kh", 3, .whole), builder.axis("kw", 3, .whole)], [builder.axis("oh", 1, .whole), builder.axis("ow", 1, .whole)]
    )
    builder.begin(segment: "all")
    let stem = builder.apply(
      .convolution(stride: 1, padding: 0), "stem",
      [builder.input(.pixelValues, [b, rgb] + image), builder.parameter("stem.weight", stored: [i, rgb, one[0], one[1]].map { [$0] })],
      to: [b, i] + image)
    let y = builder.apply(
      .convolution(stride: 1, padding: 1), "conv", [stem, builder.parameter("conv.weight", stored: [o, i, three[0], three[1]].map { [$0] })],
      to: [b, o] + image)
    let normed = builder.apply(
      .batchNorm(epsilon: 1e-5), "norm", [y, builder.parameter("norm.weight", stored: [[o]]), builder.parameter("norm.bias", stored: [[o]])],
      to: [b, o] + image)
    let pooled = builder.apply(.averagePool, "pool", [normed], to: [b, o])
    builder.crossEntropyLoss(builder.linear("head", pooled, from: [o], to: [v], bias: false))
    builder.end()
    let graph = try builder.finish()
    let cluster = try cluster(devices: devices)
    let mesh = Mesh(shape: [devices])
    return Pricing(
      graph: graph, mesh: [devices], rates: try DeviceRates(cluster.kind(of: 0), .fp32),
      job: Job(batch: 8, microBatches: 1, sequence: nil, mode: .train, optimizer: .adamw, precision: .fp32),
      placements: [cluster.placement(ofAxes: [], in: mesh), cluster.placement(ofAxes: [0], in: mesh)])
  }

  private func strategy(_ word: String, _ name: String, _ pricing: Pricing) throws -> (OperatorID, Strategy) {
    let op = try #require(pricing.graph.operators.firstIndex { $0.name == name })
    return (op, try #require(Strategy.all(for: pricing.rules[op], mesh: pricing.mesh).first { $0.words(pricing.rules[op]) == [word] }))
  }

  /// 2 · 8 · 100 positions · 32 outputs · 16 · 9 inputs = 7,372,800 operations over 4 devices at 10¹² a second; backward the same for each gradient.
  @Test(arguments: ["data", "column", "row"]) func convolution(word: String) throws {
    let pricing = try pricing(devices: 4)
    let (op, strategy) = try strategy(word, "conv", pricing)
    let cost = pricing.cost(op, strategy)
    let byHand = 2.0 * 8 * 100 * 32 * 16 * 9 / 4 / 1e12
    #expect(abs(cost.forward.value - byHand) < 1e-15)
    #expect(abs(cost.backward.value - 2 * byHand) < 1e-15)
  }

  /// Two images of 32 · 100 values on each device, read twice and written once, at 100 GB/s; the 32 means and the 32 variances each in an all-reduce of 128
  /// bytes over 4 devices: 2 · (2 steps of 1 µs + ¾ · 128 bytes / 100 GB/s), and as much for two gradients on the way back.
  @Test func batchNormExchangesItsStatisticsInside() throws {
    let pricing = try pricing(devices: 4)
    let (op, data) = try strategy("data", "norm", pricing)
    let cost = pricing.cost(op, data)
    let collectives = 2 * 2 * (2e-6 + 0.75 * 128 / 100e9)
    #expect(abs(cost.interior.value - collectives) < 1e-15 && abs(cost.backwardInterior.value - collectives) < 1e-15)
    let (x, scales) = (2.0 * 32 * 100 * 4, 2.0 * 32 * 4)
    #expect(abs(cost.forward.value - collectives - (2 * (x + scales) + x) / 100e9) < 1e-15)
    // Means and reciprocal deviations are kept beside x.
    #expect(cost.extras == Bytes(2 * 32 * 4))
    // Channels over devices: nothing to exchange.
    let columns = pricing.cost(op, try strategy("column", "norm", pricing).1)
    #expect(columns.interior == .zero && columns.backwardInterior == .zero)
  }

  /// What a batch norm keeps stays in the plan's format; only logits are kept in fp32.
  @Test func keptInThePlansFormat() throws {
    let pricing = try pricing(devices: 4)
    let (op, data) = try strategy("data", "norm", pricing)
    let x = pricing.graph.operators[op].operands[0]
    #expect(pricing.keptBytes(x, data.operands[0].forward) == pricing.bytes(x, data.operands[0].forward))
  }
}
