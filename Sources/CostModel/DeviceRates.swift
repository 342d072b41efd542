// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities

/// How fast one device computes in one number format.
package struct DeviceRates: Hashable, Sendable {
  package let peak: FLOPRate
  package let efficiency: KernelEfficiency
  /// The rate at which element-wise kernels move memory.
  package let memory: Bandwidth
  /// The same of the optimizer.
  package let updates: Bandwidth
  /// The time to start a kernel.
  package let launch: Seconds
  /// Memory that a plan may use.
  package let usable: Bytes

  /// - Parameter updates: as `memory` unless given.
  package init(peak: FLOPRate, efficiency: KernelEfficiency, memory: Bandwidth, updates: Bandwidth? = nil, launch: Seconds, usable: Bytes) {
    self.peak = peak
    self.efficiency = efficiency
    self.memory = memory
    self.updates = updates ?? memory
    self.launch = launch
    self.usable = usable
  }

  /// - Throws: `HardwareError.noPeak` where the device has no rate for the number format.
  package init(_ device: DeviceKind, _ precision: Precision) throws {
    self.init(
      peak: try device.peak(precision), efficiency: device.efficiency, memory: device.memoryBandwidth * device.efficiency.memory,
      updates: device.memoryBandwidth * device.efficiency.optimizer, launch: device.launchOverhead, usable: device.usableMemory)
  }

  /// A product of [rows, depth] and [depth, columns]: limited by arithmetic or by memory traffic, whichever takes longer, and its launch.
  ///
  /// - Parameter isAligned: whether the rows of its matrices are multiples of 16 bytes.
  package func product(
    _ work: FLOPs, rows: Double, columns: Double, depth: Double, isAligned: Bool = true, moving bytes: Bytes
  ) -> Seconds {
    let part = efficiency.gemm(rows: rows, columns: columns, depth: depth) * (isAligned ? 1 : efficiency.gemmUnaligned)
    return max(work / FLOPRate(peak.value * part), bytes / memory) + launch
  }

  /// A product of which only the inner extent is known to be short.
  package func product(_ work: FLOPs, depth: Double, moving bytes: Bytes) -> Seconds {
    product(work, rows: .infinity, columns: .infinity, depth: depth, moving: bytes)
  }

  /// Blocked attention.
  package func attention(_ work: FLOPs, isBackward: Bool = false, moving bytes: Bytes) -> Seconds {
    let rate = FLOPRate(peak.value * (isBackward ? efficiency.attentionBackward : efficiency.attention))
    return max(work / rate, bytes / memory) + launch
  }

  /// A kernel that only moves memory, or computes so many exponentials meanwhile.
  package func stream(_ bytes: Bytes, exponentials: Double = 0) -> Seconds {
    max(bytes / memory, Seconds(exponentials / efficiency.exponentials)) + launch
  }

  /// The optimizer's work on one weight: a part of a kernel for many.
  package func update(_ bytes: Bytes) -> Seconds { bytes / updates + launch }

  /// The part of a causal mask's scores that blocks compute in vain, with so many keys: half a block beside each diagonal.
  package func maskWaste(keys: Double) -> Double { min(efficiency.attentionBlock, keys) / (2 * keys) }
}

extension Precision {
  /// The formats that activations and weights can have; the others are rates of matrix units only.
  package static let forPlans: [Precision] = [.bf16, .fp16, .fp32]

  /// Bytes of an activation, and of a weight as kernels read it.
  package var elementBytes: Int {
    switch self {
    case .fp32: 4
    case .tf32, .bf16, .fp16, .fp8: 2
    }
  }
  /// Whether fp32 master weights are kept beside the ones that kernels read.
  package var isMixed: Bool { elementBytes < 4 }
  /// Gradients are accumulated in fp32.
  package var gradientBytes: Int { 4 }
  package var masterBytes: Int { isMixed ? 4 : 0 }
}
