// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// Frames whose stages have several meshes: fewer than those of one, and solved cut by cut.
extension PlanSearch {
  /// Bounds the cuts of a frame, each operator at its least and conversions free, and leaves those that it does not exclude to be solved.
  mutating func expandRuns(_ frame: Space.Frame) throws {
    let cuts = space.cuts(runs: frame)
    guard let any = cuts.first else { return }
    // Ties are apart under every cut: what stands before all layers is on the first stage, what stands after on the last.
    let ties = space.ties(frame, cut: any)
    let kinds = space.recomputes(frame)
    guard let least = try frameModel(kinds[0], ties) else {
      if shortfall == nil { shortfall = .constraints }
      return
    }
    let bounds = RunBounds(try kinds.compactMap { try frameModel($0, ties)?.operators })
    for schedule in space.schedules(stages: frame.stages, microBatches: frame.microBatches) where schedule.kind != .interleaved {
      for cut in cuts {
        let configuration = Configuration(least.frame, schedule, cut, space: space)
        let bound = bounds.time(configuration)
        if let cutoff, bound >= cutoff {
          pruned += 1
          continue
        }
        let memory = bounds.memory(configuration)
        if memory > limit {
          infeasible += 1
          note(.memory(row: 0, least: memory, limit: limit))
        } else {
          queue.push(.runCut(frame, schedule, cut), bound: bound)
        }
      }
    }
  }

  /// Solves a cut for everything that the runs' layers may compute again.
  mutating func solveRuns(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    for frame in space.recomputes(frame) {
      if isLate { return leaveOpen(bound) }
      _ = try solve(frame, schedule, cut, bound: bound)
    }
  }
}

/// Lower bounds of the cuts of a frame whose stages have several meshes, each operator at its own least whatever its run's layers compute again.
struct RunBounds {
  /// For each segment, of one copy.
  private let forward: [Int64]
  private let backward: [Int64]
  private let once: [Int64]
  private let resident: [Int64]
  private let kept: [Int64]

  /// - Parameter models: of all that layers may compute again, the least first.
  init(_ models: [FoldedModel]) {
    func least(_ cost: (FoldedModel.Node, Int) -> Int64) -> [Int64] {
      let sums = models.map { FrameBounds.least($0.nodes, $0.pricing.graph, cost) }
      return sums[0].indices.map { segment in sums.map { $0[segment] }.min() ?? 0 }
    }
    forward = least { $0.forward[$1] }
    backward = least { $0.backward[$1] }
    once = least { $0.once[$1] }
    resident = least { $0.resident[$1] }
    kept = least { $0.leastKept[$1] }
  }

  private func sum(_ copies: [Int], _ part: [Int64]) -> Int64 { zip(copies, part).reduce(0) { $0 + Int64($1.0) * $1.1 } }

  /// The longest of the chains that every run of the schedule contains.
  func time(_ configuration: Configuration) -> Int64 {
    let times = configuration.copies.map { copies in
      PipelineTimeline.StageTimes(
        forward: sum(copies, forward), backward: sum(copies, backward), once: sum(copies, once), sendForward: 0, sendBackward: 0)
    }
    return PipelineTimeline.bounds(
      stages: configuration.stages, schedule: configuration.schedule, microBatches: configuration.microBatches, mode: configuration.mode
    ).map { $0.length(times) }.max() ?? 0
  }

  /// What the fullest stage holds at least.
  func memory(_ configuration: Configuration) -> Int64 {
    (0..<configuration.stages).map { stage in
      configuration.loads(ofStage: stage).map { sum($0.copies, resident) + sum($0.kept, kept) }.max() ?? 0
    }.max() ?? 0
  }
}
