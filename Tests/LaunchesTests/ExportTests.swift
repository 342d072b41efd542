// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies
import TestSupport
import Testing

@testable import Launches

/// What is written from a plan and read again is that plan.
@Suite struct ExportTests {
  // MARK: - Plans

  /// A model of a kind that Megatron-LM's options describe.
  private static func model(_ random: inout SeededGenerator) throws -> Graph {
    let (layers, heads, size) = (random.pick([2, 3, 4, 6, 8]), random.pick([4, 8]), random.pick([8, 16]))
    let vocabulary = random.pick([96, 128, 97])
    switch random.int(0...3) {
    case 0:
      var model = GPT2Configuration()
      (model.name, model.vocabulary, model.positions, model.layers, model.heads) = ("gpt", vocabulary, 64, layers, heads)
      (model.hidden, model.ffn, model.tiesEmbeddings) = (heads * size, random.pick([4 * heads * size, 96]), random.chance(0.7))
      let dropout = random.pick([0, 0.1])
      (model.residualDropout, model.embeddingDropout, model.attentionDropout) = (dropout, dropout, dropout)
      return try model.graph()
    case 1:
      var model = GPTNeoXConfiguration()
      (model.name, model.vocabulary, model.maximumPositions, model.layers, model.heads) = ("neox", vocabulary, 64, layers, heads)
      (model.hidden, model.ffn, model.activation, model.hasParallelResidual) = (heads * size, 128, random.pick([.geluTanh, .squaredRelu]), false)
      model.rotary = RotaryParameters(base: 10000, rotated: random.pick([nil, size / 2]))
      return try model.graph()
    default:
      var model = LlamaConfiguration()
      (model.name, model.vocabulary, model.maximumPositions, model.layers, model.heads) = ("llama", vocabulary, 64, layers, heads)
      (model.hidden, model.headSize, model.keyValueHeads) = (heads * size, random.pick([size, 32]), random.pick([heads, heads / 2]))
      (model.ffn, model.tiesEmbeddings, model.queryKeyValueBias) = (96, random.chance(0.3), random.chance(0.3))
      model.normalisesQueriesAndKeys = random.chance(0.3)
      if random.chance(0.4) {
        model.experts = ExpertLayer(naming: random.pick([.mixtral, .qwen]), count: 4, perToken: 2, ffn: 96, renormalises: true)
      }
      return try model.graph()
    }
  }

  private static func degrees(_ graph: Graph, _ random: inout SeededGenerator) -> MegatronDegrees {
    var degrees = MegatronDegrees()
    let hasExperts = graph.axes.contains { $0.role == .experts }
    degrees.tensor = random.pick([1, 1, 2, 2, 4])
    degrees.pipeline = random.pick([1, 1, 2])
    degrees.data = random.pick([1, 2, 4])
    degrees.context = degrees.tensor == 1 || random.chance(0.3) ? random.pick([1, 1, 2]) : 1
    degrees.contextWay = degrees.context > 1 ? random.pick([.ring, .gather, .ulysses]) : nil
    if hasExperts, degrees.data % 2 == 0, random.chance(0.6) { degrees.expert = 2 }
    degrees.isSequenceParallel = degrees.tensor > 1 && (hasExperts || random.chance(0.6))
    degrees.zero = random.pick([.none, .optimizer, .optimizer, .gradients, .weights])
    degrees.recompute = random.pick([.none, .none, .selective, .full])
    degrees.microBatchSize = random.pick([1, 2])
    let layers = graph.segments.map(\.repeats).max() ?? 1
    if degrees.pipeline == 2 {
      if layers % 4 == 0, random.chance(0.4) { (degrees.chunks, degrees.schedule) = (2, .interleaved) }
      if degrees.chunks == 1, random.chance(0.4) { degrees.stageLayers = [1, layers - 1] }
    }
    if degrees.recompute == .full, random.chance(0.5) { degrees.recomputedLayers = 1 }
    return LaunchFormat.megatron.completed(degrees)
  }

  private static func software(_ degrees: MegatronDegrees, _ precision: Precision, _ random: inout SeededGenerator) -> Software {
    var software = Software()
    software.attention = random.pick([.fused, .fused, .unfused])
    if precision != .fp32 {
      software.crossEntropy = random.pick([.fused, .unfused])
      software.gradients = random.pick([.accumulated, .working])
    }
    software.overlap = degrees.zero >= .gradients ? .weights : random.pick([.none, .weights])
    return software
  }

  /// A plan of a seed: model, job and degrees are drawn.
  static func plan(seed: Int) throws -> Plan {
    var random = SeededGenerator(seed: seed)
    let hardware = try Samples.hardware("dgx-a100")
    let graph = try model(&random)
    var degrees = degrees(graph, &random)
    let precision = random.pick([Precision.bf16, .bf16, .fp16, .fp32])
    let microBatches = degrees.chunks > 1 ? 4 : random.pick([1, 2, 4])
    let batch = (degrees.microBatchSize ?? 1) * degrees.data * microBatches
    var request = SearchRequest(
      graph: graph, cluster: try hardware.cluster(devices: degrees.devices), batch: batch, sequence: random.pick([32, 64]), precision: precision,
      mode: .train, optimizer: random.pick([.adamw, .adamw, .sgd]))
    request.software = software(degrees, precision, &random)
    // Some models have too few heads or places for an all-to-all, or for any sharing out of sequences.
    for attempt in 0..<3 {
      if attempt == 1, degrees.context > 1 { degrees.contextWay = .ring }
      if attempt == 2 { (degrees.context, degrees.contextWay) = (1, nil) }
      request.cluster = try hardware.cluster(devices: degrees.devices)
      var fixed = try degrees.fix(request)
      fixed.ignoresMemoryLimit = true
      if case .planned(let planned) = try Planner.search(fixed) { return Samples.plan(planned, on: hardware) }
    }
    throw LaunchError(file: "seed \(seed)", "has no plan")
  }

  /// The plan that a script means.
  private func again(_ script: String, _ plan: Plan) throws -> (planned: PlanOutcome.Planned, isDescribed: Bool) {
    let launch = try MegatronLaunch.reading(script, file: "script")
    #expect(!launch.findings.contains { $0.severity == .illegal }, "\(launch.findings)")
    // Tokens' way to experts is as it is priced, and the environment is set.
    #expect(script.contains("--moe-token-dispatcher-type alltoall") == plan.decision.graph.axes.contains { $0.role == .experts })
    #expect(!launch.findings.contains { $0.place == "CUDA_DEVICE_MAX_CONNECTIONS" }, "\(launch.findings)")
    let job = try LaunchJob(launch, graph: launch.graph ?? plan.decision.graph, on: plan.hardware)
    return (try job.planned(), launch.graph != nil)
  }

  private func expectSame(_ planned: PlanOutcome.Planned, _ plan: Plan, _ comment: String) {
    let (a, b) = (planned.decision, plan.decision)
    #expect(planned.prediction.step == plan.prediction.step && planned.prediction.stages == plan.prediction.stages, "\(comment)")
    #expect(b.difference(from: a).map { "\($0)" } == nil, "\(comment)")
    #expect(a.mesh == b.mesh && a.stages == b.stages && a.schedule == b.schedule && a.job == b.job, "\(comment)")
    #expect(a.assignments == b.assignments && a.zero == b.zero && a.recompute == b.recompute, "\(comment)")
    #expect(a.conversions == b.conversions && a.orders == b.orders && a.graph.operators == b.graph.operators, "\(comment)")
    #expect(planned.prediction == plan.prediction, "\(comment)")
  }

  // MARK: - Tests

  @Test("differential: export and lint are the identity on plans of drawn degrees, or the refusal says what they cannot say")
  func drawn() throws {
    var (identities, described, refusals) = (0, 0, [String]())
    for seed in 0..<80 {
      let plan = try Self.plan(seed: seed)
      do {
        let script = try MegatronLaunch.exporting(plan)
        let (planned, isDescribed) = try again(script, plan)
        expectSame(planned, plan, "seed \(seed)\n\(script)")
        identities += 1
        if isDescribed { described += 1 }
      } catch let refusal as Inexpressible {
        refusals.append("seed \(seed): \(refusal)")
      }
    }
    #expect(identities >= 50, "\(refusals)")
    #expect(described >= 50, "\(refusals)")
    #expect(identities + refusals.count == 80)
  }

  @Test("differential: a searched plan is the same again, or is refused by the layer, operator, mesh or stage that no options mean")
  func searched() throws {
    var (identities, refusals) = (0, [Inexpressible]())
    let hardware = try Samples.hardware("dgx-a100")
    for seed in 0..<12 {
      var random = SeededGenerator(seed: 1000 + seed)
      var request = SearchRequest(
        graph: try Self.model(&random), cluster: try hardware.cluster(devices: random.pick([1, 2, 4])), batch: 8, sequence: 32, precision: .bf16,
        mode: .train, optimizer: .adamw)
      // Of everything, and of what options can say.
      if seed % 2 == 0 { (request.mesh, request.layersMayDiffer, request.recompute) = ([request.cluster.deviceCount], false, Recompute.none) }
      guard case .planned(let planned) = try Planner.search(request) else { continue }
      let plan = Samples.plan(planned, on: hardware)
      do {
        let script = try MegatronLaunch.exporting(plan)
        expectSame(try again(script, plan).planned, plan, "seed \(seed)\n\(script)")
        identities += 1
      } catch let refusal as Inexpressible {
        #expect(!refusal.place.isEmpty && !refusal.reason.isEmpty)
        refusals.append(refusal)
      }
    }
    #expect(identities > 0, "\(refusals)")
    #expect(!refusals.isEmpty)
  }

  /// Of four layers, of which the first one of each stage computes everything again.
  private func tensorParallel(_ change: (inout MegatronDegrees, inout SearchRequest) -> Void = { _, _ in }) throws -> Plan {
    let hardware = try Samples.hardware("dgx-a100")
    var model = GPT2Configuration()
    (model.vocabulary, model.positions, model.layers, model.heads, model.hidden, model.ffn) = (96, 32, 4, 4, 32, 64)
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.data, degrees.recompute, degrees.recomputedLayers, degrees.microBatchSize) = (2, 2, .full, 1, 1)
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(devices: 4), batch: 8, sequence: 32, precision: .bf16, mode: .train, optimizer: .adamw)
    change(&degrees, &request)
    request.cluster = try hardware.cluster(devices: degrees.devices)
    guard case .planned(let planned) = try Planner.search(degrees.fix(request)) else { throw LaunchError(file: "search", "found nothing") }
    return Samples.plan(planned, on: hardware)
  }

  private func refusal(_ plan: Plan) throws -> Inexpressible {
    do {
      let script = try MegatronLaunch.exporting(plan)
      throw LaunchError(file: "plan", "was not refused:\n\(script)")
    } catch let refusal as Inexpressible {
      return refusal
    }
  }

  @Test("A plan that no options mean is refused by its layer, or by what is around the layers")
  func refusals() throws {
    let plan = try tensorParallel()
    #expect(throws: Never.self) { try MegatronLaunch.exporting(plan) }
    let graph = plan.decision.graph
    func op(_ name: String) throws -> Int { try #require(graph.operators.firstIndex { $0.name == name }) }
    func edited(_ change: (inout Decision) -> Void) -> Plan {
      var plan = plan
      change(&plan.decision)
      return plan
    }
    let second = try op("transformer.h.{i+1}.mlp.c_proj")
    let assignment = plan.decision.assignments[second]
    let split = try refusal(edited { $0.assignments[second] = [assignment[0], nil] })
    #expect(
      split.place == "layer 1, transformer.h.1.mlp.c_proj" && split.reason.contains("data,replicate") && split.reason.contains("data,row"), "\(split)"
    )
    let first = try op("transformer.h.{i}.mlp.c_fc")
    let zero = try refusal(edited { $0.zero[first] = .gradients })
    #expect(zero.reason.contains("ZeRO") && zero.place.contains("transformer."), "\(zero)")
    // What is shared out of one small norm alone is no reason to share all out: what is named is the best for all.
    let norm = try op("transformer.ln_f")
    let most = plan.decision.zeroStages[0]
    let single = try refusal(edited { $0.zero[norm] = most == .weights ? .none : .weights })
    #expect(single.place.contains("ln_f") && !single.reason.contains("--zero 3"), "\(single)")
    let recompute = try refusal(edited { $0.recompute[2] = .selective })
    #expect(recompute.place == "layer 1" && recompute.reason.contains("selective"), "\(recompute)")
    let head = try refusal(edited { $0.recompute[$0.recompute.count - 1] = .full })
    #expect(head.place == "head", "\(head)")
    let conversion = try refusal(edited { $0.conversions[0].steps = [] })
    #expect(conversion.reason.contains("by other collectives"), "\(conversion)")
    let outside = try refusal(
      edited { decision in
        decision.assignments = decision.assignments.map { [$0[1], $0[0]] }
      })
    #expect(outside.place == "mesh axis 1" && outside.reason.contains("outside"), "\(outside)")
  }

  @Test("What Megatron-LM does not do is refused by what it is")
  func foreign() throws {
    let gpipe = try refusal(tensorParallel { degrees, _ in (degrees.pipeline, degrees.schedule) = (2, .gpipe) })
    #expect(gpipe.place == "the schedule")
    let forward = try refusal(
      tensorParallel { degrees, request in (request.mode, degrees.recompute, degrees.recomputedLayers) = (.forward, .none, nil) })
    #expect(forward.place == "the job")
    let updates = try refusal(tensorParallel { degrees, request in (request.software.updates, degrees.microBatchSize) = (.inBackward, 4) })
    #expect(updates.place == "the weights")
    let kept = try refusal(
      tensorParallel { degrees, _ in (degrees.isSequenceParallel, degrees.recompute, degrees.recomputedLayers) = (true, .none, nil) })
    #expect(kept.place == "layer 0" && kept.reason.contains("gathers it again"), "\(kept)")
    let some = try refusal(tensorParallel { degrees, _ in degrees.recompute = .selective })
    #expect(some.place == "layer 0" && some.reason.contains("selective"), "\(some)")
    let contiguous = try refusal(
      tensorParallel { degrees, request in
        (degrees.context, degrees.contextWay, degrees.data, request.isZigzag) = (2, .gather, 1, false)
      })
    #expect(contiguous.place == "attention", "\(contiguous)")
    let scattered = try refusal(tensorParallel { _, request in request.software.boundaries = .scattered })
    #expect(scattered.place == "the stages")
  }

  @Test("The degrees of a plan of degrees are these degrees", arguments: 0..<20)
  func degrees(seed: Int) throws {
    let plan = try Self.plan(seed: seed)
    let degrees = try MegatronDegrees(of: plan)
    var fixed = try degrees.fix(plan.request())
    fixed.recomputeOfSegments = plan.decision.recompute
    (fixed.recompute, fixed.recomputedLayers, fixed.ignoresMemoryLimit) = (nil, nil, true)
    guard case .planned(let planned) = try Planner.search(fixed) else { throw LaunchError(file: "seed \(seed)", "has no plan") }
    #expect(planned.decision == plan.decision)
  }
}
