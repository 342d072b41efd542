// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Planner
import TestSupport
import Testing

@testable import Launches
@testable import tpplan

/// Scripts as people have them: with arguments, options inside quotes, files beside them, and programs of their own.
@Suite struct MegatronScriptTests {
  private func read(_ source: String, _ values: [String: String] = [:]) throws -> Launch {
    try MegatronLaunch.reading(source, file: "script", values: values)
  }

  private func has(_ launch: Launch, _ severity: Finding.Severity, _ place: String, _ words: String) -> Bool {
    LaunchFixtures.has(launch.findings, severity, place, words)
  }

  private static let model =
    "--num-layers 8 --hidden-size 256 --num-attention-heads 8 --max-position-embeddings 128 --seq-length 128 --vocab-size 1000"

  private static let open = """
    #!/bin/bash
    source conf/arguments.sh
    TP=$1
    PP=$(cat stages)
    if [ -z "$MICRO" ]; then
      MICRO=2
    fi
    OPTIONS="\(model) \\
      --tensor-model-parallel-size $TP \\
      --pipeline-model-parallel-size ${PP} \\
      --micro-batch-size $MICRO --global-batch-size 64 --bf16 ${EXTRA}"
    torchrun --nproc_per_node 8 pretrain_gpt.py $OPTIONS ${VP:+--num-virtual-stages-per-pipeline-rank $VP} "$@"
    """

  @Test("What the caller gives is named with the way to give it, and nothing is priced without it")
  func caller() throws {
    let launch = try read(Self.open)
    #expect(launch.openVariables == ["1", "PP"] && !launch.findings.contains { $0.severity == .illegal }, "\(launch.findings)")
    #expect(has(launch, .open, "--tensor-model-parallel-size (line 9)", "is $1, which the script does not set; give it with --set 1=…"))
    #expect(has(launch, .open, "--pipeline-model-parallel-size (line 10)", "only running the script tells; give it with --set PP=…"))
    #expect(has(launch, .ignored, "line 2", "conf/arguments.sh is not read"))
    #expect(has(launch, .ignored, "line 11", "${EXTRA}, which the script does not set, may hold further options (--set EXTRA="))
    var report = LintReport(launch, hardware: try Samples.hardware("dgx-a100"), file: "script")
    report.leaveOpen(try #require(report.open))
    #expect(report.lines(.plain).contains { $0.hasSuffix("none: the script leaves open what it starts; say --set 1=… --set PP=…") })

    let given = try read(Self.open, ["1": "4", "PP": "2", "EXTRA": "--sequence-parallel", "VP": "2"])
    #expect(given.degrees.tensor == 4 && given.degrees.pipeline == 2 && given.degrees.chunks == 2 && given.degrees.isSequenceParallel)
    #expect(given.degrees.microBatchSize == 2 && given.findings.isEmpty, "\(given.findings)")
    #expect(try read(Self.open, ["TP": "2", "PP": "1", "MICRO": "8"]).degrees.microBatchSize == 8)
  }

  @Test("A number of devices that the script leaves to its caller is assumed, and said with what gives it")
  func openDevices() throws {
    func assumed(_ lines: String, _ values: [String: String] = [:], devices: Int? = nil) throws -> (devices: Int, words: String?) {
      let launch = try read("\(lines) pretrain_gpt.py \(Self.model) --micro-batch-size 1 --global-batch-size 64 --bf16", values)
      let job = try LaunchJob(launch, graph: try #require(launch.graph), on: try Samples.hardware("dgx-a100"), devices: devices)
      return (job.request.cluster.deviceCount, job.assumptions.first { $0.contains("device") })
    }
    let words = "which the script does not set (--devices, or --set"
    for (lines, value, text) in [
      ("torchrun --nproc_per_node 8 --nnodes $SLURM_NNODES", "SLURM_NNODES", "--nnodes is $SLURM_NNODES, \(words) SLURM_NNODES=…)"),
      ("N=${SLURM_NNODES}\ntorchrun --nproc_per_node 8 --nnodes $N", "SLURM_NNODES", "--nnodes is ${SLURM_NNODES}, \(words) SLURM_NNODES=…)"),
      ("NNODES=$1\ntorchrun --nproc_per_node=8 --nnodes=$NNODES", "NNODES", "--nnodes is $1, \(words) 1=…)"),
      ("N=$(wc -l hosts)\ntorchrun --nproc_per_node 8 --nnodes $N", "N", "--nnodes is $N, which only running the script tells"),
      ("G=8\ntorchrun --nproc_per_node $GPUS --nnodes 2", "GPUS", "--nproc_per_node is $GPUS, \(words) GPUS=…)"),
    ] {
      let open = try assumed(lines)
      #expect(open.devices == 8 && open.words?.hasPrefix("8 devices: a node of dgx-a100, as \(text)") ?? false, "\(open)")
      let given = try assumed(lines, [value: value == "GPUS" ? "8" : "2"])
      #expect(given.devices == 16 && given.words == nil, "\(given)")
      #expect(try assumed(lines, devices: 32) == (32, nil))
    }
    #expect(try assumed("torchrun --nproc_per_node 8 --nnodes 1:4").words?.contains("--nnodes is 1:4 (--devices)") ?? false)
    #expect(try assumed("torchrun --nproc_per_node 8 --nnodes ${N:-2}") == (16, nil))
    #expect(try assumed("#SBATCH --nodes=2\ntorchrun --nproc_per_node 8 --nnodes $SLURM_NNODES") == (16, nil))
    #expect(try assumed("torchrun --nproc_per_node 8") == (8, nil))
  }

  @Test("The shipped program takes variables, and asks for them")
  func command() throws {
    let folder = try TemporaryFolder()
    let script = folder.file("open.sh")
    try Data(Self.open.utf8).write(to: URL(filePath: script))
    let asks = try CommandLineRun(["lint", script, "hardware/dgx-a100.json", "--time-limit", "1s"])
    #expect(asks.status == 64 && asks.output.contains("--set 1=… --set PP=…"), "\(asks.output)")
    let given = try CommandLineRun(["lint", script, "hardware/dgx-a100.json", "--time-limit", "1s", "--set", "TP=2", "--set", "PP=2"])
    #expect(given.status == 0 && given.output.contains("tensor 2, pipeline 2, data 2"), "\(given.output)")
    for (set, status) in [("TP", 64), ("=2", 64), ("PPP=2", 64)] {
      #expect(try CommandLineRun(["lint", script, "hardware/dgx-a100.json", "--set", set]).status == Int32(status))
    }
    let other = try CommandLineRun(["lint", "Tests/Fixtures/launches/deepspeed-zero3.json", "hardware/dgx-a100.json", "--set", "TP=2"])
    #expect(other.status == 64 && other.output.contains("variables of shell scripts"), "\(other.output)")
  }

  @Test("Commands inside quotes and variables are read with their lines, up to their ends")
  func nested() throws {
    let script = """
      run="python -u pretrain_gpt.py \(Self.model) \\
        --tensor-model-parallel-size 2 \\
        --micro-batch-size 1 --global-batch-size 8 --bf16; echo --done 3"
      srun -N 1 --ntasks-per-node=4 bash -c "cd /work && ${run}"
      """
    let launch = try read(script)
    #expect(launch.degrees.tensor == 2 && launch.devices == 4, "\(launch.findings)")
    #expect(launch.findings.map(\.place) == ["CUDA_DEVICE_MAX_CONNECTIONS"], "\(launch.findings)")
    let apostrophes = try read("bash -c 'torchrun --nproc_per_node 2 pretrain_gpt.py \(Self.model) \\\n --micro-batch-size 1 \\\n --bf16 --wrong 1'")
    #expect(apostrophes.devices == 2 && has(apostrophes, .illegal, "--wrong (line 3)", "is no option"), "\(apostrophes.findings)")
  }

  @Test("Programs that train nothing are refused, others may have options of their own")
  func programs() throws {
    for program in ["tools/run_text_generation_server.py", "convert_model.py", "-m megatron.inference.gpt_static_inference"] {
      #expect { try read("cd /work\npython \(program) \(Self.model) --bf16") } throws: {
        "\($0)".hasPrefix("script: line 2: starts ") && "\($0)".contains("trains nothing")
      }
    }
    let own = try read("torchrun train.py \(Self.model) --bf16 --my-option 3")
    #expect(has(own, .doubtful, "--my-option", "it may be one of train.py's own"), "\(own.findings)")
    #expect(has(own, .ignored, "train.py", "none of Megatron-LM's own programs"))
    for program in ["pretrain_bert.py", "pretrain_t5.py", "pretrain_vision_classify.py"] {
      let launch = try read("torchrun \(program) \(Self.model) --micro-batch-size 1 --bf16")
      #expect(launch.graph == nil && launch.graphObstacle?.hasPrefix("\(program) trains ") ?? false)
    }
  }

  @Test("Options of earlier versions, and the negations of newer ones")
  func versions() throws {
    let launch = try read("\(Self.model) --bf16 --DDP-impl local --activations-checkpoint-method uniform --no-rl-use-sequence-packing")
    #expect(has(launch, .illegal, "--DDP-impl", "was an option of earlier versions"))
    #expect(has(launch, .illegal, "--activations-checkpoint-method", "say --recompute-granularity full"))
    #expect(!launch.findings.contains { $0.place.hasPrefix("--no-rl") }, "\(launch.findings)")
  }

  @Test("Options as a mapping in YAML")
  func yaml() throws {
    let launch = try read(
      """
      ENV_VARS:
        CUDA_DEVICE_MAX_CONNECTIONS: 8
      MODEL_ARGS:
        --num-layers: 8
        --hidden-size: 256 # features
        --num-attention-heads: 8
        --max-position-embeddings: "128"
        --seq-length: 128
        --vocab-size: 1000
        --micro-batch-size: 1
        --tensor-model-parallel-size: 2
        --sequence-parallel: true
        --fp16: false
        --bf16: true
        --recompute-modules: [core_attn, mlp]
        --recompute-granularity: selective
        --data-path: ${DATA_PATH}/text
      TEST_TYPE: regular
      """)
    #expect(launch.degrees.tensor == 2 && launch.degrees.isSequenceParallel && launch.precision == .bf16 && launch.graph != nil)
    #expect(has(launch, .illegal, "CUDA_DEVICE_MAX_CONNECTIONS", "is 8"))
    #expect(has(launch, .ignored, "--recompute-modules (line 15)", "core_attn mlp"), "\(launch.findings)")
    #expect(launch.findings.count { $0.severity == .illegal } == 1)
  }

  @Test("Tokenizers whose vocabulary is known by their name, and positions that are scaled")
  func vocabularies() throws {
    let llama =
      Self.model.replacing(" --vocab-size 1000", with: "")
      + " --bf16 --swiglu --normalization RMSNorm --position-embedding-type rope --disable-bias-linear --make-vocab-size-divisible-by 1 --use-rope-scaling"
    let launch = try read("\(llama) --tokenizer-type HuggingFaceTokenizer --tokenizer-model meta-llama/Llama-3.1-8B")
    #expect(launch.graph?.axes.first { $0.name == "vocab" }?.extent == 128256)
    #expect(has(launch, .ignored, "--vocab-size", "Llama 3's tokenizer"))
    #expect(
      try read("\(llama) --tokenizer-type HuggingFaceTokenizer --tokenizer-model $MODEL").graphObstacle?.contains("--vocab-size is missing") ?? false)
  }
}
