// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Sweeps, fronts and known plans.
@Suite struct QuestionTests {
  /// A model with a choice between splits that communicate and splits that do not, on hardware of a rate between devices.
  private func drawn(seed: Int) throws -> (base: SearchRequest, hardware: HardwareFile) {
    var random = SeededGenerator(seed: seed)
    var model = TinyModel(block: random.pick([.mlp, .residual, .linear]), layers: random.pick([1, 2]))
    (model.batch, model.hidden, model.inner) = (random.pick([2, 4]), random.pick([8, 16]), random.pick([8, 32]))
    var hardware = TinyHardware()
    (hardware.devices, hardware.devicesPerNode) = (random.pick([2, 3, 4]), 4)
    hardware.latency = random.pick([1e-8, 1e-6])
    let file = try hardware.file()
    let request = SearchRequest(
      graph: try model.graph(), cluster: try file.cluster(devices: hardware.devices), batch: model.batch, sequence: nil, precision: .fp32,
      mode: .train,
      optimizer: random.pick([.adamw, .sgd]))
    return (request, file)
  }

  @Test(
    "differential: along a sweep the plan of each interval is the best, and flip points are those of a bisection by searches",
    arguments: [2, 3, 4, 5, 6])
  func sweep(seed: Int) throws {
    let (base, hardware) = try drawn(seed: seed)
    func request(_ value: Double) throws -> SearchRequest {
      var request = base
      request.cluster = try hardware.setting("inner.bandwidth_GBps", to: value).cluster(devices: base.cluster.deviceCount)
      return request
    }
    func best(_ value: Double) throws -> Seconds { try #require(Planner.search(request(value)).plan).prediction.step }
    func step(_ plan: PlanOutcome.Planned, _ value: Double) throws -> Seconds {
      try Planner.predict(plan.decision, on: request(value).cluster).step
    }
    let (low, high) = (1e-4, 10.0)
    let points = (0..<7).map { low * pow(high / low, Double($0) / 6) }
    let sweep = try Sweep(points: points, request: request)
    #expect(sweep.isComplete && sweep.intervals.count > 1, "one plan is the best everywhere: the test shows nothing")
    #expect(sweep.intervals[0].low == low && sweep.intervals.last?.high == points[6])
    for (a, b) in zip(sweep.intervals, sweep.intervals.dropFirst()) { #expect(a.high == b.low && a.plan != b.plan) }
    for value in (0..<40).map({ low * pow(high / low, (Double($0) + 0.3) / 40) }) {
      let interval = try #require(sweep.intervals.first { $0.low <= value && value <= $0.high })
      let plan = sweep.plans[try #require(interval.plan)]
      let (own, least) = (try step(plan, value), try best(value))
      #expect(own <= least * (1 + 2e-6) && own >= least * (1 - 2e-6), "seed \(seed) at \(value): \(own), the best \(least)")
    }
    // Where the plan below stops being the best, looked for by searches alone, between the middles of both intervals.
    for (a, b) in zip(sweep.intervals, sweep.intervals.dropFirst()) {
      let plan = sweep.plans[try #require(a.plan)]
      var (from, to) = ((a.low * a.high).squareRoot(), (b.low * b.high).squareRoot())
      while to / from > 1.001 {
        let middle = (from * to).squareRoot()
        if try step(plan, middle) <= best(middle) * (1 + 1e-6) { from = middle } else { to = middle }
      }
      // Plans a millionth apart count as one, so that where they part slowly the bisection sees it later.
      let (own, least) = (try step(plan, a.high * 1.01), try best(a.high * 1.01))
      #expect(abs(from / a.high - 1) < 0.01 || own <= least * (1 + 1e-5), "seed \(seed): a flip at \(a.high), by bisection at \(from)")
    }
  }

  @Test("oracle: every plan of a front is one that no enumerated plan beats in step and memory at once", arguments: [1, 2, 3, 4])
  func frontier(seed: Int) throws {
    var (base, hardware) = try drawn(seed: seed + 10)
    (base.zero, base.recompute, base.layersMayDiffer) = (ZeROStage.none, Recompute.none, false)
    base.microBatches = 1
    let all = try [1, 2].map { count in
      var request = base
      request.cluster = try hardware.cluster(devices: count)
      return (count: count, entries: try Enumeration(request).entries)
    }
    let frontier = try Frontier(devices: [1, 2], share: 0.95, most: 20) { count in
      var request = base
      request.cluster = try hardware.cluster(devices: count)
      return request
    }
    #expect(frontier.isComplete && frontier.tooSmall.isEmpty && !frontier.points.isEmpty)
    for point in frontier.points {
      let others = all.filter { $0.count <= point.devices }.flatMap(\.entries)
      let tick = try Space(base).tick
      let better = others.contains { $0.memory <= point.memory && tick * Double($0.objective) < point.step * (1 - 1e-6) }
      #expect(!better, "seed \(seed): \(point.devices) devices, \(point.memory), \(point.step)")
    }
    // The fastest of each number of devices that is worth it is among them.
    for (count, entries) in all {
      let fastest = try #require(entries.min { $0.objective < $1.objective })
      let tick = try Space(base).tick
      let isThere = frontier.points.contains { $0.devices <= count && $0.step <= tick * Double(fastest.objective) * (1 + 1e-6) }
      #expect(isThere, "seed \(seed): no plan as fast as \(count) devices allow")
    }
    hardware = try hardware.setting("d.memory_GiB", to: 1e-6)
    let none = try Frontier(devices: [1]) { _ in
      var request = base
      request.cluster = try hardware.cluster(devices: 1)
      return request
    }
    #expect(none.points.isEmpty && none.tooSmall.count == 1 && none.tooSmall[0].memory != nil)
  }

  @Test("textbook: known plans are what they are called, none beats the search, and one that cannot be says why")
  func knownPlans() throws {
    var model = GPT2Configuration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 16, sequence: 32), 4, 64, 8, 256)
    (model.vocabulary, model.positions) = (128, 32)
    let hardware = try Shipped.hardware("dgx-a100").setting("a100-80.reserved_GiB", to: 0)
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(devices: 8), batch: 16, sequence: 32, precision: .bf16, mode: .train, optimizer: .adamw)
    request.mostMeshAxes = 1
    let best = try #require(Planner.search(request).plan)
    for rule in KnownPlan.Rule.allCases {
      let known = try KnownPlan(rule, for: request)
      if rule == .pipeline {
        // 4 layers do not make 8 stages.
        #expect(known.planned == nil && known.obstacle?.contains("8") == true, "\(known.obstacle ?? "")")
        continue
      }
      let (planned, degrees) = (try #require(known.planned, "\(known.obstacle ?? "")"), try #require(known.degrees))
      #expect(planned.prediction.step >= best.prediction.step && planned.prediction.memory <= planned.prediction.memoryLimit)
      switch rule {
      case .data: #expect((degrees.data, degrees.zero) == (8, .none))
      case .fsdp: #expect((degrees.data, degrees.zero) == (8, .weights))
      case .tensor: #expect(degrees.tensor == 8)
      case .megatron: #expect((degrees.tensor, degrees.pipeline, degrees.data) == (1, 1, 8), "it fits a device")
      case .pipeline: break
      }
    }
    // On devices that are too small for a node's eighth, with everything computed again, tensor parallelism fills a node, and stages do the rest.
    request.cluster = try hardware.cluster(devices: 16)
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.data, degrees.microBatchSize, degrees.isSequenceParallel) = (8, 2, 1, true)
    (degrees.zero, degrees.recompute) = (.optimizer, .full)
    let least = try #require(Planner.search(degrees.fix(request)).plan).prediction.memory
    let small = try hardware.setting("a100-80.memory_GiB", to: least.gibibytes * 0.99)
    request.cluster = try small.cluster(devices: 16)
    let megatron = try #require(KnownPlan(.megatron, for: request).degrees)
    #expect((megatron.tensor, megatron.pipeline, megatron.data) == (8, 2, 1))
    let data = try KnownPlan(.data, for: request)
    #expect(data.planned == nil && data.obstacle?.hasPrefix("does not fit: ") == true)
  }

  @Test("Megatron's rule takes the recomputation that is fastest, not the fewest devices for a layer that everything computed again makes fit")
  func recomputationOfTheRule() throws {
    let request = try Shipped.request("llama-3-8b", on: Shipped.hardware("dgx_a100_80g_hdr200x8"), devices: 16, batch: 128, sequence: 8192)
    let known = try KnownPlan(.megatron, for: request)
    let (planned, degrees) = (try #require(known.planned), try #require(known.degrees))
    #expect((degrees.tensor, degrees.data) == (2, 8) && degrees.recompute == .gathered)
    // What fits without tensor parallelism computes everything again.
    var others: [PlanOutcome.Planned] = []
    for size in [1, 2] {
      var data = MegatronDegrees()
      (data.data, data.zero, data.recompute, data.microBatchSize) = (16, .optimizer, .full, size)
      if let plan = try Planner.search(data.fix(request)).plan { others.append(plan) }
    }
    #expect(!others.isEmpty && others.allSatisfy { $0.prediction.step > planned.prediction.step })
  }

  @Test("numbers of hardware files have names, and can be set")
  func numbers() throws {
    let file = try Shipped.hardware("dgx-a100")
    #expect(file.numberNames.contains("nvlink.bandwidth_GBps") && file.numberNames.contains("a100-80.efficiency.gemm"))
    #expect(file.number("a100-80.peak_TFLOPS.bf16") == 312 && file.number("nvlink.joins") == nil)
    for name in file.numberNames {
      let value = try #require(file.number(name)) * 0.5
      let changed = try file.setting(name, to: value)
      #expect(abs(try #require(changed.number(name)) / value - 1) < 1e-12 || value == 0, "\(name)")
      for other in file.numberNames where other != name { #expect(changed.number(other) == file.number(other), "\(name) changed \(other)") }
    }
    #expect(throws: HardwareError.self) { try file.setting("nvlink.colour", to: 1) }
    #expect(throws: (any Error).self) { try file.setting("a100-80.efficiency.gemm", to: 2) }
  }
}
