// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Quantities
import Strategies
import Testing

@testable import Launches

/// Megatron-LM's command lines.
@Suite struct MegatronReadingTests {
  private func read(_ source: String) throws -> Launch { try MegatronLaunch.reading(source, file: "launch") }

  @Test("oracle: a published script is the split, the job and the model of its paper")
  func published() throws {
    let launch = try read(Samples.gpt3)
    #expect(launch.findings.isEmpty || launch.findings.allSatisfy { $0.severity == .ignored }, "\(launch.findings)")
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.pipeline, degrees.chunks, degrees.schedule) = (8, 8, 3, .interleaved)
    (degrees.isSequenceParallel, degrees.recompute, degrees.microBatchSize) = (true, .selectiveGathered, 1)
    #expect(launch.degrees == degrees)
    #expect(launch.devices == 64 && launch.batch == 64 && launch.sequence == 2048 && launch.precision == .fp16 && launch.optimizer == .adamw)
    #expect(launch.software.attention == .unfused && launch.software.crossEntropy == .unfused && launch.software.gradients == .working)
    // 50257 tokens in multiples of 128 × 8.
    let graph = try #require(launch.graph)
    #expect(graph.axes.first { $0.name == "vocab" }?.extent == 51200)
    #expect(graph.parameterCount == (try Samples.model("gpt3-175b")).parameterCount)
  }

  @Test(
    "differential: a launch is priced as its degrees are",
    arguments: [nil, "--use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather"])
  func price(options: String?) throws {
    let hardware = try Samples.hardware("dgx-a100")
    let launch = try read(Samples.gpt3.replacing("--log-interval", with: "\(options ?? "") --log-interval"))
    let job = try LaunchJob(launch, graph: try #require(launch.graph), on: hardware)
    let planned = try job.planned()

    var request = SearchRequest(
      graph: try Samples.model("gpt3-175b"), cluster: try hardware.cluster(devices: 64), batch: 64, sequence: 2048, precision: .fp16, mode: .train,
      optimizer: .adamw)
    request.software = launch.software
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.pipeline, degrees.chunks, degrees.schedule) = (8, 8, 3, .interleaved)
    (degrees.isSequenceParallel, degrees.recompute, degrees.microBatchSize) = (true, .selectiveGathered, 1)
    if options != nil { degrees.zero = .optimizer }
    var fixed = try degrees.fix(request)
    fixed.ignoresMemoryLimit = true
    guard case .planned(let other) = try Planner.search(fixed) else { throw LaunchError(file: "estimate", "has no plan") }
    #expect(planned.prediction == other.prediction)
    #expect(options == nil || launch.software.overlap == .weights)
  }

  @Test("golden: bare options, launchers' devices, and commands inside quotes")
  func forms() throws {
    let bare = try read("--tensor-model-parallel-size 2 --pipeline-model-parallel-size=4 --micro-batch-size 2")
    #expect(bare.degrees.tensor == 2 && bare.degrees.pipeline == 4 && bare.degrees.microBatchSize == 2 && bare.devices == nil && bare.graph == nil)
    #expect(bare.findings.isEmpty, "\(bare.findings)")
    for (text, devices) in [
      ("python -m torch.distributed.launch --nproc_per_node 8 --nnodes=4 pretrain_gpt.py --num-layers 2", 32),
      ("mpirun -np 16 python pretrain_gpt.py --num-layers 2", 16), ("torchrun --nproc-per-node=gpu pretrain_gpt.py --num-layers 2", nil),
      ("#SBATCH --nodes=3\n#SBATCH --gpus-per-node=a100:4\nrun='python pretrain_gpt.py --num-layers 2'\nsrun bash -c \"$run\"", 12),
      ("WORLD_SIZE=$((2*3))\npython pretrain_gpt.py --num-layers 2", 6),
      ("--nproc_per_node 2 --nnodes 2 --num-layers 2", 4),
    ] {
      let launch = try read(text)
      #expect(launch.devices == devices, "\(text)")
    }
    #expect { try read("echo nothing") } throws: { "\($0)".contains("no command in it has options of Megatron-LM") }
  }

  @Test("A command that is run by what is not read, such as a here-document, is found where it is written")
  func variables() throws {
    let submitted = try read(
      "ARGS=(--num-layers 2 --micro-batch-size 4)\nCMD=\"cd x;\npython pretrain_gpt.py ${ARGS[@]}\"\nsbatch <<EOF\nsrun $CMD\nEOF")
    #expect(submitted.degrees.microBatchSize == 4)
    let exported = try read("export PARAMS=\" --tensor-model-parallel-size 2 \\\n  --num-layers 2 \"")
    #expect(exported.degrees.tensor == 2)
  }

  @Test("Experts that are spread over more devices than there are replicas are priced over the replicas, and said to be so")
  func experts() throws {
    let options = " --num-experts 8 --expert-model-parallel-size 4 --expert-tensor-parallel-size 1 --tensor-model-parallel-size 2 --sequence-parallel"
    let launch = try read(
      Self.llama.replacing("--num-layers 32", with: "--num-layers 2") + options + " --nproc_per_node 4 --micro-batch-size 1 --bf16")
    #expect(!launch.findings.contains { $0.severity == .illegal }, "\(launch.findings)")
    let job = try LaunchJob(launch, graph: try #require(launch.graph), on: try Samples.hardware("dgx-a100"))
    #expect(job.degrees.expert == 2 && job.degrees.data == 2 && job.assumptions.contains { $0.hasPrefix("experts shared out over 2 data replicas") })
    #expect(throws: Never.self) { try job.planned() }
  }

  @Test("golden: stages with unequal numbers of layers")
  func stages() throws {
    func layers(_ options: String) throws -> [Int]? {
      let launch = try read("--num-layers 12 --pipeline-model-parallel-size 4 \(options)")
      #expect(!launch.findings.contains { $0.severity == .illegal }, "\(options): \(launch.findings)")
      return launch.degrees.stageLayers
    }
    #expect(try layers("") == nil)
    #expect(try layers("--decoder-first-pipeline-num-layers 2 --decoder-last-pipeline-num-layers 4") == [2, 3, 3, 4])
    #expect(try layers("--decoder-first-pipeline-num-layers 3") == [3, 3, 3, 3])
    #expect(try layers("--pipeline-model-parallel-layout 'Et|(tt|)*2,t*7L'") == [1, 2, 2, 7])
    #expect(try layers("--pipeline-model-parallel-layout 'E|t*6|t*6|L'") == [0, 6, 6, 0])
    #expect(try layers("--num-virtual-stages-per-pipeline-rank 3") == nil)
    let accounted = try read(
      "--num-layers 14 --pipeline-model-parallel-size 4 --account-for-embedding-in-pipeline-split --account-for-loss-in-pipeline-split")
    #expect(accounted.degrees.stageLayers == [3, 4, 4, 3])
    let interleaved = try read("--num-layers 8 --pipeline-model-parallel-size 2 --pipeline-model-parallel-layout 'Et|tt|tt|tttL'")
    #expect(interleaved.degrees.stageLayers == [1, 2, 2, 3] && interleaved.degrees.chunks == 2 && interleaved.degrees.schedule == .interleaved)
  }

  @Test("differential: a layout's text is the layout", arguments: [[1], [0, 3, 2], [4, 4], [1, 2, 3, 0]])
  func layouts(layers: [Int]) throws {
    #expect(try MegatronLayout(parsing: MegatronLayout(layers: layers).text).layers == layers)
  }

  @Test(
    "A layout that is none is refused with why",
    arguments: [
      ("ttL", "the embedding"), ("Ett", "the loss"), ("Et|x|L", "the letter x"), ("E(t|L", "( is not closed"), ("Et||tL", "stage 1 is empty"),
      ("Et*99999999999L", "repeats more"), ("(Et|)*99999L", "repeats more"), ("Etm|L", "multi-token"), ("E(tt)L", "expected *"),
      ("|EtL", "first stage"),
    ])
  func badLayouts(text: String, words: String) {
    #expect {
      try MegatronLayout(parsing: text)
    } throws: { ($0 as? MegatronLayout.Problem)?.text.contains(words) ?? false }
  }

  @Test("golden: replicas, recomputing and precisions")
  func choices() throws {
    func degrees(_ options: String) throws -> MegatronDegrees { try read("--num-layers 2 --bf16 \(options)").degrees }
    #expect(try degrees("--use-distributed-optimizer").zero == .optimizer)
    #expect(try degrees("--use-megatron-fsdp").zero == .weights)
    #expect(try degrees("--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads").zero == .gradients)
    #expect(try degrees("--use-torch-fsdp2").zero == .weights)
    #expect(try degrees("--recompute-granularity selective").recompute == .selective)
    #expect(try degrees("--recompute-granularity selective --recompute-modules moe_act layernorm").recompute == .elementwise)
    let block = try degrees("--recompute-granularity full --recompute-method block --recompute-num-layers 1")
    #expect(block.recompute == .full && block.recomputedLayers == 1)
    #expect(try degrees("--recompute-granularity full --recompute-method uniform --recompute-num-layers 1").recomputedLayers == nil)
    #expect(try degrees("--tensor-model-parallel-size 2 --sequence-parallel").recompute == .gathered)
    #expect(try degrees("--sequence-parallel").isSequenceParallel == false)
    for (type, way) in [("p2p", ContextWay.ring), ("all_gather", .gather), ("a2a", .ulysses)] {
      #expect(try degrees("--context-parallel-size 2 --cp-comm-type \(type)").contextWay == way)
    }
    func software(_ options: String) throws -> Software { try read("--num-layers 2 \(options)").software }
    #expect(try software("--bf16").gradients == .accumulated && software("--bf16 --grad-reduce-in-bf16").gradients == .working)
    #expect(try software("--fp16 --accumulate-allreduce-grads-in-fp32").gradients == .accumulated)
    #expect(try software("--bf16 --cross-entropy-loss-fusion").crossEntropy == .fused && software("").crossEntropy == .fused)
    #expect(try software("--bf16 --transformer-impl local").attention == .unfused)
    #expect(try software("--bf16 --transformer-impl local --use-flash-attn").attention == .fused)
    #expect(try software("--bf16 --use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather").overlap == .weights)
  }

  private static let llama =
    "--num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32 --group-query-attention --num-query-groups 8 --seq-length 8192 "
    + "--max-position-embeddings 8192 --position-embedding-type rope --rotary-base 500000 --swiglu --normalization RMSNorm --disable-bias-linear "
    + "--untie-embeddings-and-output-weights --attention-dropout 0 --hidden-dropout 0 --vocab-size 128256"

  @Test("oracle: Llama, Mixtral and GPT-NeoX by their options have as many parameters as published")
  func models() throws {
    let llama = try #require(try read(Self.llama).graph)
    #expect(llama.parameterCount == (try Samples.model("llama-3-8b")).parameterCount)
    let mixtral = try #require(
      try read(
        Self.llama.replacing("128256", with: "32000").replacing("8192", with: "32768").replacing("500000", with: "1000000")
          + " --num-experts 8 --moe-router-topk 2"
      ).graph)
    #expect(mixtral.parameterCount == (try Samples.model("mixtral-8x7b")).parameterCount)
    // Rotary positions have no table: hidden × positions fewer than GPT with learned ones.
    let gpt = "--num-layers 2 --hidden-size 64 --num-attention-heads 4 --max-position-embeddings 32 --vocab-size 128"
    let (learned, rotary) = (try read(gpt).graph, try read(gpt + " --position-embedding-type rope").graph)
    #expect(try #require(learned).parameterCount - (try #require(rotary)).parameterCount == 64 * 32)
  }

  @Test(
    "A model that no importer builds is refused by what it has",
    arguments: [
      ("--multi-latent-attention", "multi-head latent attention"), ("--mtp-num-layers 1", "multi-token prediction"), ("--swiglu", "SwiGLU"),
      ("--normalization RMSNorm", "RMS norms"), ("--position-embedding-type yarn", "yarn"), ("--group-query-attention", "grouped queries"),
      ("--disable-bias-linear", "without biases"), ("--moe-layer-freq 2 --num-experts 4", "--moe-layer-freq 2"),
      ("--window-size 5,5", "within a window"),
    ])
  func unknownModels(options: String, words: String) throws {
    let launch = try read("--num-layers 2 --hidden-size 64 --num-attention-heads 4 --max-position-embeddings 32 --vocab-size 128 " + options)
    #expect(launch.graph == nil)
    #expect(try #require(launch.graphObstacle).contains(words))
  }
}
