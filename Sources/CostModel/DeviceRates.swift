// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// How fast one device computes, as far as costs need to know.
package struct DeviceRates: Hashable, Sendable {
  /// The rate that large matrix products reach in the plan's data type.
  package let product: FLOPRate
  /// The work at which a product reaches half of that rate: small products do not fill a device.
  package let halfRateWork: FLOPs
  /// The rate at which element-wise kernels move memory.
  package let memory: Bandwidth
  /// The time to start a kernel.
  package let launch: Seconds
  /// Memory that a plan may use.
  package let usable: Bytes

  package init(product: FLOPRate, halfRateWork: FLOPs, memory: Bandwidth, launch: Seconds, usable: Bytes) {
    self.product = product
    self.halfRateWork = halfRateWork
    self.memory = memory
    self.launch = launch
    self.usable = usable
  }

  /// The time of a kernel: limited by arithmetic or by memory traffic, whichever takes longer, and its launch.
  package func time(_ work: FLOPs, moving bytes: Bytes) -> Seconds {
    let arithmetic = work.value == 0 ? Seconds.zero : (work + halfRateWork) / product
    return max(arithmetic, bytes / memory) + launch
  }
}

/// Bytes per element and per parameter, by data type.
package struct Precision: Hashable, Sendable {
  package let name: String
  /// Activations, and weights as kernels read them.
  package let element: Int

  /// - Returns: nil for a data type that is not known.
  package init?(_ name: String) {
    switch name {
    case "fp32": element = 4
    case "bf16", "fp16": element = 2
    default: return nil
    }
    self.name = name
  }

  package static let names = ["bf16", "fp16", "fp32"]

  /// Whether fp32 master weights are kept beside the ones that kernels read.
  package var isMixed: Bool { element < 4 }
  /// Gradients are accumulated in fp32.
  package var gradient: Int { 4 }
  package var master: Int { isMixed ? 4 : 0 }
}
