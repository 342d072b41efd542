// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// The time line of a pipeline's schedule, in whole ticks: when each pass of each micro-batch runs on each stage, and the longest
/// chain of passes, which is why the step takes as long as it does.
///
/// A pass starts when the stage has finished the pass before it in the schedule's order, and when what it reads has arrived from the
/// neighbouring virtual stage. Messages travel while stages compute.
package struct PipelineTimeline: Sendable {
  /// What one virtual stage takes, and what it takes to hand on to its neighbours. With one chunk on each stage that is the stage.
  package struct StageTimes: Hashable, Sendable {
    package var forward: Int64
    package var backward: Int64
    /// After the last pass: gradient synchronisation and optimizer. A stage does that of all its chunks then.
    package var once: Int64
    /// From the end of a forward pass to its arrival at the next virtual stage; the same backward, from the next one to this one.
    package var sendForward: Int64
    package var sendBackward: Int64
    /// The parts of a pass (bit k: part k, as whoever gives the times numbers them) that take what the host needs, and not what the device needs.
    package var hostForward: UInt64 = 0
    package var hostBackward: UInt64 = 0

    package init(forward: Int64, backward: Int64, once: Int64, sendForward: Int64, sendBackward: Int64) {
      self.forward = forward
      self.backward = backward
      self.once = once
      self.sendForward = sendForward
      self.sendBackward = sendBackward
    }
  }

  /// How often each duration of each virtual stage occurs on one chain of passes: the chain's length is a linear function of the durations.
  package struct Path: Hashable, Sendable {
    package var forward: [Int64]
    package var backward: [Int64]
    package var once: [Int64]
    package var sendForward: [Int64]
    package var sendBackward: [Int64]
    /// For each virtual stage the parts of its passes that take what the host needs; empty where none does.
    package var hostForward: [UInt64] = []
    package var hostBackward: [UInt64] = []

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
  /// - Parameter times: of each virtual stage, in the model's order.
  package init(_ times: [StageTimes], schedule: Schedule, microBatches: Int, mode: Mode) {
    let (last, stages) = (times.count - 1, times.count / schedule.chunks)
    let orders = (0..<stages).map { schedule.passes(stage: $0, stages: stages, microBatches: microBatches, mode: mode) }
    // By virtual stage and micro-batch.
    var forwardEnd = [[Int64]](repeating: [Int64](repeating: -1, count: microBatches), count: times.count)
    var backwardEnd = forwardEnd
    var next = [Int](repeating: 0, count: stages)
    var free = [Int64](repeating: 0, count: stages)
    var causes = orders.map { [Cause](repeating: .start, count: $0.count) }
    // Index of each pass in its stage's order: 2·mb for forward, 2·mb+1 for backward.
    var place = [[Int]](repeating: [Int](repeating: -1, count: 2 * microBatches), count: times.count)
    for s in 0..<stages {
      for (index, pass) in orders[s].enumerated() { place[pass.chunk * stages + s][2 * pass.microBatch + (pass.isForward ? 0 : 1)] = index }
    }
    var timeline = [[(pass: Pass, start: Int64, end: Int64)]](repeating: [], count: stages)
    var ready = Array((0..<stages).reversed())
    var isQueued = [Bool](repeating: true, count: stages)
    while let s = ready.popLast() {
      isQueued[s] = false
      while next[s] < orders[s].count {
        let pass = orders[s][next[s]]
        let (k, mb) = (pass.chunk * stages + s, pass.microBatch)
        var arrival: Int64 = 0
        if pass.isForward {
          if k > 0 {
            if forwardEnd[k - 1][mb] < 0 { break }
            arrival = forwardEnd[k - 1][mb] + times[k - 1].sendForward
          }
        } else if k < last {
          if backwardEnd[k + 1][mb] < 0 { break }
          arrival = backwardEnd[k + 1][mb] + times[k].sendBackward
        } else if forwardEnd[k][mb] < 0 {
          break
        }
        let start = max(free[s], arrival)
        causes[s][next[s]] = arrival > free[s] ? .arrival : (next[s] == 0 ? .start : .previous)
        let end = start + (pass.isForward ? times[k].forward : times[k].backward)
        if pass.isForward { forwardEnd[k][mb] = end } else { backwardEnd[k][mb] = end }
        if pass.isForward ? k < last : k > 0 {
          let reader = (s + (pass.isForward ? 1 : stages - 1)) % stages
          if !isQueued[reader] {
            ready.append(reader)
            isQueued[reader] = true
          }
        }
        timeline[s].append((pass, start, end))
        free[s] = end
        next[s] += 1
      }
    }
    precondition((0..<stages).allSatisfy { next[$0] == orders[$0].count }, "the schedule deadlocks")

    var once = [Int64](repeating: 0, count: stages)
    for (k, t) in times.enumerated() { once[k % stages] += t.once }
    var latest = 0
    for s in 1..<max(stages, 1) where free[s] + once[s] > free[latest] + once[latest] { latest = s }
    end = free[latest] + once[latest]
    var path = Path(stages: times.count)
    for k in stride(from: latest, to: times.count, by: stages) { path.once[k] = 1 }
    var (s, index) = (latest, orders[latest].count - 1)
    walk: while true {
      let pass = orders[s][index]
      let (k, mb) = (pass.chunk * stages + s, pass.microBatch)
      if pass.isForward { path.forward[k] += 1 } else { path.backward[k] += 1 }
      switch causes[s][index] {
      case .start: break walk
      case .previous: index -= 1
      case .arrival where pass.isForward:
        path.sendForward[k - 1] += 1
        s = (k - 1) % stages
        index = place[k - 1][2 * mb]
      case .arrival:
        path.sendBackward[k] += 1
        s = (k + 1) % stages
        index = place[k + 1][2 * mb + 1]
      }
    }
    if times.contains(where: { $0.hostForward | $0.hostBackward != 0 }) {
      (path.hostForward, path.hostBackward) = (times.map(\.hostForward), times.map(\.hostBackward))
    }
    critical = path
    let busy = times.reduce(0.0) { $0 + Double($1.forward) + (mode == .train ? Double($1.backward) : 0) } * Double(microBatches)
    let span = Double(free.max() ?? 0) * Double(stages)
    bubble = span > 0 ? max(0, 1 - busy / span) : 0
    passes = timeline
  }
}
