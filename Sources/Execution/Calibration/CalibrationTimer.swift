// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Repeats a piece of work on all ranks at once and takes the median of its times.
struct CalibrationTimer {
  let world: Communicator
  /// For one measurement.
  let seconds: Double
  let fewest: Int
  /// Called after each measurement.
  let advance: () -> Void

  /// The median over repetitions, in the mean over ranks, and how far the quartiles are apart.
  struct Timing {
    let seconds: Double
    let spread: Double
  }

  /// Times work that each rank does by itself, while all do. The thread's processor time counts, so that other processes on the machine disturb
  /// less: what they do to caches and memory is in it, that they took the core is not.
  ///
  /// - Parameter work: is given the number of the repetition, from 0. The first is not timed.
  func alone(_ work: (Int) throws(ExecutionError) -> Void) throws(ExecutionError) -> Timing {
    try work(0)
    try world.barrier()
    let end = MonotonicClock.now + seconds
    var times: [Double] = []
    while times.count < fewest || MonotonicClock.now < end {
      let start = MonotonicClock.threadSeconds
      try work(times.count + 1)
      times.append(MonotonicClock.threadSeconds - start)
    }
    // Nobody measures the next while others are still busy with this.
    return try merge(times)
  }

  /// Times work that ranks do together, with a clock on the wall; all repeat it equally often.
  func together(_ work: (Int) throws(ExecutionError) -> Void) throws(ExecutionError) -> Timing {
    try work(0)
    try world.barrier()
    let first = MonotonicClock.now
    try work(1)
    var once = [MonotonicClock.now - first]
    try world.allReduce(&once, count: 1, .max)
    let count = max(2 * fewest, min(2000, Int(seconds / max(once[0], 1e-7))))
    try world.barrier()
    var times: [Double] = []
    times.reserveCapacity(count)
    var last = MonotonicClock.now
    for repetition in 0..<count {
      try work(repetition + 2)
      let now = MonotonicClock.now
      times.append(now - last)
      last = now
    }
    return try merge(times)
  }

  private func merge(_ times: [Double]) throws(ExecutionError) -> Timing {
    let sorted = times.sorted()
    func quantile(_ share: Double) -> Double { sorted[Int((share * Double(sorted.count - 1)).rounded())] }
    let median = quantile(0.5)
    let all = try world.shareNumbers([median, (quantile(0.75) - quantile(0.25)) / max(median, 1e-12)])
    advance()
    return Timing(
      seconds: all.reduce(0) { $0 + $1[0] } / Double(all.count), spread: all.reduce(0) { $0 + $1[1] } / Double(all.count))
  }
}

/// Memory out of which measurements take their operands, each repetition others, so that they come from where a model's weights and activations
/// come from: memory, not the cache that the repetition before has filled.
final class CalibrationArena {
  private let base: UnsafeMutablePointer<Float>
  let count: Int

  /// - Throws: `outOfMemory`.
  init(bytes: Int) throws(ExecutionError) {
    count = bytes / 4
    var address: UnsafeMutableRawPointer?
    guard posix_memalign(&address, 2 << 20, bytes) == 0, let address else { throw .outOfMemory(bytes: bytes) }
    madvise(address, bytes, MADV_HUGEPAGE)
    base = address.bindMemory(to: Float.self, capacity: count)
    var state: UInt32 = 1
    for i in 0..<count {
      state = state &* 1_664_525 &+ 1_013_904_223
      (base + i).initialize(to: Float(Int32(bitPattern: state)) * 0x1p-31)
    }
  }

  deinit { free(base) }

  /// Arrays of so many elements for a repetition, each on cache lines of its own. Together they take no more than all of the memory.
  func arrays(_ counts: [Int], _ repetition: Int) -> [UnsafeMutablePointer<Float>] {
    let padded = counts.map { ($0 + 15) / 16 * 16 }
    let whole = padded.reduce(0, +)
    precondition(whole <= count, "a measurement takes more than the arena has")
    var place = base + repetition % (count / whole) * whole
    return padded.map { size in
      defer { place += size }
      return place
    }
  }
}
