// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// Oracle: what the constants of a calibrated machine do to times, worked by hand.
@Suite struct CalibratedRateTests {
  private func rates(_ efficiency: KernelEfficiency) -> DeviceRates {
    DeviceRates(
      peak: FLOPRate(1e12), efficiency: efficiency, memory: Bandwidth(1e10), updates: Bandwidth(5e9), launch: .zero, usable: .gibibytes(1))
  }

  private let calibrated = KernelEfficiency(
    gemm: 1, gemmHalfDepth: 8, gemmHalfRows: 16, gemmHalfColumns: 4, attention: 0.5, attentionBackward: 0.25, attentionBlock: 64, exponentials: 2e9,
    memory: 1, source: nil)

  @Test("A product of 32 x 16 x 32: 32768 operations, 1 + 8/32 + 16/32 + 4/16 = 2 times as long as they alone")
  func product() {
    let time = rates(calibrated).product(FLOPs(32768), rows: 32, columns: 16, depth: 32, moving: .zero)
    #expect(time == Seconds(2 * 32768 / 1e12))
  }

  @Test("A stream takes the longer of its bytes and its exponentials; the optimizer has a rate of its own")
  func streams() {
    #expect(rates(calibrated).stream(Bytes(1000), exponentials: 100) == Seconds(1e-7))
    #expect(rates(calibrated).stream(Bytes(1000), exponentials: 1000) == Seconds(5e-7))
    #expect(rates(.ideal).stream(Bytes(1000), exponentials: 1e12) == Seconds(1e-7))
    #expect(rates(.ideal).update(Bytes(1000)) == Seconds(2e-7))
  }

  @Test("Attention backward has its own rate, and half of a mask's last block is computed in vain")
  func attention() {
    #expect(rates(calibrated).attention(FLOPs(1e6), moving: .zero) == Seconds(2e-6))
    #expect(rates(calibrated).attention(FLOPs(1e6), isBackward: true, moving: .zero) == Seconds(4e-6))
    // 4 blocks of 64 of 256 positions: 64 · (64 + 128 + 192 + 256) of 256² scores are 0.625 of them.
    #expect(rates(calibrated).maskWaste(keys: 256) == 0.125 && rates(calibrated).maskWaste(keys: 32) == 0.5)
    #expect(rates(.ideal).maskWaste(keys: 256) == 0)
  }

  @Test("Each collective has its kind's share of the rate")
  func patterns() throws {
    var patterns = PatternEfficiency.even
    patterns[.allGather] = 0.5
    patterns[.message] = 0.25
    let level = Level(
      name: "l", joins: nil, bandwidth: Bandwidth(1e9), bandwidthIs: .device, latency: .zero, patterns: patterns, source: nil)
    let device = DeviceKind(
      name: "d", source: nil, peaks: [.init(precision: .fp32, rate: .teraflops(1))], memory: .gibibytes(8), reservedMemory: .zero,
      memoryBandwidth: .gigabytesPerSecond(1000), defaultPrecision: .fp32, launchOverhead: .zero, efficiency: .ideal)
    let file = try HardwareFile(
      name: "c", source: "made up", devices: [device], groups: [.init(device: 0, devicesPerNode: nil, nodes: 1)], levels: [level])
    let placement = try file.cluster(devices: 2).placement(stride: 1, size: 2, devices: 0..<2)
    // Half of 1000 bytes travel once, or twice.
    #expect(CollectiveCost.time(.allGather, bytes: Bytes(1000), on: placement) == Seconds(1e-6))
    #expect(CollectiveCost.time(.reduceScatter, bytes: Bytes(1000), on: placement) == Seconds(5e-7))
    #expect(CollectiveCost.time(.allReduce, bytes: Bytes(1000), on: placement) == Seconds(1e-6))
    #expect(CollectiveCost.hop(Bytes(1000), on: placement) == Seconds(4e-6))
  }
}
