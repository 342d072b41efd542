// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// Chains that every run of a schedule contains, so lower bounds of its length.
///
/// Every chain is a sequence of passes in which each one waits for the one before: the next virtual stage for what it reads, or a stage for its
/// own last pass in the schedule's order.
extension PipelineTimeline {
  /// - Parameter stages: groups of devices, of which each holds the schedule's number of chunks.
  package static func bounds(stages: Int, schedule: Schedule, microBatches: Int, mode: Mode) -> [Path] {
    (0..<stages).flatMap { bounds(at: $0, of: stages, schedule: schedule, microBatches: microBatches, mode: mode) }
  }

  /// The chains through one of the stages, in an order that does not depend on the number of chunks.
  package static func bounds(at stage: Int, of stages: Int, schedule: Schedule, microBatches: Int, mode: Mode) -> [Path] {
    if case .interleaved(let chunks) = schedule {
      return interleaved(at: stage, of: stages, chunks: chunks, microBatches: microBatches, mode: mode)
    }
    return plain(at: stage, of: stages, schedule: schedule, microBatches: microBatches, mode: mode)
  }

  /// Of these chains the first of the longest, for given durations of the virtual stages; only that one is made.
  package static func longestBound(_ times: [StageTimes], stages: Int, schedule: Schedule, microBatches: Int, mode: Mode) -> Path {
    let lengths = lengths(times, stages: stages, schedule: schedule, microBatches: Int64(microBatches), mode: mode)
    var longest = lengths[0]
    for length in lengths where length.length > longest.length { longest = length }
    return bounds(at: longest.stage, of: stages, schedule: schedule, microBatches: microBatches, mode: mode)[longest.number]
  }

  /// What the chains through each stage take, in their order.
  private static func lengths(
    _ t: [StageTimes], stages p: Int, schedule: Schedule, microBatches m: Int64, mode: Mode
  ) -> [(stage: Int, number: Int, length: Int64)] {
    var lengths: [(stage: Int, number: Int, length: Int64)] = []
    lengths.reserveCapacity(4 * p)
    let count = t.count
    let once = stride(from: 0, to: count, by: p).reduce(Int64(0)) { $0 + t[$1].once }
    /// All forward passes with their messages, and from the last chunk of s on, the way back to it.
    let forward = (0..<count).reduce(Int64(0)) { $0 + t[$1].forward + ($1 < count - 1 ? t[$1].sendForward : 0) }
    var returning = (count - p + 1..<max(count, count - p + 1)).reduce(Int64(0)) { $0 + t[$1].backward + t[$1 - 1].sendBackward }
    // What comes before stage s: its first micro-batch's way there, and its last one's way back.
    var (filled, drained): (Int64, Int64) = (0, 0)
    for s in 0..<p {
      var (ownForward, ownBackward, ownOnce, spared): (Int64, Int64, Int64, Int64) = (0, 0, 0, 0)
      for k in stride(from: s, to: count, by: p) {
        ownForward += t[k].forward
        ownBackward += t[k].backward
        ownOnce += t[k].once
      }
      var number = 0
      func add(_ length: Int64) {
        lengths.append((s, number, length))
        number += 1
      }
      func addEnds(_ length: Int64) {
        add(length + drained + once)
        if s > 0 { add(length + ownOnce) }
      }
      if case .interleaved = schedule {
        if mode == .forward {
          let left = (count - p + s..<count - 1).reduce(Int64(0)) { $0 + t[$1 + 1].forward + t[$1].sendForward }
          add(filled + m * ownForward + left)
        } else {
          addEnds(filled + m * (ownForward + ownBackward))
          schedule.forEachChunkBeforeBackward(stage: s, stages: p, microBatches: Int(m)) { spared += Int64($1) * t[$0 * p + s].forward }
          addEnds(forward + returning + m * (ownForward + ownBackward) - spared)
        }
      } else if mode == .forward {
        add(forward + (m - 1) * ownForward)
      } else {
        let spared = Int64(schedule.sparedPasses(stage: s, stages: p, microBatches: Int(m), mode: mode))
        addEnds(forward + (m - spared) * ownForward + m * ownBackward + returning)
      }
      filled += t[s].forward + t[s].sendForward
      drained += t[s].backward + t[s].sendBackward
      if s + 1 < p { returning -= t[count - p + s + 1].backward + t[count - p + s].sendBackward }
    }
    return lengths
  }

  /// For each stage s: fill the pipeline, come back to s with the first backward pass, and do there what is left, m backward passes and m−w_s
  /// forward passes, where w_s is how many the schedule lets s do before its first backward pass. One chain then drains the pipeline:
  /// Σ_r (f_r + b_r) + (m−1)·b_s + (m−w_s)·f_s + o_0; the other ends with what s does once per step:
  /// Σ_r f_r + Σ_{r>s} b_r + m·b_s + (m−w_s)·f_s + o_s. A GPipe chain goes through all of its forward passes: w_s counts as 1.
  private static func plain(at s: Int, of stages: Int, schedule: Schedule, microBatches m: Int, mode: Mode) -> [Path] {
    var fill = Path(stages: stages)
    for r in 0..<stages {
      fill.forward[r] = 1
      if r < stages - 1 { fill.sendForward[r] = 1 }
    }
    if mode == .forward {
      fill.forward[s] += Int64(m - 1)
      return [fill]
    }
    let spared = schedule.sparedPasses(stage: s, stages: stages, microBatches: m, mode: mode)
    fill.forward[s] += Int64(m - spared)
    for r in s..<stages {
      fill.backward[r] = r == s ? Int64(m) : 1
      if r < stages - 1 { fill.sendBackward[r] = 1 }
    }
    return fill.ends(at: s, of: stages)
  }

  /// Stage s holds the virtual stages k ≡ s (mod p). For each s two ways to its last pass, which is the last micro-batch's backward pass of its
  /// first chunk:
  ///
  /// - *through all its passes*: the first micro-batch comes to s through the first chunks of the stages before, and then s does all its passes,
  ///   Σ_{r<s} f_r + m·Σ_{k≡s} (f_k + b_k). With equal virtual stages and free messages, s = p − 1 gives (p−1)·(f + b) + m·v·(f + b) when the
  ///   pipeline is drained, which is the whole step (Narayanan et al. 2021, §2.2.2): a bubble of (p−1)/(v·m) over the work.
  /// - *through the whole model*: the first micro-batch goes forward through all virtual stages and back to the last chunk of s; that is the
  ///   first backward pass of s, before which it has done n_k forward passes of its chunk k (`passesBeforeBackward`). All others come after it:
  ///   Σ_k f_k + Σ_{k > (v−1)p+s} b_k + Σ_{k≡s} ((m − n_k)·f_k + m·b_k).
  ///
  /// From there one chain drains the pipeline through the first chunks of the stages before s, and ends with what stage 0 does once per step;
  /// another ends with what s does once.
  ///
  /// In a forward run s does m passes of each chunk after the first micro-batch has come to it, and its last one then goes on to the end.
  private static func interleaved(at s: Int, of stages: Int, chunks: Int, microBatches m: Int, mode: Mode) -> [Path] {
    let count = stages * chunks
    let schedule = Schedule.interleaved(chunks: chunks)
    var through = Path(stages: count)
    for r in 0..<s { (through.forward[r], through.sendForward[r]) = (1, 1) }
    for k in stride(from: s, to: count, by: stages) { through.forward[k] = Int64(m) }
    if mode == .forward {
      for r in count - stages + s..<count - 1 { (through.forward[r + 1], through.sendForward[r]) = (1, 1) }
      return [through]
    }
    for k in stride(from: s, to: count, by: stages) { through.backward[k] = Int64(m) }
    var whole = Path(stages: count)
    for k in 0..<count { (whole.forward[k], whole.sendForward[k]) = (1, k < count - 1 ? 1 : 0) }
    for k in count - stages + s + 1..<max(count, count - stages + s + 1) { (whole.backward[k], whole.sendBackward[k - 1]) = (1, 1) }
    let before = schedule.passesBeforeBackward(stage: s, stages: stages, microBatches: m)
    for k in stride(from: s, to: count, by: stages) {
      whole.forward[k] += Int64(m - before[k / stages])
      whole.backward[k] = Int64(m)
    }
    return through.ends(at: s, of: stages) + whole.ends(at: s, of: stages)
  }
}

extension PipelineTimeline.Path {
  /// The chain to the last pass of stage s, ended in both ways.
  fileprivate func ends(at s: Int, of stages: Int) -> [Self] {
    var (drained, own) = (self, self)
    for r in 0..<s { (drained.backward[r], drained.sendBackward[r]) = (1, 1) }
    for k in stride(from: 0, to: once.count, by: stages) { drained.once[k] = 1 }
    for k in stride(from: s, to: once.count, by: stages) { own.once[k] = 1 }
    return s == 0 ? [drained] : [drained, own]
  }
}
