// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import Planner
import Plans
import Report
import Strategies
import TestSupport
import Testing

@testable import Launches
@testable import tpplan

/// What `lint` says of a launch.
@Suite struct LintTests {
  private static let model =
    "--num-layers 4 --hidden-size 192 --num-attention-heads 12 --max-position-embeddings 128 --seq-length 128 --vocab-size 1000 --bf16"

  private func report(_ options: String, devices: Int = 4, seconds: Double = 60) throws -> LintReport {
    let launch = try MegatronLaunch.reading("\(Self.model) \(options)", file: "launch")
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "launch")
    try report.price(try #require(launch.graph), devices: devices, batch: nil, sequence: nil)
    try report.improve(seconds: seconds)
    return report
  }

  @Test("differential: every change is what its degrees are priced at, and the best of those that fit comes first")
  func changes() throws {
    let report = try report("--tensor-model-parallel-size 4 --micro-batch-size 4 --global-batch-size 64")
    let (job, planned) = (try #require(report.job), try #require(report.planned))
    #expect(report.hasAllChanges && report.changes.count > 8)
    for change in report.changes {
      var fixed = try job.fixing(change.degrees, change.software)
      fixed.ignoresMemoryLimit = true
      guard case .planned(let other) = try Planner.search(fixed) else { throw LaunchError(file: change.text, "has no plan") }
      #expect(other.prediction.step == change.planned.prediction.step, "\(change.text)")
      #expect(change.degrees.devices == 4)
    }
    let steps = report.changes.filter(\.fits).map(\.planned.prediction.step)
    #expect(steps == steps.sorted())
    let best = try #require(report.improvements.first { $0.software == job.request.software })
    #expect(best.planned.prediction.step < planned.prediction.step)
    // Written into the launch, the change is the changed launch.
    let changed = try MegatronLaunch.reading(
      "\(Self.model) --tensor-model-parallel-size 4 --micro-batch-size 4 --global-batch-size 64 \(best.text)", file: "launch")
    let again = try LaunchJob(changed, graph: job.request.graph, on: report.hardware, devices: 4).planned()
    #expect(again.prediction.step == best.planned.prediction.step, "\(best.text)")
    let optimum = try #require(report.optimum)
    #expect(optimum.prediction.step <= best.planned.prediction.step)
  }

  @Test("Where the search ends early the launch and its changes are known plans too, and none is faster than the optimum that is shown")
  func endedEarly() throws {
    let launch = try MegatronLaunch.reading("\(Self.model) --micro-batch-size 8 --global-batch-size 64", file: "launch")
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "launch")
    try report.price(try #require(launch.graph), devices: 4, batch: nil, sequence: nil)
    try report.findOptimum(seconds: 0)
    #expect(!report.isProven)
    let step = try #require(report.planned?.prediction.step)
    let early = try #require(report.optimum)
    #expect(early.prediction.step <= step)
    report.findChanges(seconds: 60, ProgressWatch())
    let (job, best) = (try #require(report.job), try #require(report.optimum))
    let ofSameJob = report.changes.filter { $0.fits && $0.software == job.request.software }
    #expect(ofSameJob.allSatisfy { best.prediction.step <= $0.planned.prediction.step })
    #expect(try #require(report.distance) >= 0)
    let text = report.lines(.plain).joined(separator: "\n")
    #expect(text.contains("not proven") && !text.contains("was not found"), "\(text)")
    #expect(report.json(output: nil)["optimum"]?["status"] == "time_limit")
  }

  @Test("golden: the parts of a report")
  func text() throws {
    let lines = try report("--tensor-model-parallel-size 4 --micro-batch-size 8 --global-batch-size 64 --log-intervall 3").lines(.plain)
    let text = lines.joined(separator: "\n")
    for part in [
      "launch: Megatron-LM on 4 devices of dgx-a100", "as the launch describes it", "  split        tensor 4, pipeline 1, data 1", "fits", "Findings",
      "did you mean --log-interval?", "The optimum of the same job and devices", "fused attention, unfused cross-entropy", "proven to be the fastest",
      "The smallest change that helps most",
    ] {
      #expect(text.contains(part), "\(part)\n\(text)")
    }
    let narrow = try report("--micro-batch-size 8 --global-batch-size 64").lines(TextStyle(isEmphatic: false, columns: 80))
    #expect(narrow.allSatisfy { $0.count <= 80 })
  }

  @Test("What does not fit says by how much, and which changes in the launch's own words make it fit")
  func shortfall() throws {
    let launch = try MegatronLaunch.reading(
      Samples.gpt3.replacing("--pipeline-model-parallel-size 8", with: "--pipeline-model-parallel-size 2"), file: "launch")
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "launch")
    try report.price(try #require(launch.graph), devices: 16, batch: 64, sequence: nil)
    report.findRepairs(seconds: 60, ProgressWatch())
    #expect(report.planned != nil && !report.fits)
    let text = report.lines(.plain).joined(separator: "\n")
    #expect(text.contains("does not fit, ") && text.contains("To make it fit"))
    let repair = try #require(report.repairs.first { $0.degrees.pipeline > 2 })
    #expect(repair.text.contains("--pipeline-model-parallel-size") && text.contains(repair.text), "\(text)")
    guard case .array(let repairs)? = report.json(output: nil)["repairs"] else { throw LaunchError(file: "json", "has no repairs") }
    #expect(repairs.count == report.repairs.count + report.otherJobs.count)
  }

  @Test("A price that leaves out what is illegal says so")
  func withoutIllegal() throws {
    let chunks = "--num-layers-per-virtual-pipeline-stage 1 --num-virtual-stages-per-pipeline-rank 2"
    let report = try report("--pipeline-model-parallel-size 2 \(chunks) --micro-batch-size 1 --global-batch-size 8", seconds: 0)
    #expect(report.isIllegal && report.planned != nil)
    #expect(report.lines(.plain).contains("  priced       without what is illegal, which the findings name"))
    #expect(try !self.report("--micro-batch-size 8 --global-batch-size 64", seconds: 0).lines(.plain).contains { $0.hasPrefix("  priced") })
  }

  @Test("Of a launch that offloads it is not known whether it fits")
  func offloading() throws {
    let graph = try Samples.model("gpt3-175b")
    func priced(_ zero: String) throws -> LintReport {
      let text = #"{"train_batch_size": 8, "train_micro_batch_size_per_gpu": 1, "bf16": {"enabled": true}, "zero_optimization": \#(zero)}"#
      var report = LintReport(try DeepSpeedLaunch.reading(text, file: "ds.json"), hardware: try Samples.hardware("dgx-a100"), file: "ds.json")
      report.isModelGiven = true
      try report.price(graph, devices: 8, batch: nil, sequence: 2048)
      return report
    }
    let offloads = try priced(#"{"stage": 3, "offload_optimizer": {"device": "cpu"}}"#)
    #expect(!offloads.fits && offloads.mayFit && offloads.json(output: nil)["fits"] == .null)
    let memory = offloads.lines(.plain).first { $0.hasPrefix("  memory") } ?? ""
    #expect(memory.hasSuffix("too much without its offloading, which has no price: it may fit all the same"), "\(memory)")
    let stays = try priced(#"{"stage": 3}"#)
    #expect(!stays.fits && !stays.mayFit && stays.json(output: nil)["fits"] == false)
  }

  @Test("What model a job trains that is not known, and which are")
  func flavors() throws {
    for (model, words) in [("llama3", "known are debugmodel, 8B, 70B, 405B"), ("qwen3", "known are 0.6B"), ("flux", "the sizes of flux 13B")] {
      let launch = try TorchtitanLaunch.reading("[model]\nname = \"\(model)\"\nflavor = \"13B\"", file: "job")
      let report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "job")
      #expect(report.lines(.plain).contains { $0.contains(words) && $0.contains("with --model") }, "\(report.lines(.plain))")
    }
  }

  @Test("Heads that the styles' degree does not divide are the reason that there is no plan")
  func heads() throws {
    let text = try LaunchFixtures.text("tp-plan-llama.json")
    let launch = try HuggingFacePlan.reading("{\"tp_plan\": \(text), \"tp_size\": 8}", file: "plan.json")
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "plan.json")
    try report.price(LaunchFixtures.llama(layers: 4, heads: 8, keyValueHeads: 2), devices: 8, batch: 64, sequence: 64)
    let obstacle = try #require(report.obstacle)
    #expect(obstacle.contains("q_proj has 2 key-value heads, which 8 devices cannot share out; choose a divisor of 2"), "\(obstacle)")
  }

  @Test("What cannot be priced says why, once")
  func obstacles() throws {
    let uneven = try report("--micro-batch-size 8 --global-batch-size 60")
    #expect(uneven.planned == nil && uneven.isIllegal && uneven.obstacle != nil)
    #expect(uneven.launch.findings.filter { $0.severity == .illegal }.count == 1)
    let lines = uneven.lines(.plain)
    #expect(lines.contains { $0.hasPrefix("  step         none: a batch of 60") && $0.hasSuffix("change --global-batch-size or --micro-batch-size") })
    #expect(uneven.json(output: nil)["obstacle"] != nil && uneven.json(output: nil)["step_seconds"] == nil)
  }

  @Test("golden: what does not go with a number of devices, in the launch's own words")
  func devices() throws {
    func obstacle(_ format: LaunchFormat, _ text: String, devices: Int) throws -> Finding? {
      let graph = try LaunchFixtures.llama(layers: 8, heads: 8, keyValueHeads: 8)
      let launch = try format.read(Array(text.utf8), file: "launch", model: graph)
      var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "launch")
      report.isModelGiven = true
      try report.price(graph, devices: devices, batch: nil, sequence: 64)
      return report.launch.findings.first { $0.severity == .illegal }
    }
    #expect(
      try obstacle(
        .deepspeed, #"{"train_batch_size": 64, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 4}"#, devices: 16)
        == Finding(
          .illegal, "train_batch_size",
          "train_batch_size 64 is not train_micro_batch_size_per_gpu 2 × gradient_accumulation_steps 4 × 16 data replicas = 128; change one of them "
            + "or --devices"))
    #expect(
      try obstacle(.megatron, "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 4", devices: 12)
        == Finding(
          .illegal, "--tensor-model-parallel-size",
          "12 devices are no multiple of 8, --tensor-model-parallel-size 2 × --pipeline-model-parallel-size 4; change them or --devices"))
    #expect(
      try obstacle(
        .torchtitan, "[parallelism]\ntensor_parallel_degree = 2\ndata_parallel_shard_degree = 2\n[training]\nseq_len = 64", devices: 8)?.text
        == "8 devices are not 4, parallelism.tensor_parallel_degree 2 × 2 data replicas; change them or --devices")
  }

  @Test("golden: what the planner says of degrees, in the settings of each format")
  func ownWords() {
    let text = "--ep 8 does not divide 1 data replica; change --ep or --dp, --micro-batch or --batch"
    for (format, words) in [
      (
        LaunchFormat.megatron,
        "--expert-model-parallel-size 8 does not divide 1 data replica; change --expert-model-parallel-size or the number of devices, --micro-batch-size or --global-batch-size"
      ),
      (
        .deepspeed,
        "expert_parallel.autoep_size 8 does not divide 1 data replica; change expert_parallel.autoep_size or the number of devices, train_micro_batch_size_per_gpu or train_batch_size"
      ),
      (
        .torchtitan,
        "parallelism.expert_parallel_degree 8 does not divide 1 data replica; change parallelism.expert_parallel_degree or parallelism.data_parallel_shard_degree, training.local_batch_size or training.global_batch_size"
      ),
    ] {
      #expect(format.inOwnWords(text) == words)
      #expect(format.subject(of: words).map(words.hasPrefix) ?? false)
    }
    #expect(LaunchFormat.huggingFace.inOwnWords("--tp 2 -- and --devices") == "tp_size 2 -- and --devices")
    #expect(LaunchFormat.megatron.subject(of: "nothing of it") == nil)
  }

  @Test("What a format has no setting for stands apart")
  func beyond() throws {
    let text = try LaunchFixtures.text("tp-plan-llama.json")
    let launch = try HuggingFacePlan.reading("{\"tp_plan\": \(text), \"tp_size\": 4}", file: "plan.json")
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "plan.json")
    try report.price(LaunchFixtures.llama(layers: 4, heads: 8, keyValueHeads: 8), devices: 8, batch: 64, sequence: 64)
    report.findChanges(seconds: 60, ProgressWatch())
    #expect(!report.improvementsElsewhere.isEmpty && report.improvements.allSatisfy { $0.text.hasPrefix("tp_size: ") })
    let lines = report.lines(.plain)
    let heading = try #require(lines.firstIndex { $0.contains("Beyond what a tp_plan says") })
    #expect(lines[..<heading].allSatisfy { !$0.contains("--pp") && !$0.contains("--zero") }, "\(lines)")
  }

  @Test("Without a number of devices a launch is for a node")
  func node() throws {
    let hardware = try Samples.hardware("dgx-a100")
    func devices(_ text: String) throws -> (Int, String) {
      let graph = try LaunchFixtures.llama(layers: 8, heads: 8, keyValueHeads: 8)
      let job = try LaunchJob(TorchtitanLaunch.reading(text, file: "job", model: graph), graph: graph, on: hardware)
      return (job.request.cluster.deviceCount, job.assumptions.first ?? "")
    }
    #expect(try devices("[training]\nseq_len = 64") == (8, "8 devices: a node of dgx-a100 (--devices)"))
    #expect(try devices("[training]\nseq_len = 64\n[parallelism]\ntensor_parallel_degree = 2\npipeline_parallel_degree = 8").0 == 16)
  }

  @Test("golden: changes in the words that the launch says the same things in")
  func words() throws {
    let launch = try MegatronLaunch.reading(Samples.gpt3, file: "launch")
    let job = try LaunchJob(launch, graph: try #require(launch.graph), on: try Samples.hardware("dgx-a100"))
    func words(_ change: (inout MegatronDegrees) -> Void) -> String {
      var degrees = job.degrees
      change(&degrees)
      return job.words(degrees)
    }
    #expect(
      words { ($0.tensor, $0.pipeline) = (4, 16) }
        == "--tensor-model-parallel-size 4 --pipeline-model-parallel-size 16 --num-layers-per-virtual-pipeline-stage 2")
    #expect(words { ($0.chunks, $0.schedule) = (1, .oneForwardOneBackward) } == "without --num-layers-per-virtual-pipeline-stage")
    #expect(words { $0.isSequenceParallel = false } == "without --sequence-parallel")
    #expect(words { $0.recompute = .none } == "without --recompute-activations")
    #expect(
      words { ($0.recompute, $0.recomputedLayers) = (.full, 2) }
        == "--recompute-granularity full --recompute-method block --recompute-num-layers 2 without --recompute-activations")
    #expect(words { ($0.zero, $0.microBatchSize) = (.optimizer, 2) } == "--use-distributed-optimizer --micro-batch-size 2")
    #expect(words { ($0.data, $0.context) = (2, 2) } == "--context-parallel-size 2 on 256 devices")
    let uneven = words { ($0.chunks, $0.stageLayers) = (1, [11, 12, 12, 12, 12, 12, 12, 13]) }
    #expect(
      uneven == "--pipeline-model-parallel-layout \"Et*11|t*12|t*12|t*12|t*12|t*12|t*12|t*13L\" without --num-layers-per-virtual-pipeline-stage")
    // What is written first, and then what no longer is, of what stands there.
    let sharded = try MegatronLaunch.reading(
      "\(Self.model) --micro-batch-size 1 --use-torch-fsdp2 --untie-embeddings-and-output-weights --torch-fsdp2-no-reshard-after-forward",
      file: "launch")
    let replicas = try LaunchJob(sharded, graph: try #require(sharded.graph), on: try Samples.hardware("dgx-a100"))
    var gathered = replicas.degrees
    gathered.zero = .weights
    #expect(
      replicas.words(gathered)
        == "--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params --ckpt-format fsdp_dtensor "
        + "without --use-torch-fsdp2 and --torch-fsdp2-no-reshard-after-forward")
  }

  @Test("golden: layers of stages, many of them in runs, and once where all have as many")
  func runs() throws {
    var degrees = MegatronDegrees()
    (degrees.pipeline, degrees.stageLayers) = (8, [11, 12, 12, 12, 12, 12, 12, 13])
    #expect(degrees.splitText == "tensor 1, pipeline 8 of 11 12 12 12 12 12 12 13 layers, data 1")
    let hardware = try Samples.hardware("dgx-a100")
    func plan(_ options: String) throws -> Decision {
      let launch = try MegatronLaunch.reading("\(Self.model) --micro-batch-size 1 --global-batch-size 4 \(options)", file: "launch")
      return try LaunchJob(launch, graph: try #require(launch.graph), on: hardware, devices: 2).planned().decision
    }
    let even = try plan("--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2")
    #expect(even.splitText == "2 stages of 2 chunks, interleaved of 1 layer each, 4 micro-batches")
    #expect(even.configurationText.contains("interleaved, 1 layer each, 4 micro-batches"))
    #expect(try plan("--pipeline-model-parallel-size 2 --decoder-first-pipeline-num-layers 3").splitText.contains("1f1b of 3 1 layers, "))
  }

  @Test("golden: formats by what stands in a file")
  func formats() {
    for (text, format) in [
      (Samples.gpt3, LaunchFormat.megatron), ("--num-layers 2", .megatron), ("{\"zero_optimization\": {\"stage\": 2}}", .deepspeed),
      ("{\"layers.*.q_proj\": \"colwise\"}", .huggingFace), ("# a job\n[training]\nlocal_batch_size = 1", .torchtitan),
      ("#!/usr/bin/env python3\nimport torch\n", .torch), ("hello", nil), ("", nil),
    ] {
      #expect(LaunchFormat(recognising: text) == format, "\(text.prefix(20))")
    }
  }

  @Test("The shipped program ends with the code that says what was found")
  func commands() throws {
    let folder = try TemporaryFolder()
    func file(_ name: String, _ text: String) throws -> String {
      try Data(text.utf8).write(to: URL(filePath: folder.file(name)))
      return folder.file(name)
    }
    func lint(_ arguments: String...) throws -> CommandLineRun { try CommandLineRun(["lint"] + arguments + ["--time-limit", "5s"]) }
    let (hardware, job) = ("hardware/dgx-a100.json", "--micro-batch-size 8 --global-batch-size 64")
    let plan = folder.file("plan.json")
    let good = try lint(try file("good.sh", "\(Self.model) \(job)"), hardware, "--devices", "4", "-o", plan)
    #expect(good.status == 0 && good.output.contains("The optimum"), "\(good.output)")
    // The plan is the launch.
    let inspected = try CommandLineRun(["inspect", plan])
    #expect(inspected.status == 0 && inspected.output.contains("4 devices"), "\(inspected.output)")
    let illegal = try lint(try file("illegal.sh", "\(Self.model) \(job) --tensor-model-parallel-size 8"), hardware, "--devices", "8")
    #expect(illegal.status == 1 && illegal.output.contains("illegal"), "\(illegal.output)")
    let script = Samples.gpt3.replacing("NUM_NODES=8", with: "NUM_NODES=1").replacing(
      "pipeline-model-parallel-size 8", with: "pipeline-model-parallel-size 1"
    )
    .replacing("--num-layers-per-virtual-pipeline-stage 4", with: "")
    let large = try lint(try file("large.sh", script), hardware, "-o", folder.file("none.json"))
    #expect(large.status == 2 && large.output.contains("does not fit") && large.output.contains("no plan was written"), "\(large.output)")
    #expect(try lint(try file("none.txt", "nothing"), hardware).status == 65)
    #expect(try lint(plan, hardware).status == 65)
    #expect(try lint(hardware, folder.file("good.sh")).status == 64)
    #expect(try lint(folder.file("good.sh"), hardware, "-o", "/nowhere/plan.json").status == 73)
    #expect(try lint(try file("model.sh", "--tensor-model-parallel-size 2"), hardware, "--devices", "2").status == 64)
    let named = try lint(folder.file("model.sh"), hardware, "--devices", "2", "--model", "models/gpt2.json", "--batch", "8", "--format", "json")
    #expect(named.status == 0 && named.output.contains("\"format\":\"megatron\""), "\(named.output)")
    #expect(try CommandLineRun(["lint", "-", hardware], shell: "echo '\(Self.model) \(job)' | \"$@\" --devices 4 --time-limit 1s").status == 0)
  }

  @Test("differential: lint prices GPT-3 as estimate does, through the shipped program")
  func besideEstimate() throws {
    let folder = try TemporaryFolder()
    try Data(Samples.gpt3.utf8).write(to: URL(filePath: folder.file("gpt3.sh")))
    let lint = try CommandLineRun(["lint", folder.file("gpt3.sh"), "hardware/dgx-a100.json", "--time-limit", "1s", "--format", "json"])
    let estimate = try CommandLineRun([
      "estimate", "models/gpt3-175b.json", "hardware/dgx-a100.json", "--tp", "8", "--pp", "8", "--vpp", "3", "--sp", "--recompute",
      "selective+gathered",
      "--micro-batch", "1", "--batch", "64", "--seq", "2048", "--dtype", "fp16", "--attention", "unfused", "--cross-entropy", "unfused",
      "--gradients",
      "working", "--format", "json",
    ])
    func value(_ run: CommandLineRun, _ key: String) throws -> JSON? { try JSON(parsing: Array(run.output.utf8), file: key)[key] }
    #expect(lint.status == 0 && estimate.status == 0, "\(lint.output)\(estimate.output)")
    #expect(try value(lint, "step_seconds") == value(estimate, "objective_seconds"))
    #expect(try value(lint, "memory_bytes_per_device") == value(estimate, "memory_bytes_per_device"))
  }
}
