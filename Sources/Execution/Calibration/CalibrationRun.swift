// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import Kernels

/// Measures the machine with the executor's own kernels and communication, all ranks busy at once. Every rank carries it out, in step.
package struct CalibrationRun {
  let world: Communicator
  let isQuick: Bool
  let arena: CalibrationArena
  let timer: CalibrationTimer
  var result = CalibrationMeasurements()

  /// - Parameter progress: called on every rank with the part that is done.
  /// - Returns: the same on every rank.
  /// - Throws: `outOfMemory`, `mpi`.
  package static func carryOut(
    world: Communicator, isQuick: Bool, progress: @escaping (Double) -> Void
  ) throws(ExecutionError) -> CalibrationMeasurements {
    // Before anything else takes memory.
    let processBytes = try processBytes(world)
    let arena = try CalibrationArena(bytes: arenaBytes(ranks: world.size, isQuick: isQuick))
    let total = Double(
      Self.productCases(isQuick).count + attentionCases(isQuick).count * 2 + streamCount(isQuick) + communicationCount(world, isQuick))
    var done = 0.0
    let timer = CalibrationTimer(world: world, seconds: isQuick ? 0.03 : 0.2, fewest: isQuick ? 3 : 5) {
      done += 1
      progress(min(1, done / total))
    }
    var run = CalibrationRun(world: world, isQuick: isQuick, arena: arena, timer: timer)
    run.result.processBytes = processBytes
    try run.measureProducts()
    try run.measureAttention()
    try run.measureStreams()
    try run.measureCommunication()
    return run.result
  }

  /// Enough that a product's operands have left the caches when they come round; less where the machine has little memory.
  private static func arenaBytes(ranks: Int, isQuick: Bool) -> Int {
    let wanted = (isQuick ? 96 : 256) << 20
    guard let available = HostMemory.current().availableBytes else { return wanted }
    return max(64 << 20, min(wanted, available / (4 * ranks)))
  }

  /// What a rank has resident once MPI, the BLAS library and the memory that sums go through are in use: the largest of all ranks.
  private static func processBytes(_ world: Communicator) throws(ExecutionError) -> Double {
    let (m, n, k) = (128, 16384, 1024)
    let sizes = [m * k, k * n, m * n]
    let values = UnsafeMutablePointer<Float>.allocate(capacity: sizes.reduce(0, +))
    values.initialize(repeating: 0.5, count: sizes.reduce(0, +))
    let (x, w, y) = (values, values + sizes[0], values + sizes[0] + sizes[1])
    // The library packs its operands into buffers of its own, and touches more of them the wider and deeper a product is.
    BLAS.gemm(.no, .no, m: m, n: n, k: k, a: x, lda: k, b: w, ldb: n, c: y, ldc: n)
    BLAS.gemm(.yes, .no, m: k, n: n, k: m, a: x, lda: k, b: y, ldb: n, c: w, ldc: n)
    try world.allReduce(y, count: m * n)
    values.deallocate()
    return try world.shareNumbers([Double(ProcessMemory.residentBytes)]).map { $0[0] }.max() ?? 0
  }

  mutating func note(_ timing: CalibrationTimer.Timing) -> Double {
    result.spreads.append(timing.spread)
    return timing.seconds
  }
}
