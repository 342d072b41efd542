// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// The time line of a pipeline's schedule, in whole ticks: when each pass of each micro-batch runs on each stage, and the longest
/// chain of passes, which is why the step takes as long as it does.
///
/// A pass starts when the stage has finished the pass before it in the schedule's order, and when what it reads has arrived from the
/// neighbouring stage. Messages travel while stages compute.
package struct PipelineTimeline: Sendable {
  /// What one stage takes, and what it takes to hand on to its neighbours.
  package struct StageTimes: Hashable, Sendable {
    package var forward: Int64
    package var backward: Int64
    /// After the last pass: gradient synchronisation and optimizer.
    package var once: Int64
    /// From the end of a forward pass to its arrival at the next stage; the same backward, from the next stage to this one.
    package var sendForward: Int64
    package var sendBackward: Int64

    package init(forward: Int64, backward: Int64, once: Int64, sendForward: Int64, sendBackward: Int64) {
      self.forward = forward
      self.backward = backward
      self.once = once
      self.sendForward = sendForward
      self.sendBackward = sendBackward
    }
  }

  /// How often each duration occurs on one chain of passes: the chain's length is a linear function of the durations.
  package struct Path: Hashable, Sendable {
    package var forward: [Int64]
    package var backward: [Int64]
    package var once: [Int64]
    package var sendForward: [Int64]
    package var sendBackward: [Int64]

    package init(stages: Int) {
      let zero = [Int64](repeating: 0, count: stages)
      (forward, backward, once, sendForward, sendBackward) = (zero, zero, zero, zero, zero)
    }

    /// The chain's length for given durations.
    package func length(_ times: [StageTimes]) -> Int64 {
      var sum: Int64 = 0
      for (s, t) in times.enumerated() {
        sum += forward[s] * t.forward + backward[s] * t.backward + once[s] * t.once
        sum += sendForward[s] * t.sendForward + sendBackward[s] * t.sendBackward
      }
      return sum
    }
  }

  /// The end of the step.
  package let end: Int64
  /// A longest chain.
  package let critical: Path
  /// The share of the stages' time, until the last pass ends, in which they wait.
  package let bubble: Double
  /// For each stage, (pass, start, end) in order.
  package let passes: [[(pass: Pass, start: Int64, end: Int64)]]

  private enum Cause {
    case start
    case previous
    case arrival
  }

  /// Runs the schedule on paper.
  package init(_ times: [StageTimes], schedule: Schedule, microBatches: Int, mode: Mode) {
    let stages = times.count
    let orders = (0..<stages).map { schedule.passes(stage: $0, stages: stages, microBatches: microBatches, mode: mode) }
    var forwardEnd = [[Int64]](repeating: [Int64](repeating: -1, count: microBatches), count: stages)
    var backwardEnd = forwardEnd
    var next = [Int](repeating: 0, count: stages)
    var free = [Int64](repeating: 0, count: stages)
    var causes = orders.map { [Cause](repeating: .start, count: $0.count) }
    var place = [[Int]](repeating: [], count: stages)  // index of each pass in its stage's order: 2·mb for forward, 2·mb+1 for backward
    for s in 0..<stages {
      place[s] = [Int](repeating: -1, count: 2 * microBatches)
      for (index, pass) in orders[s].enumerated() {
        switch pass {
        case .forward(let mb): place[s][2 * mb] = index
        case .backward(let mb): place[s][2 * mb + 1] = index
        }
      }
    }
    var timeline = [[(pass: Pass, start: Int64, end: Int64)]](repeating: [], count: stages)
    var ready = Array((0..<stages).reversed())
    var isQueued = [Bool](repeating: true, count: stages)
    while let s = ready.popLast() {
      isQueued[s] = false
      while next[s] < orders[s].count {
        let pass = orders[s][next[s]]
        guard Self.isReady(pass, s, forwardEnd, backwardEnd) else { break }
        var arrival: Int64 = 0
        switch pass {
        case .forward(let mb): if s > 0 { arrival = forwardEnd[s - 1][mb] + times[s - 1].sendForward }
        case .backward(let mb): if s < stages - 1 { arrival = backwardEnd[s + 1][mb] + times[s].sendBackward }
        }
        let start = max(free[s], arrival)
        causes[s][next[s]] = arrival > free[s] ? .arrival : (next[s] == 0 ? .start : .previous)
        let end: Int64
        switch pass {
        case .forward(let mb):
          end = start + times[s].forward
          forwardEnd[s][mb] = end
          if s < stages - 1, !isQueued[s + 1] {
            ready.append(s + 1)
            isQueued[s + 1] = true
          }
        case .backward(let mb):
          end = start + times[s].backward
          backwardEnd[s][mb] = end
          if s > 0, !isQueued[s - 1] {
            ready.append(s - 1)
            isQueued[s - 1] = true
          }
        }
        timeline[s].append((pass, start, end))
        free[s] = end
        next[s] += 1
      }
    }
    precondition((0..<stages).allSatisfy { next[$0] == orders[$0].count }, "the schedule deadlocks")

    var last = 0
    for s in 1..<max(stages, 1) where free[s] + times[s].once > free[last] + times[last].once { last = s }
    end = free[last] + times[last].once
    var path = Path(stages: stages)
    path.once[last] = 1
    var (s, index) = (last, orders[last].count - 1)
    walk: while true {
      let pass = orders[s][index]
      switch pass {
      case .forward: path.forward[s] += 1
      case .backward: path.backward[s] += 1
      }
      switch (causes[s][index], pass) {
      case (.start, _): break walk
      case (.previous, _): index -= 1
      case (.arrival, .forward(let mb)):
        path.sendForward[s - 1] += 1
        s -= 1
        index = place[s][2 * mb]
      case (.arrival, .backward(let mb)):
        path.sendBackward[s] += 1
        s += 1
        index = place[s][2 * mb + 1]
      }
    }
    critical = path
    let busy = times.reduce(0.0) { $0 + Double($1.forward) + (mode == .train ? Double($1.backward) : 0) } * Double(microBatches)
    let span = Double(free.max() ?? 0) * Double(stages)
    bubble = span > 0 ? max(0, 1 - busy / span) : 0
    passes = timeline
  }

  private static func isReady(_ pass: Pass, _ s: Int, _ forwardEnd: [[Int64]], _ backwardEnd: [[Int64]]) -> Bool {
    switch pass {
    case .forward(let mb): s == 0 || forwardEnd[s - 1][mb] >= 0
    case .backward(let mb): s == forwardEnd.count - 1 ? forwardEnd[s][mb] >= 0 : backwardEnd[s + 1][mb] >= 0
    }
  }

  /// Chains that every run of the schedule contains, so lower bounds of its length.
  ///
  /// For each stage s: fill the pipeline, come back to s with the first backward pass, and do there what is left, m backward passes and m−w_s
  /// forward passes, where w_s is how many the schedule lets s do before its first backward pass. One chain then drains the pipeline:
  /// Σ_r (f_r + b_r) + (m−1)·b_s + (m−w_s)·f_s + o_0; the other ends with what s does once per step:
  /// Σ_r f_r + Σ_{r>s} b_r + m·b_s + (m−w_s)·f_s + o_s. A GPipe chain goes through all of its forward passes: w_s counts as 1.
  package static func bounds(stages: Int, schedule: Schedule, microBatches m: Int, mode: Mode) -> [Path] {
    (0..<stages).flatMap { s in
      var fill = Path(stages: stages)
      for r in 0..<stages {
        fill.forward[r] = 1
        if r < stages - 1 { fill.sendForward[r] = 1 }
      }
      if mode == .forward {
        fill.forward[s] += Int64(m - 1)
        return [fill]
      }
      let warm = schedule.passesBeforeBackward(stage: s, stages: stages, microBatches: m, mode: mode)
      fill.forward[s] += Int64(m - warm)
      for r in s..<stages {
        fill.backward[r] = r == s ? Int64(m) : 1
        if r < stages - 1 { fill.sendBackward[r] = 1 }
      }
      var drained = fill
      for r in 0..<s {
        drained.backward[r] = 1
        drained.sendBackward[r] = 1
      }
      drained.once[0] = 1
      fill.once[s] = 1
      return s == 0 ? [drained] : [drained, fill]
    }
  }
}
