// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: what passes between two meshes, worked by hand.
@Suite struct CrossingCostTests {
  /// 64 rows of 250,000 bf16 elements, 32 MB, from four devices of one node to two of another: 5 + 20 µs a message, 10 GB/s.
  @Test func messagesAndBytesOfTheBusiestRank() throws {
    var builder = GraphBuilder(name: "rows")
    let (b, h) = (builder.axis("batch", 64, .batch), builder.axis("hidden", 250_000, .feature))
    builder.begin(segment: "all")
    let (x, _) = builder.embedding("embedding", ids: builder.input(.inputIDs, [b]), rows: builder.axis("vocab", 8, .vocabulary), features: h)
    builder.crossEntropyLoss(x)
    builder.end()
    let graph = try builder.finish()
    let cluster = try cluster(devices: 8)
    let job = Job(batch: 64, microBatches: 1, sequence: nil, mode: .train, optimizer: .adamw, precision: .bf16)
    func pricing(_ mesh: [Int]) -> Pricing {
      let rates = DeviceRates(
        peak: .teraflops(1), efficiency: .ideal, memory: .gigabytesPerSecond(100), launch: .zero, usable: .gibibytes(1))
      return Pricing(graph: graph, mesh: mesh, rates: rates, job: job, placements: [AxisPlacement](repeating: .alone, count: 1 << mesh.count))
    }
    let link = cluster.link(from: 0, to: 4)
    let cost = CrossingCost(from: pricing([4]), to: pricing([2]), over: link)
    func microseconds(_ part: (bytes: Bytes, time: Seconds)) -> Double { (part.time.value * 1e6).rounded() }
    // Each of two receivers gets two quarters: 2 · 25 µs and 16 MB in 1600 µs.
    #expect(microseconds(cost.forward(x, from: Layout([.split(0)]), to: Layout([.split(0)]))) == 50 + 1600)
    // Each gets all four: 4 · 25 µs and 32 MB in 3200 µs.
    #expect(microseconds(cost.forward(x, from: Layout([.split(0)]), to: Layout([.replicated]))) == 100 + 3200)
    // Each gets half from one of four copies.
    #expect(microseconds(cost.forward(x, from: Layout([.replicated]), to: Layout([.split(0)]))) == 25 + 1600)
    // A partial sum is sent by all four, whole: half of it to each, and four halves received.
    #expect(microseconds(cost.forward(x, from: Layout([.partial]), to: Layout([.split(0)]))) == 100 + 6400)
    // Back: each of two sends two quarters.
    #expect(microseconds(cost.backward(x, from: Layout([.split(0)]), to: Layout([.split(0)]))) == 50 + 1600)
    // Gradients of weights are fp32: twice the bytes, and of the two ways the longer counts.
    #expect(microseconds(cost.exchange(x, Layout([.split(0)]), Layout([.split(0)]))) == 50 + 3200)
  }
}
