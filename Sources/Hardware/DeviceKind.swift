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
  /// What a process has resident beside a plan's tensors: the runtime, MPI's and the BLAS library's buffers. No plan's limit counts it, which is
  /// what `reservedMemory` is for; a run is compared with it.
  package let processOverhead: Bytes
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
    defaultPrecision: Precision, launchOverhead: Seconds, processOverhead: Bytes = .zero, efficiency: KernelEfficiency
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
    self.processOverhead = processOverhead
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
  /// m½ and n½: the same for the rows and the columns of the result. Each element of the right operand costs as much as m½ more multiply-adds, each
  /// of the left one as much as n½: bringing them into the form that the inner loop reads.
  package let gemmHalfRows: Double
  package let gemmHalfColumns: Double
  /// The fraction of that which a product reaches whose matrices' rows are no multiple of 16 bytes in memory: kernels for matrix units read rows in pieces
  /// of that length.
  package let gemmUnaligned: Double
  /// Whether products add a bias as they write their result, so that it takes no pass of its own.
  package let fusesBias: Bool
  /// The fraction of the peak rate that blocked attention reaches, forward and backward.
  package let attention: Double
  package let attentionBackward: Double
  /// Positions in a block of queries: attention computes its scores block by block, and under a causal mask half of the last block is in vain.
  package let attentionBlock: Double
  /// Exponentials that a kernel computes in a second (in a softmax, a GELU, a SiLU) while memory does not hold it up; infinite where they cost
  /// nothing beside memory traffic.
  package let exponentials: Double
  /// The fraction of the memory bandwidth that a streaming kernel reaches.
  package let memory: Double
  /// The same of the optimizer, whose arrays come from memory once a step and are in no cache.
  package let optimizer: Double
  /// What the host takes to hand over one operator's kernels: while it does so the device works on the one before, but it gets none sooner.
  package let dispatch: Seconds
  /// Where the constants come from: what was measured, or assumed.
  package let source: String?
  /// Which of them were fitted, on what, and what they are without.
  package let fit: FitRecord?

  package init(
    gemm: Double, gemmHalfDepth: Double, gemmHalfRows: Double = 0, gemmHalfColumns: Double = 0, gemmUnaligned: Double = 1, fusesBias: Bool = false,
    attention: Double, attentionBackward: Double? = nil, attentionBlock: Double = 0, exponentials: Double = .infinity, memory: Double,
    optimizer: Double? = nil, dispatch: Seconds = .zero, source: String?, fit: FitRecord? = nil
  ) {
    self.gemm = gemm
    self.gemmHalfDepth = gemmHalfDepth
    self.gemmHalfRows = gemmHalfRows
    self.gemmHalfColumns = gemmHalfColumns
    self.gemmUnaligned = gemmUnaligned
    self.fusesBias = fusesBias
    self.attention = attention
    self.attentionBackward = attentionBackward ?? attention
    self.attentionBlock = attentionBlock
    self.exponentials = exponentials
    self.memory = memory
    self.optimizer = optimizer ?? memory
    self.dispatch = dispatch
    self.source = source
    self.fit = fit
  }

  /// The fraction of the peak rate that a product with inner extent `k` reaches: e∞ · k / (k + k½).
  @inlinable package func gemm(depth k: Double) -> Double { gemm * k / (k + gemmHalfDepth) }

  /// The same of a product of [m, k] and [k, n]: e∞ / (1 + k½/k + m½/m + n½/n). Its time is a sum over what each of the three matrices costs and the
  /// multiply-adds, so that fitting it is linear.
  package func gemm(rows m: Double, columns n: Double, depth k: Double) -> Double {
    let plain = gemm(depth: k)
    if gemmHalfRows == 0 && gemmHalfColumns == 0 { return plain }
    return plain / (1 + (gemmHalfRows / m + gemmHalfColumns / n) * k / (k + gemmHalfDepth))
  }
}
