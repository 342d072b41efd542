// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Memory of a benchmark, filled with values in [-1, 1) that no branch predictor learns.
final class Buffer {
  let base: UnsafeMutablePointer<Float>
  let count: Int

  init(_ count: Int, of value: Float? = nil) {
    self.count = count
    base = .allocate(capacity: count)
    var state: UInt32 = 1
    for i in 0..<count {
      state = state &* 1_664_525 &+ 1_013_904_223
      (base + i).initialize(to: value ?? Float(Int32(bitPattern: state)) * 0x1p-31)
    }
  }

  deinit { base.deallocate() }
}

/// Times a piece of work and prints its rate.
struct Measurement {
  let filters: [String]

  /// Repeats `work` for about 50 ms in each of ten rounds and prints the best round: `amount` per call, in units of `unit`.
  /// The thread's processor time counts, so that other processes on the machine disturb less.
  func rate(_ name: String, _ amount: Double, _ unit: String, _ work: () -> Void) {
    guard filters.isEmpty || filters.contains(where: name.contains) else { return }
    work()
    let repetitions = max(1, Int(0.05 / max(seconds(work), 1e-7)))
    var best = Double.infinity
    for _ in 0..<10 {
      best = min(best, seconds { for _ in 0..<repetitions { work() } } / Double(repetitions))
    }
    print("\(name): \(((amount / best) * 10).rounded() / 10) \(unit)")
  }

  private func seconds(_ work: () -> Void) -> Double {
    let start = threadTime()
    work()
    return threadTime() - start
  }

  private func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }
}
