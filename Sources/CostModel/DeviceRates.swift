// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities

/// How fast one device computes in one number format.
package struct DeviceRates: Hashable, Sendable {
  package let peak: FLOPRate
  package let efficiency: KernelEfficiency
  /// The rate at which element-wise kernels move memory.
  package let memory: Bandwidth
  /// The time to start a kernel.
  package let launch: Seconds
  /// Memory that a plan may use.
  package let usable: Bytes

  package init(peak: FLOPRate, efficiency: KernelEfficiency, memory: Bandwidth, launch: Seconds, usable: Bytes) {
    self.peak = peak
    self.efficiency = efficiency
    self.memory = memory
    self.launch = launch
    self.usable = usable
  }

  /// - Throws: `HardwareError.noPeak` where the device has no rate for the number format.
  package init(_ device: DeviceKind, _ precision: Precision) throws {
    self.init(
      peak: try device.peak(precision), efficiency: device.efficiency, memory: device.memoryBandwidth * device.efficiency.memory,
      launch: device.launchOverhead, usable: device.usableMemory)
  }

  /// A matrix product with inner extent `depth`: limited by arithmetic or by memory traffic, whichever takes longer, and its launch.
  package func product(_ work: FLOPs, depth: Double, moving bytes: Bytes) -> Seconds {
    paced(max(work / FLOPRate(peak.value * efficiency.gemm(depth: depth)), bytes / memory) + launch)
  }

  /// Blocked attention.
  package func attention(_ work: FLOPs, moving bytes: Bytes) -> Seconds {
    paced(max(work / FLOPRate(peak.value * efficiency.attention), bytes / memory) + launch)
  }

  /// A kernel that only moves memory.
  package func stream(_ bytes: Bytes) -> Seconds { paced(bytes / memory + launch) }

  /// The optimizer's work on one weight: a part of a kernel for many.
  package func update(_ bytes: Bytes) -> Seconds { bytes / memory + launch }

  /// An operator takes at least what the host takes to hand it over.
  private func paced(_ time: Seconds) -> Seconds { max(time, efficiency.dispatch) }
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
