// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// Better plans next to the best one. Frames come in the order of their bounds, and where bounds are far below what frames can do, as for the largest
/// models, the first plan stays for long. A better one excludes more, and is what a time limit leaves.
extension PlanSearch {
  /// Looks at the best plan's neighbours after the 32nd, 64th, 128th, … frame, if the plan is another one than the last time.
  mutating func climbNowAndThen() throws {
    openedFrames += 1
    guard openedFrames >= Self.firstClimb, openedFrames & (openedFrames - 1) == 0, let best, best.objective != climbedTo else { return }
    try climb()
    climbedTo = self.best?.objective
  }

  static let firstClimb = 32

  /// Moves from the best plan's frame to a better neighbour's until there is none.
  private mutating func climb() throws {
    while let best, best.frame.runs.isEmpty {
      for frame in neighbours(of: best.frame) where climbed.insert(frame).inserted {
        if isLate { return }
        try look(at: frame, near: best.schedule)
      }
      if self.best?.objective == best.objective { return }
    }
  }

  /// Frames with other meshes and a step or two more or fewer micro-batches, or stages.
  private func neighbours(of frame: Space.Frame) -> [Space.Frame] {
    let counts = space.microBatchCounts
    let size = frame.size
    func near<Value: Comparable>(_ value: Value, in all: [Value], within steps: Int) -> [Value] {
      let place = all.firstIndex { $0 >= value } ?? all.count
      return Array(all[max(0, place - steps)..<min(all.count, place + steps + 1)])
    }
    var found: [Space.Frame] = []
    func add(_ stages: Int, _ size: Int, _ microBatches: Int, _ isWanted: ([Int]) -> Bool) {
      found += space.frames(stages: stages, size: size, microBatches: microBatches).filter { isWanted($0.mesh) && !Space.isFine($0.mesh) }
    }
    // More data parallelism needs fewer micro-batches: both change together.
    for count in near(frame.microBatches, in: counts, within: 2) { add(frame.stages, size, count) { _ in true } }
    let devices = frame.stages * size
    for stages in near(frame.stages, in: space.pipelineDegrees.filter { devices % $0 == 0 }, within: 2) where stages != frame.stages {
      let alike = near(frame.microBatches * stages / frame.stages, in: counts, within: 1)
      for count in Set([frame.microBatches] + alike).sorted() {
        // Tensor parallelism mostly stays as it is, on the innermost axis.
        add(stages, devices / stages, count) { $0.last == frame.mesh.last || $0.count == 1 }
      }
    }
    return found
  }

  /// Tries the most promising choice of a frame's evenest cuts.
  private mutating func look(at frame: Space.Frame, near schedule: Schedule) throws {
    let placed = placed(stages: frame.stages, mesh: frame.mesh)
    let bound = try axisBounds(frame.stages, frame.size, frame.microBatches).bound(placed, mesh: frame.mesh, cutoff: cutoff ?? .max)
    if bound >= cutoff ?? .max { return }
    let all = space.schedules(frame)
    let wanted = space.seedSchedules(frame) + all.filter { $0 == schedule || 2 * $0.chunks == schedule.chunks || $0.chunks == 2 * schedule.chunks }
    for recompute in space.recomputes {
      let frame = frame.recomputing(recompute)
      guard var bounds = try bounds(frame) else { continue }
      for schedule in all where wanted.contains(schedule) {
        let cut = space.evenCut(stages: frame.stages, chunks: schedule.chunks)
        guard space.allowsAlike(recompute, cut: cut), bounds.bound(schedule, cut: cut) < cutoff ?? .max,
          bounds.leastMemory(schedule, cut: cut) <= limit
        else { continue }
        // What is left open here is still in the queue.
        let wasOpen = open
        _ = try solve(frame, schedule, cut, bound: bound, isSeed: true)
        open = wasOpen
      }
    }
  }
}
