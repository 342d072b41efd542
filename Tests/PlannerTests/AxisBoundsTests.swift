// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Search
import Strategies
import Testing

@testable import Planner

/// Oracle: the bound of a mesh from its axes against the best plan on that mesh.
@Suite struct AxisBoundsTests {
  @Test(arguments: 0..<16) func noPlanOfATinyModelIsBelowItsBound(seed: Int) throws {
    var hardware = TinyHardware()
    let request = try tinyRequest(seed: seed, hardware: &hardware)
    try expectBounds(request)
  }

  /// Levels of several kinds, extents that do not divide, and a batch that makes micro-batches of several sizes.
  @Test(arguments: [("derecho", Mode.train), ("aws-p3", .train), ("ethernet", .forward)])
  func noPlanOfARealModelIsBelowItsBound(hardware: String, mode: Mode) throws {
    try expectBounds(try Shipped.request("gpt2", on: Shipped.hardware(hardware), devices: 4, batch: 6, sequence: 96, mode: mode))
  }

  private func expectBounds(_ request: SearchRequest) throws {
    let space = try Space(request)
    var compared = 0
    for stages in space.pipelineDegrees {
      for microBatches in space.microBatchCounts {
        let size = request.cluster.deviceCount / stages
        let count = CountBounds(
          space, microBatches: microBatches, model: space.model(.init(stages: 1, mesh: [], microBatches: microBatches)),
          rates: try space.slowestRates())
        let bounds = try AxisBounds(
          space, stages: stages, size: size, microBatches: microBatches,
          model: space.model(.init(stages: stages, mesh: [], microBatches: microBatches)),
          rates: space.slowestRates(),
          link: space.placed(stages: stages, mesh: [size]).stageLink, structures: KnownStructures())
        for frame in space.frames(stages: stages, size: size, microBatches: microBatches) {
          var fixed = request
          (fixed.pipelineDegree, fixed.mesh, fixed.microBatches, fixed.ignoresMemoryLimit) = (stages, frame.mesh, microBatches, true)
          fixed.recompute = request.mode == .train ? Recompute.none : nil
          // The evenest cut alone keeps this quick; the bound holds for all.
          fixed.stageLayers = space.evenCut(stages: stages)
          guard let plan = try Planner.search(fixed).plan else { continue }
          let bound = try bounds.bound(space.placed(stages: stages, mesh: frame.mesh), mesh: frame.mesh)
          #expect(bound > 0)
          #expect(count.bound(stages: stages, size: size) <= plan.prediction.step.picoseconds, "\(frame)")
          #expect(count.bound(stages: stages, size: size) <= count.bound(stages: stages, size: max(1, size / 2)))
          #expect(bound <= plan.prediction.step.picoseconds, "\(frame)")
          compared += 1
        }
      }
    }
    #expect(compared > 0)
  }
}
