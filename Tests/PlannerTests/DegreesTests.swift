// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Strategies
import Testing

@testable import Planner

/// Configurations that a launch line names.
@Suite struct DegreesTests {
  private func request(devices: Int = 8, batch: Int = 16) throws -> SearchRequest {
    let hardware = try Shipped.hardware("dgx-a100")
    var request = try Shipped.request("llama-3-8b", on: hardware, devices: devices, batch: batch, sequence: 8192)
    request.larger = { try? hardware.cluster(devices: $0) }
    return request
  }

  private func degrees(tensor: Int, data: Int = 1, microBatch: Int? = nil) -> MegatronDegrees {
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.data, degrees.microBatchSize) = (tensor, data, microBatch)
    return degrees
  }

  @Test("Oracle: what is suggested fits with the step that is stated, and half of the change is not enough")
  func repairs() throws {
    let (request, given) = (try request(), degrees(tensor: 4, data: 2))
    #expect(try Planner.search(try given.fix(request)).plan == nil)
    let repairs = Planner.repairs(given, request, seconds: 60).changes
    let first = try #require(repairs.first)
    #expect(first.change == "--micro-batch 2" && first.devices == 8 && !first.isOtherJob)
    let priced = try #require(try Planner.search(try degrees(tensor: 4, data: 2, microBatch: 2).fix(request)).plan)
    #expect(priced.prediction.step == first.step)
    #expect(try Planner.search(try degrees(tensor: 4, data: 2, microBatch: 4).fix(request)).plan == nil)
    #expect(repairs.map(\.price) == repairs.map(\.price).sorted())
    // More devices are priced on more devices.
    let wider = try #require(repairs.first { $0.change == "--pp 2" })
    #expect(wider.devices == 16)
    #expect(wider.remark == "the default --micro-batch is then 1, not 8" && first.remark == nil)
  }

  @Test("Where no single change is enough, several are found together")
  func repairsTogether() throws {
    let hardware = try Shipped.hardware("dgx-a100")
    var request = try Shipped.request("gpt3-175b", on: hardware, devices: 16, batch: 64, sequence: 2048)
    request.larger = { $0 <= 64 ? try? hardware.cluster(devices: $0) : nil }
    var given = degrees(tensor: 8, microBatch: 8)
    given.pipeline = 2
    let repairs = Planner.repairs(given, request, seconds: 60).changes
    #expect(!repairs.isEmpty)
    for repair in repairs { #expect(repair.change.contains("--micro-batch 1") && repair.devices <= 64) }
  }

  @Test("Degrees of each stage: layers as the stages have devices, data and tensor parallelism as each stage says")
  func degreesOfStages() throws {
    let request = try request(devices: 12, batch: 24)
    var given = MegatronDegrees()
    (given.stageMeshes, given.pipeline, given.data, given.tensor) = ([[2, 4], [1, 4]], 2, 2, 4)
    (given.isSequenceParallel, given.recompute) = (true, .full)
    #expect(given.devices == 12)
    let fixed = try given.fix(request)
    #expect(fixed.stageLayers == [21, 11] && fixed.microBatches == 12)
    let plan = try #require(try Planner.search(fixed).plan)
    #expect(plan.decision.stageMeshes == [[2, 4], [1, 4]] && plan.certificate.status == .given)
    #expect(plan.words("model.layers.{i}.mlp.up_proj") == ["data", "column"])
    #expect(plan.words("model.layers.{i+21}.mlp.up_proj") == ["replicate", "column"])
    #expect(plan.words("model.layers.{i}.mlp.residual") == ["data", "sequence"])
    #expect(given.assumptions(request) == ["micro-batches of 1 sequence for each replica (--micro-batch)"])
    given.stageMeshes = [[1, 4], [1, 16]]
    #expect(given.assumptions(request).contains { $0.contains("every device of such a stage computes the whole attention") })
  }

  @Test("A tensor degree above the key-value heads is said to be two mesh axes")
  func assumptions() throws {
    let request = try request(devices: 16)
    let wide = degrees(tensor: 16, microBatch: 1)
    #expect(try wide.fix(request).mesh == [8, 2])
    #expect(wide.assumptions(request).count == 1 && wide.assumptions(request)[0].hasPrefix("--tp 16 as a mesh of 8 x 2"))
    #expect(degrees(tensor: 12, microBatch: 1).assumptions(request)[0].contains("computes the whole attention"))
    #expect(degrees(tensor: 8, microBatch: 1).assumptions(request).isEmpty)
    #expect(degrees(tensor: 8, data: 2).assumptions(request) == ["micro-batches of 8 sequences for each replica (--micro-batch)"])
  }

  /// The experts of each group of 4 replicas are spread over its members; everything else stays data- and tensor-parallel.
  @Test func expertsAreSpreadOverGroupsOfReplicas() throws {
    var request = try Shipped.request("mixtral-8x7b", on: Shipped.hardware("dgx-h100"), devices: 32, batch: 32, sequence: 4096)
    request.ignoresMemoryLimit = true
    var given = degrees(tensor: 2, data: 8, microBatch: 1)
    (given.pipeline, given.expert, given.isSequenceParallel) = (2, 4, true)
    let plan = try #require(try Planner.search(try given.fix(request)).plan)
    let layer = "model.layers.{i}"
    #expect(plan.decision.mesh == [2, 4, 2])
    #expect(plan.words("\(layer).self_attn.q_proj") == ["data", "data", "column"])
    #expect(plan.words("\(layer).block_sparse_moe.gate") == ["data", "data", "sequence"])
    #expect(plan.words("\(layer).block_sparse_moe.dispatch") == ["data", "data", "sequence"])
    #expect(plan.words("\(layer).block_sparse_moe.experts.w1") == ["data", "expert", "column"])
    #expect(plan.words("\(layer).block_sparse_moe.experts.act") == ["data", "expert", "column"])
    #expect(plan.words("\(layer).block_sparse_moe.experts.w2") == ["data", "expert", "row"])
    #expect(plan.words("\(layer).block_sparse_moe.combine") == ["data", "data", "sequence"])
    // Without the degree every replica has all experts.
    given.expert = 1
    let copied = try #require(try Planner.search(try given.fix(request)).plan)
    #expect(copied.decision.mesh == [8, 2] && copied.words("\(layer).block_sparse_moe.experts.w1") == ["data", "column"])
    #expect(copied.prediction.memory > plan.prediction.memory)
  }

  @Test func theExpertDegreeMustDivideReplicasAndExperts() throws {
    let hardware = try Shipped.hardware("dgx-h100")
    let mixtral = try Shipped.request("mixtral-8x7b", on: hardware, devices: 48, batch: 48, sequence: 4096)
    for (request, data, expert, message) in [
      (mixtral, 6, 4, "--ep 4 does not divide 6 data replicas"), (mixtral, 48, 16, "--ep 16 does not divide the model's 8 experts"),
      (try self.request(), 8, 2, "--ep 2: llama-3-8b has no experts"),
    ] {
      var given = degrees(tensor: 1, data: data)
      given.expert = expert
      let error = #expect(throws: PlannerError.self) { try given.fix(request) }
      #expect(error?.description.contains(message) == true, "\(String(describing: error))")
    }
  }

  @Test func degreesMustDivideTheBatch() throws {
    let request = try request(batch: 6)
    for (given, message) in [
      (degrees(tensor: 2, data: 4), "a batch of 6 does not divide over 4 replicas"),
      (degrees(tensor: 4, data: 2, microBatch: 2), "not a whole number of micro-batches of 2 × 2 replicas"),
    ] {
      do {
        _ = try given.fix(request)
        Issue.record("accepted")
      } catch PlannerError.usage(let text) {
        #expect(text.contains(message))
      }
    }
  }
}

/// A number of layers that compute again is the plan's, on every stage.
@Suite struct RecomputedLayersTests {
  @Test func noStageHasMoreLayersThanItHolds() throws {
    var degrees = MegatronDegrees()
    (degrees.pipeline, degrees.recompute, degrees.recomputedLayers) = (2, .full, 12)
    let request = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 2, batch: 4, sequence: 64)
    do {
      _ = try degrees.fix(request)
      Issue.record("accepted")
    } catch PlannerError.usage(let text) {
      #expect(text.contains("--recompute-layers 12: no stage has more than 11 layers"))
    }
  }

  @Test(arguments: [0, 1, 5, 6]) func soManyOfEachStagesLayersComputeAgain(count: Int) throws {
    var degrees = MegatronDegrees()
    (degrees.pipeline, degrees.recompute, degrees.recomputedLayers) = (2, .full, count)
    let request = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 2, batch: 4, sequence: 64)
    let plan = try #require(try Planner.search(try degrees.fix(request)).plan)
    for stage in plan.decision.stages {
      let again = stage.units.reduce(0) { $0 + (plan.decision.recompute[$1.segment] == .full ? $1.copies.count : 0) }
      #expect(again == min(count, 6))
    }
    #expect(plan.decision.graph.operators.filter { $0.name.hasSuffix("mlp.c_fc") }.count == (0 < count && count < 6 ? 4 : 1))
  }
}
