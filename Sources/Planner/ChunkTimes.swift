// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// What each virtual stage of a cut takes at least, and what follows for the step under the interleaved schedule.
struct ChunkTimes {
  /// By virtual stage: forward and backward together, and each by itself.
  private(set) var both: [Int64] = []
  private(set) var forward: [Int64] = []
  private(set) var backward: [Int64] = []

  /// - Parameters: what a chunk of some layers takes.
  init(_ cut: [Int], both: (Range<Int>) -> Int64, forward: (Range<Int>) -> Int64, backward: (Range<Int>) -> Int64) {
    var start = 0
    self.both.reserveCapacity(cut.count)
    self.forward.reserveCapacity(cut.count)
    self.backward.reserveCapacity(cut.count)
    for count in cut {
      let layers = start..<start + count
      self.both.append(both(layers))
      self.forward.append(forward(layers))
      self.backward.append(backward(layers))
      start += count
    }
  }

  /// The longest of the chains of `PipelineTimeline.bounds`, without messages and what is done once per step.
  func bound(_ schedule: Schedule, stages: Int, microBatches: Int) -> Int64 {
    let (count, m) = (both.count, Int64(microBatches))
    let wholeForward = forward.reduce(0, +)
    var most: Int64 = 0
    // What the stages before this one do of the first and of the last micro-batch in their first chunks.
    var (filled, drained): (Int64, Int64) = (0, 0)
    var returning = backward.suffix(stages).reduce(0, +)
    for s in 0..<stages {
      returning -= backward[count - stages + s]
      var (through, left): (Int64, Int64) = (0, 0)
      schedule.forEachChunkBeforeBackward(stage: s, stages: stages, microBatches: microBatches) { chunk, before in
        let k = chunk * stages + s
        through += m * both[k]
        left += (m - Int64(before)) * forward[k] + m * backward[k]
      }
      most = max(most, filled + through, wholeForward + returning + left + drained)
      filled += both[s]
      drained += backward[s]
    }
    return most
  }
}
