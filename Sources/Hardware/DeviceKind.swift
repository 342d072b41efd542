// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// The number format that a matrix unit multiplies; its raw value is its name in files and on the command line.
package enum Precision: String, CaseIterable, Sendable {
  case fp32, tf32, bf16, fp16, fp8
}

/// One model of accelerator or processor core.
package struct DeviceKind: Hashable, Sendable {
  package let name: String
  /// Where the figures come from.
  package let source: String?
  /// Dense peak rates, at most one per precision.
  package let peaks: [Peak]
  package let memory: Bytes
  /// Taken before the program starts: driver context, communication buffers.
  package let reservedMemory: Bytes
  package let memoryBandwidth: Bandwidth
  package let defaultPrecision: Precision
  /// Paid by each kernel on top of its arithmetic and memory traffic.
  package let launchOverhead: Seconds
  package let efficiency: KernelEfficiency

  package struct Peak: Hashable, Sendable {
    package let precision: Precision
    package let rate: FLOPRate

    package init(precision: Precision, rate: FLOPRate) {
      self.precision = precision
      self.rate = rate
    }
  }

  /// - Precondition: `peaks` has the default precision; memory is more than what is reserved.
  package init(
    name: String, source: String?, peaks: [Peak], memory: Bytes, reservedMemory: Bytes, memoryBandwidth: Bandwidth,
    defaultPrecision: Precision, launchOverhead: Seconds, efficiency: KernelEfficiency
  ) {
    precondition(peaks.contains { $0.precision == defaultPrecision } && memory > reservedMemory)
    self.name = name
    self.source = source
    self.peaks = peaks
    self.memory = memory
    self.reservedMemory = reservedMemory
    self.memoryBandwidth = memoryBandwidth
    self.defaultPrecision = defaultPrecision
    self.launchOverhead = launchOverhead
    self.efficiency = efficiency
  }

  /// What a plan may fill.
  package var usableMemory: Bytes { memory - reservedMemory }

  /// The dense peak rate for `precision`.
  /// - Throws: `HardwareError.noPeak`.
  package func peak(_ precision: Precision) throws(HardwareError) -> FLOPRate {
    guard let peak = peaks.first(where: { $0.precision == precision }) else {
      throw .noPeak(device: name, precision: precision, known: peaks.map(\.precision))
    }
    return peak.rate
  }
}

/// How close kernels come to a device's peaks: constants, measured or fitted, that live in the hardware file.
package struct KernelEfficiency: Hashable, Sendable {
  /// e∞: the fraction of the peak rate that a matrix product reaches as its inner extent grows.
  package let gemm: Double
  /// k½: the inner extent at which a matrix product runs at half of e∞. Each output element costs as much as k½ more
  /// multiply-adds: filling the pipeline and storing the tile.
  package let gemmHalfDepth: Double
  /// The fraction of the peak rate that blocked attention reaches.
  package let attention: Double
  /// The fraction of the memory bandwidth that a streaming kernel reaches.
  package let memory: Double
  /// What the host takes to hand over one operator's kernels: while it does so the device works on the one before, but it gets none sooner.
  package let dispatch: Seconds
  /// Where the constants come from: what was measured, or assumed.
  package let source: String?
  /// Which of them were fitted, on what, and what they are without.
  package let fit: FitRecord?

  package init(
    gemm: Double, gemmHalfDepth: Double, attention: Double, memory: Double, dispatch: Seconds = .zero, source: String?, fit: FitRecord? = nil
  ) {
    self.gemm = gemm
    self.gemmHalfDepth = gemmHalfDepth
    self.attention = attention
    self.memory = memory
    self.dispatch = dispatch
    self.source = source
    self.fit = fit
  }

  /// The fraction of the peak rate that a product with inner extent `k` reaches: e∞ · k / (k + k½).
  @inlinable package func gemm(depth k: Double) -> Double { gemm * k / (k + gemmHalfDepth) }
}
