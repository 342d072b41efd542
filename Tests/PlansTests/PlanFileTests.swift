// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import Planner
import Strategies
import Testing

@testable import Plans

@Suite struct PlanFileTests {
  @Test("Oracle: a plan that is written and read is the same plan, of the same bytes")
  func roundTrip() throws {
    let hybrid = try tinyPipeline()
    let forward = try plan(modelDocument("mlp"), hardware: "mixed-a100-v100", devices: 4, batch: 8, sequence: 128, mode: .forward) {
      $0.precision = .fp16
      $0.mesh = [4]
    }
    // Of each stage the first layer computes again.
    let mixed = try plan(deepGPT2(layers: 4), hardware: "derecho", devices: 4, batch: 8, sequence: 32) {
      ($0.pipelineDegree, $0.microBatches, $0.recompute, $0.recomputedLayers) = (2, 2, .full, 1)
    }
    var spare = forward
    spare.idleDevices = 3
    let interleaved = try tinyInterleaved()
    let ring = try tinyRing()
    let both = try plan(deepGPT2(layers: 4), hardware: "derecho", devices: 4, batch: 4, sequence: 32) {
      ($0.mesh, $0.chunks, $0.microBatches) = ([2], 2, 4)
      $0.constraints = [.init(pattern: "*.attn.core", words: ["ring"], isForbidden: false)]
    }
    for plan in [hybrid, forward, mixed, spare, interleaved, ring, both] {
      let bytes = PlanFile.encode(plan).prettyBytes
      let read = try PlanFile.decode(Document(file: "plan.json", parsing: bytes))
      #expect(read == plan)
      #expect(PlanFile.encode(read).prettyBytes == bytes)
    }
    // What the round trip would be empty without.
    #expect(mixed.decision.recompute == [.none, .full, .none, .full, .none, .none])
    #expect(ring.decision.orders.contains(SequenceOrder(pairs: 4)))
    #expect(both.decision.schedule == .interleaved(chunks: 2) && both.decision.orders.contains(SequenceOrder(pairs: 2)))
    #expect(hybrid.decision.stages.count == 2 && !hybrid.decision.conversions.isEmpty)
    #expect(interleaved.decision.schedule == .interleaved(chunks: 2) && interleaved.decision.stages.count == 4 && interleaved.decision.ranks == 8)
    #expect(PlanFile.encode(interleaved)["chunks"] == 2 && PlanFile.encode(hybrid)["chunks"] == nil)
    #expect(Set(hybrid.prediction.collectives.map(\.cause)).isSuperset(of: [.forward, .backward, .gradient, .tied, .boundary]))
  }

  @Test("Idle devices come after the plan's, and the hardware has them")
  func idleDevices() throws {
    var plan = try plan(modelDocument("mlp"), hardware: "derecho", devices: 4, batch: 8, sequence: 128) { $0.mesh = [4] }
    plan.idleDevices = 4
    let idle = JSON.object(.init([("first_device", .int(4)), ("devices", .int(4))]))
    #expect(PlanFile.encode(plan)["idle"] == idle)
    // Derecho has 328 devices.
    for (first, devices) in [(0, 4), (3, 1), (4, 0), (4, 325)] {
      let file = edited(plan) { $0.set(["idle"], .object(.init([("devices", .int(devices)), ("first_device", .int(first))]))) }
      #expect(throws: DocumentError.self) { _ = try PlanFile.decode(file) }
    }
    #expect(try PlanFile.decode(edited(plan) { $0.set(["idle", "devices"], .int(324)) }).idleDevices == 324)
  }

  @Test("Differential: a plan around a ring is priced alike when it is read again, contiguous or not", arguments: [false, true])
  func pricedAgain(contiguous: Bool) throws {
    let plan = try tinyRing(contiguous: contiguous)
    #expect(plan.decision.orders.allSatisfy { $0.isNatural } == contiguous)
    let cluster = try plan.hardware.cluster(devices: plan.decision.ranks)
    #expect(try Planner.predict(plan.decision, on: cluster) == plan.prediction)
  }

  @Test("A file on disk: whole or not at all")
  func onDisk() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let plan = try tinyPipeline()
    try PlanFile.write(plan, to: folder + "/plan.json")
    #expect(try PlanFile.read(folder + "/plan.json") == plan)
    #expect(throws: DocumentError.self) { try PlanFile.write(plan, to: folder + "/absent/plan.json") }
    #expect(throws: DocumentError.self) { _ = try PlanFile.read(folder + "/absent.json") }
  }
}
