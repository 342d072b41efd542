// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import Quantities
import TestSupport
import Testing

@testable import Execution

/// Fitting gives back the constants that made-up times were computed with; no clock is read.
@Suite struct CalibrationFitTests {
  /// A machine of round figures: 100 GFLOP/s, halves of 10, 20 and 5, 40 GB/s, 2 exponentials in a nanosecond, a level of 8 GB/s.
  private let halves = (depth: 10.0, rows: 20.0, columns: 5.0)

  private func measurements(noise: Double = 0, seed: UInt64 = 1) -> CalibrationMeasurements {
    var generator = SeededGenerator(seed: seed)
    func disturbed(_ seconds: Double) -> Double { noise == 0 ? seconds : seconds * (1 + Double.random(in: -noise...noise, using: &generator)) }
    var all = CalibrationMeasurements()
    for m in [32, 128, 1024] {
      for n in [64, 768, 3072] {
        for k in [64, 256, 1024] {
          let work = 2 * Double(m) * Double(n) * Double(k)
          let seconds = work / 1e11 * (1 + halves.depth / Double(k) + halves.rows / Double(m) + halves.columns / Double(n))
          all.products.append(.init(rows: m, columns: n, depth: k, seconds: disturbed(seconds)))
        }
      }
    }
    for keys in [128, 256, 512] {
      for isBackward in [false, true] {
        // Blocks of 64 positions: half of the scores and 32 of each row besides.
        let work = 1e6 * Double(keys)
        let done = work * (0.5 + 32 / Double(keys))
        all.attention.append(
          .init(operations: work, keys: keys, isCausal: true, isBackward: isBackward, seconds: disturbed(done / (isBackward ? 4e10 : 5e10))))
      }
    }
    for count in [1e5, 1e6, 1e7] {
      all.streams.append(.init(kind: .plain, bytes: 12 * count, seconds: disturbed(12 * count / 2e10)))
      all.streams.append(.init(kind: .exponential, bytes: 8 * count, exponentials: count, seconds: disturbed(count / 2e9)))
      all.streams.append(.init(kind: .optimizer, bytes: 28 * count, seconds: disturbed(28 * count / 4e10)))
    }
    // startup 2 µs, α 1 µs; 8 GB/s, half of it for gathering.
    for ranks in [2, 4] {
      let (f, tree) = (Double(ranks), ranks == 2 ? 1.0 : 2.0)
      for bytes in [1e3, 1e5, 1e7] {
        for (pattern, steps, share, rate) in [
          (CommunicationPattern.allReduce, 2 * tree, 2 * (f - 1) / f, 8e9), (.allGather, tree, (f - 1) / f, 4e9),
          (.reduceScatter, tree, (f - 1) / f, 8e9), (.allToAll, f - 1, (f - 1) / f, 8e9), (.message, 1, 1, 8e9),
        ] {
          let seconds = 2e-6 + steps * 1e-6 + share * bytes / rate
          all.communication.append(.init(pattern: pattern, ranks: ranks, bytes: bytes, seconds: disturbed(seconds)))
        }
      }
    }
    all.callSeconds = 1e-7
    all.processBytes = 40.5 * 1_048_576
    all.spreads = [0.01, 0.02, 0.5]
    all.hidden = 0.5
    return all
  }

  private func isClose(_ a: Double, _ b: Double, within tolerance: Double = 1e-3) -> Bool { abs(a / b - 1) <= tolerance }

  @Test("Exact times give the constants back, to the four digits that are kept")
  func kernels() {
    let fit = ComputeFit(measurements(), source: "made up")
    #expect(isClose(fit.peak.value * fit.efficiency.gemm, 1e11))
    #expect(isClose(fit.efficiency.gemmHalfDepth, halves.depth) && isClose(fit.efficiency.gemmHalfRows, halves.rows))
    #expect(isClose(fit.efficiency.gemmHalfColumns, halves.columns))
    #expect(isClose(fit.peak.value * fit.efficiency.attention, 5e10) && isClose(fit.peak.value * fit.efficiency.attentionBackward, 4e10))
    #expect(isClose(fit.bandwidth.value * fit.efficiency.memory, 2e10) && isClose(fit.bandwidth.value * fit.efficiency.optimizer, 4e10))
    #expect(isClose(fit.efficiency.exponentials, 2e9) && fit.launch == .microseconds(0.1))
    #expect(fit.errors.allSatisfy { $0.worstError < 2e-3 }, "\(fit.errors)")
  }

  @Test("Collectives of two group sizes tell the startup from the steps, and each kind's share of the rate")
  func communication() throws {
    let fit = try #require(CommunicationFit(measurements().communication))
    #expect(isClose(fit.startup.value, 2e-6) && isClose(fit.latency.value, 1e-6) && isClose(fit.bandwidth.value, 8e9))
    #expect(isClose(fit.patterns[.allGather], 0.5) && isClose(fit.patterns[.allReduce], 1) && isClose(fit.patterns[.message], 1))
    #expect(fit.collectives.count == 10 && fit.collectives[0].ranks == 2)
    #expect(CommunicationFit([]) == nil)
  }

  @Test("Times that are off by up to 5 % move the rates by no more than that", arguments: 1...5)
  func noise(seed: UInt64) throws {
    let fit = ComputeFit(measurements(noise: 0.05, seed: seed), source: "made up")
    // A median, or a fit of all, lies between rates that are off by as much.
    #expect(isClose(fit.peak.value * fit.efficiency.gemm, 1e11, within: 0.06))
    #expect(isClose(fit.bandwidth.value * fit.efficiency.memory, 2e10, within: 0.06))
    let level = try #require(CommunicationFit(measurements(noise: 0.05, seed: seed).communication))
    #expect(isClose(level.bandwidth.value, 8e9, within: 0.12))
  }

  @Test("A time that another process has tripled is held down")
  func outlier() {
    var measured = measurements()
    measured.products[5].seconds *= 3
    measured.products[17].seconds *= 3
    let fit = ComputeFit(measured, source: "made up")
    #expect(isClose(fit.peak.value * fit.efficiency.gemm, 1e11, within: 0.02))
  }

  @Test("Constants are never negative: what would be is 0, and the rest is fitted without it")
  func nonNegative() {
    // t = 3a − b cannot be had; the best with b = 0 is a least-squares fit of a alone.
    let x = NonNegativeFit.fit([[1, 1], [1, 2], [1, 3]], [2.9, 2.5, 2.1])
    #expect(x[0] > 2 && x[0] < 3 && x[1] == 0)
    #expect(NonNegativeFit.fit([[2, 1], [1, 3], [4, 4]], [5, 5, 12]).map { ($0 * 1e6).rounded() / 1e6 } == [2, 1])
    // Columns that say the same: one of them explains it all.
    let twins = NonNegativeFit.fit([[1, 1], [2, 2]], [3, 6])
    #expect(abs(twins[0] + twins[1] - 3) < 1e-9)
  }

  @Test("The file from measurements is lawful, comes back from its JSON, and says what it was made of")
  func file() throws {
    let machine = CalibratedHardware.Machine(
      name: "a processor", cores: 4, memoryBytes: 16 << 30, blas: "OpenBLAS", mpi: "Open MPI", date: "2026-01-31", load: 0.25)
    let file = try CalibratedHardware.file(measurements(), ranks: 4, isQuick: false, on: machine)
    let again = try HardwareFile(decoding: Document(file: "hw.json", parsing: file.json.prettyBytes))
    #expect(again == file)
    let device = file.devices[0]
    #expect(device.memory == .gibibytes(4) && device.processOverhead == Bytes(41 * 1_048_576) && device.reservedMemory == device.processOverhead)
    let record = try #require(file.calibration)
    #expect(record.ranks == 4 && record.spread == 0.02 && record.hidden == 0.5 && record.collectives.count == 10)
    #expect(record.fits.map(\.name).contains("matrix products"))
    #expect(try file.cluster(devices: 8).deviceCount == 8)
    // One rank has nobody to talk to.
    var alone = measurements()
    (alone.communication, alone.hidden) = ([], nil)
    let single = try CalibratedHardware.file(alone, ranks: 1, isQuick: true, on: machine)
    #expect(single.levels[0].source?.hasPrefix("assumed") == true && single.calibration?.collectives == [])
  }
}
