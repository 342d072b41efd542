// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Launches

/// Launches that Megatron-LM would refuse, or that hardly mean what they say.
@Suite struct MegatronChecksTests {
  /// Nothing is wrong with it.
  private static let whole =
    "torchrun --nproc_per_node 8 --nnodes 2 pretrain_gpt.py --num-layers 8 --hidden-size 64 --num-attention-heads 8 --max-position-embeddings 64 "
    + "--seq-length 64 --vocab-size 1024 --micro-batch-size 1 --global-batch-size 16 --bf16"

  struct Case: Sendable, CustomTestStringConvertible {
    let options: String
    let place: String
    let words: String
    var severity = Finding.Severity.illegal
    var testDescription: String { options }

    init(_ options: String, _ place: String, _ words: String, _ severity: Finding.Severity = .illegal) {
      (self.options, self.place, self.words, self.severity) = (options, place, words, severity)
    }
  }

  @Test("A launch without a mistake has none found")
  func legal() throws {
    let launch = try MegatronLaunch.reading(Self.whole, file: "launch")
    #expect(launch.findings.isEmpty, "\(launch.findings)")
    #expect(launch.graph != nil)
  }

  static let cases = [
    Case("--tensor-model-parallel-size 3", "--tensor-model-parallel-size", "16 devices are no multiple of 3"),
    Case("--tensor-model-parallel-size 16", "--num-attention-heads", "8 heads are no multiple of --tensor-model-parallel-size 16"),
    Case("--tensor-model-parallel-size 1073741824", "--tensor-model-parallel-size", "expected a whole number of at least 1 and at most"),
    Case("--tensor-model-parallel-size two", "--tensor-model-parallel-size", "found two"),
    Case("--tensor-model-parallel-size $TP", "--tensor-model-parallel-size", "which the script does not set; give it with --set TP=…", .open),
    Case("--group-query-attention --num-query-groups 3", "--num-query-groups", "3 groups do not divide 8 heads"),
    Case(
      "--tensor-model-parallel-size 4 --group-query-attention --num-query-groups 6 --num-attention-heads 12 --kv-channels 8", "--num-query-groups",
      "6 groups are neither"),
    Case("--pipeline-model-parallel-size 3", "--tensor-model-parallel-size", "16 devices are no multiple of 3"),
    Case("--num-layers 9 --pipeline-model-parallel-size 2", "--num-layers", "9 layers are no multiple of --pipeline-model-parallel-size 2"),
    Case("--num-attention-heads 7", "--hidden-size", "64 is no multiple of 7 heads"),
    Case(
      "--decoder-first-pipeline-num-layers 3 --pipeline-model-parallel-size 4", "--decoder-first-pipeline-num-layers",
      "5 layers are left for 3 stages"),
    Case(
      "--decoder-first-pipeline-num-layers 2 --pipeline-model-parallel-size 4 --account-for-loss-in-pipeline-split",
      "--decoder-first-pipeline-num-layers", "does not go with --account-for-loss-in-pipeline-split"),
    Case(
      "--pipeline-model-parallel-size 2 --num-layers-per-virtual-pipeline-stage 3", "--num-layers-per-virtual-pipeline-stage",
      "3 layers do not divide the 4 of a stage"),
    Case(
      "--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 3", "--num-virtual-stages-per-pipeline-rank",
      "3 chunks do not divide the 4 layers"),
    Case("--num-virtual-stages-per-pipeline-rank 2", "--num-virtual-stages-per-pipeline-rank", "several chunks need"),
    Case(
      "--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2 --num-layers-per-virtual-pipeline-stage 2",
      "--num-virtual-stages-per-pipeline-rank", "does not go with"),
    Case(
      "--pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2 --no-overlap-p2p-communication", "--no-overlap-p2p-communication",
      "several chunks on each of two stages"),
    Case(
      "--pipeline-model-parallel-size 4 --num-virtual-stages-per-pipeline-rank 2 --global-batch-size 24", "--num-virtual-stages-per-pipeline-rank",
      "6 micro-batches are no multiple of the 4 stages"),
    Case("--pipeline-model-parallel-layout 'Et*7L'", "--pipeline-model-parallel-layout", "has 7 layers"),
    Case(
      "--pipeline-model-parallel-size 2 --pipeline-model-parallel-layout 'Et|t|t*6L'", "--pipeline-model-parallel-layout", "has 3 parts, which"),
    Case("--pipeline-model-parallel-layout 'Etq'", "--pipeline-model-parallel-layout", "the letter q"),
    Case("--global-batch-size 24", "--global-batch-size", "24 sequences are no multiple of 16"),
    Case("--context-parallel-size 2 --seq-length 62", "--seq-length", "62 is no multiple of 4"),
    Case("--tensor-model-parallel-size 4 --sequence-parallel --seq-length 62", "--seq-length", "over which --sequence-parallel shares it out"),
    Case("--seq-length 128", "--max-position-embeddings", "64 positions are less than --seq-length 128"),
    Case("--fp16", "--fp16", "does not go with --bf16"),
    Case("--overlap-param-gather --overlap-grad-reduce", "--overlap-param-gather", "needs --use-distributed-optimizer"),
    Case("--overlap-param-gather --use-distributed-optimizer", "--overlap-param-gather", "needs --overlap-grad-reduce"),
    Case("--use-megatron-fsdp", "--use-megatron-fsdp", "needs --ckpt-format fsdp_dtensor"),
    Case("--use-megatron-fsdp --ckpt-format torch", "--ckpt-format", "needs fsdp_dtensor, not torch"),
    Case("--use-torch-fsdp2", "--use-torch-fsdp2", "needs --untie-embeddings-and-output-weights"),
    Case("--use-torch-fsdp2 --pipeline-model-parallel-size 2", "--use-torch-fsdp2", "pipeline parallelism"),
    Case("--use-torch-fsdp2 --use-distributed-optimizer", "--use-torch-fsdp2", "--use-distributed-optimizer"),
    Case("--recompute-granularity full", "--recompute-granularity", "full needs --recompute-method"),
    Case("--recompute-granularity full --recompute-method block", "--recompute-granularity", "full needs --recompute-num-layers"),
    Case("--recompute-granularity selective --recompute-method block", "--recompute-method", "does not go with selective"),
    Case("--recompute-activations --recompute-num-layers 1", "--recompute-num-layers", "does not go with selective"),
    Case("--recompute-granularity some", "--recompute-granularity", "found some, expected full, selective"),
    Case("--recompute-granularity selective --recompute-modules moe_act", "--recompute-modules", "needs --moe-grouped-gemm"),
    Case("--distribute-saved-activations", "--distribute-saved-activations", "needs tensor parallelism"),
    Case("--tp-comm-overlap", "--tp-comm-overlap", "needs --sequence-parallel"),
    Case("--expert-model-parallel-size 2", "--expert-model-parallel-size", "needs --num-experts"),
    Case("--expert-model-parallel-size 3 --num-experts 8", "--expert-model-parallel-size", "3 does not divide 8 experts"),
    Case("--num-experts 4 --moe-router-topk 5", "--moe-router-topk", "are more than --num-experts 4"),
    Case("--num-experts 4 --tensor-model-parallel-size 2", "--num-experts", "needs --sequence-parallel"),
    Case("--moe-ffn-hidden-size 64", "--moe-ffn-hidden-size", "needs --num-experts"),
    Case("--cross-entropy-loss-fusion --cross-entropy-fusion-impl te", "--cross-entropy-fusion-impl", "refused as unstable"),
    Case("--cp-comm-type around --context-parallel-size 2", "--cp-comm-type", "found around"),
    Case("--optimizer adamw", "--optimizer", "found adamw"),
    Case("--normalization rmsnorm", "--normalization", "did you mean RMSNorm?"),
    Case("--attention-dropout 1.5", "--attention-dropout", "expected a probability"),
    Case("--tensor-model-paralel-size 2", "--tensor-model-paralel-size", "did you mean --tensor-model-parallel-size?"),
    Case("--batch-size 4", "--batch-size", "say --micro-batch-size"),
    Case("--bf16 yes", "--bf16", "takes no value"),
    Case("--num-layers", "--num-layers", "needs a value"),
    Case("--num-layers 8 9", "--num-layers", "takes one value"),
    Case("--sequence-parallel", "--sequence-parallel", "does nothing without tensor parallelism", .doubtful),
    Case("--micro-batch-size 2 --micro-batch-size 1", "--micro-batch-size", "is given twice, 2 and 1", .doubtful),
    Case("--num-query-groups 2", "--num-query-groups", "counts with --group-query-attention alone", .doubtful),
    Case("--recompute-method block", "--recompute-method", "nothing is computed again", .doubtful),
    Case("--recompute-granularity selective", "--recompute-granularity", "fused attention keeps no scores", .doubtful),
    Case("--recompute-activations", "--recompute-activations", "fused attention keeps no scores", .doubtful),
    Case("--pipeline-model-parallel-size 8 --global-batch-size 4", "--global-batch-size", "fewer than the 8 stages", .doubtful),
    Case("--data-parallel-sharding-strategy optim", "--data-parallel-sharding-strategy", "--use-megatron-fsdp alone", .doubtful),
    Case("--use-distributed-optimizer --overlap-grad-reduce", "--overlap-grad-reduce", "without --overlap-param-gather", .doubtful),
    Case(
      "--expert-model-parallel-size 2 --num-experts 4", "--moe-token-dispatcher-type", "is left out, which is allgather: every device", .doubtful),
    Case(
      "--expert-model-parallel-size 2 --num-experts 4 --moe-token-dispatcher-type allgather", "--moe-token-dispatcher-type",
      "allgather: every device", .doubtful),
    Case(
      "--expert-model-parallel-size 2 --num-experts 4 --moe-token-dispatcher-type flex", "--moe-token-dispatcher-type", "priced as alltoall",
      .doubtful),
    Case(
      "--expert-model-parallel-size 2 --num-experts 4 --moe-token-dispatcher-type all2all", "--moe-token-dispatcher-type", "did you mean alltoall?"),
    Case("--fp8-format hybrid", "--fp8-format", "not priced", .ignored),
    Case("--optimizer muon", "--optimizer", "taken for Adam's", .ignored),
    Case(
      "--num-experts 4 --expert-tensor-parallel-size 2 --untie-embeddings-and-output-weights", "--expert-tensor-parallel-size",
      "as everything else is", .ignored),
  ]

  @Test("What is wrong is found, with its option", arguments: cases)
  func found(item: Case) throws {
    let launch = try MegatronLaunch.reading("\(Self.whole) \(item.options)", file: "launch")
    #expect(
      launch.findings.contains { $0.severity == item.severity && $0.place == item.place && $0.text.contains(item.words) },
      "\(item.options): \(launch.findings)")
  }

  @Test("A value that is none is said once")
  func once() throws {
    let launch = try MegatronLaunch.reading(Self.whole.replacing("--hidden-size 64", with: "--hidden-size 4k"), file: "launch")
    #expect(launch.findings.filter { $0.place == "--hidden-size" }.count == 1, "\(launch.findings)")
  }

  @Test("Tokens that are sent to their experts alone are priced as that")
  func dispatcher() throws {
    let name = "--moe-token-dispatcher-type"
    for options in ["--expert-model-parallel-size 2 --num-experts 4 \(name) alltoall", "--num-experts 4", "--num-experts 4 \(name) allgather"] {
      let launch = try MegatronLaunch.reading("\(Self.whole) \(options)", file: "launch")
      #expect(!launch.findings.contains { $0.place == name }, "\(launch.findings)")
    }
    #expect(try MegatronLaunch.reading("--expert-model-parallel-size 2 --num-experts 4", file: "launch").findings.isEmpty)
  }

  @Test("What a whole command leaves out is missing, and of bare options is not")
  func required() throws {
    for name in ["--num-layers", "--hidden-size", "--num-attention-heads", "--max-position-embeddings", "--micro-batch-size"] {
      let words = Self.whole.split(separator: " ").map(String.init)
      let place = try #require(words.firstIndex(of: name))
      let rest = (words[..<place] + words[(place + 2)...]).joined(separator: " ")
      let launch = try MegatronLaunch.reading(rest, file: "launch")
      #expect(
        launch.findings.contains { $0.severity == .illegal && $0.place == name && $0.text.contains("is missing") }, "\(name): \(launch.findings)")
    }
    let bare = try MegatronLaunch.reading("--num-layers 8 --tensor-model-parallel-size 2", file: "launch")
    #expect(bare.findings.isEmpty, "\(bare.findings)")
  }

  @Test("The environment that kernels' order depends on")
  func environment() throws {
    func findings(_ setting: String, _ options: String) throws -> [Finding] {
      try MegatronLaunch.reading("\(setting)\n\(Self.whole) \(options)", file: "launch").findings.filter { $0.place == "CUDA_DEVICE_MAX_CONNECTIONS" }
    }
    #expect(try findings("export CUDA_DEVICE_MAX_CONNECTIONS=1", "--tensor-model-parallel-size 2").isEmpty)
    #expect(try findings("export CUDA_DEVICE_MAX_CONNECTIONS=8", "--tensor-model-parallel-size 2").map(\.severity) == [.illegal])
    for script in ["#!/bin/bash", "N=1", "cd /megatron"] {
      #expect(try findings(script, "--tensor-model-parallel-size 2").map(\.severity) == [.doubtful], "\(script)")
      #expect(try findings(script, "--context-parallel-size 2").map(\.text).allSatisfy { $0.contains("not set in the script") }, "\(script)")
      #expect(try findings(script, "--pipeline-model-parallel-size 2").isEmpty, "\(script)")
    }
    let given = try MegatronLaunch.reading("TP=1\n\(Self.whole) --tensor-model-parallel-size $TP", file: "launch", values: ["TP": "2"])
    #expect(given.findings.map(\.place) == ["CUDA_DEVICE_MAX_CONNECTIONS"])
    // What is no script, or takes more from elsewhere, does not show its environment.
    for script in ["", "# a launch", "#!/bin/bash\nsource setup.sh", "#!/bin/bash\nmpirun -x CUDA_DEVICE_MAX_CONNECTIONS hostname"] {
      #expect(try findings(script, "--tensor-model-parallel-size 2").isEmpty, "\(script)")
    }
    #expect(try findings("export CUDA_DEVICE_MAX_CONNECTIONS=1", "--use-megatron-fsdp --ckpt-format fsdp_dtensor").count == 1)
  }
}
