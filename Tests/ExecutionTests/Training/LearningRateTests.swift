// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Execution

struct LearningRateTests {
  private func rates(_ decay: LearningRate.Decay, warmup: Int, steps: Int, minimum: Double = 0) -> [Double] {
    var rate = LearningRate(peak: 8)
    (rate.decay, rate.warmup, rate.steps, rate.minimum) = (decay, warmup, steps, minimum)
    return (0..<steps + 1).map { rate.value(at: $0) }
  }

  @Test("worked by hand: a warm-up, then constant, along a line, and along half a cosine")
  func schedules() {
    #expect(rates(.constant, warmup: 4, steps: 6) == [2, 4, 6, 8, 8, 8, 8])
    #expect(rates(.linear, warmup: 0, steps: 4) == [8, 6, 4, 2, 0])
    #expect(rates(.linear, warmup: 2, steps: 6, minimum: 4) == [4, 8, 8, 7, 6, 5, 4])
    let cosine = rates(.cosine, warmup: 0, steps: 4, minimum: 2)
    let half = 0.5.squareRoot()
    for (a, b) in zip(cosine, [8, 5 + 3 * half, 5, 5 - 3 * half, 2]) { #expect(abs(a - b) < 1e-12) }
  }

  @Test("a schedule stays at its minimum after its end, and may be all warm-up")
  func ends() {
    var rate = LearningRate(peak: 8)
    (rate.decay, rate.warmup, rate.steps, rate.minimum) = (.linear, 4, 4, 1)
    #expect(rate.value(at: 3) == 8)
    #expect(rate.value(at: 100) == 1)
  }
}
