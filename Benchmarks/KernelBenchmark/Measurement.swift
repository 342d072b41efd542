// SPDX-License-Identifier: GPL-3.0-or-later

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

  /// Repeats `work` for about 0.2 s in each of five rounds and prints the best round: `amount` per call, in units of `unit`.
  mutating func rate(_ name: String, _ amount: Double, _ unit: String, _ work: () -> Void) {
    guard filters.isEmpty || filters.contains(where: name.contains) else { return }
    let clock = ContinuousClock()
    work()
    let once = max(clock.measure(work) / .seconds(1), 1e-7)
    let repetitions = max(1, Int(0.2 / once))
    var best = Double.infinity
    for _ in 0..<5 {
      let elapsed = clock.measure { for _ in 0..<repetitions { work() } } / .seconds(1)
      best = min(best, elapsed / Double(repetitions))
    }
    let rate = ((amount / best) * 10).rounded() / 10
    print("\(name): \(rate) \(unit)")
  }
}
