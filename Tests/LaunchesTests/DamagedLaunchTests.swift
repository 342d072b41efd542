// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import TestSupport
import Testing

@testable import Launches

/// Launches that were cut off, or in which characters or lines were changed or lost, are read or refused with a message that says where.
@Suite struct DamagedLaunchTests {
  /// Of each launch.
  private static let seeds = 0..<40

  private static let names = [
    "deepspeed-gpt2-offload.json", "deepspeed-gpt2-zero2.json", "deepspeed-zero3.json", "transformers-zero3.json", "torchtitan-llama3_70b.toml",
    "torchtitan-llama3_70b-2024.toml", "tp-plan-mixtral.json", "tp-plan-gpt_neox.json", "script.sh", "options.yaml", "plan.py",
  ]

  private func text(_ name: String) throws -> String {
    switch name {
    case "script.sh": return Samples.gpt3
    case "options.yaml":
      return """
        MODEL_ARGS:
          --num-layers: 4
          --hidden-size: 64
          --bf16: true
          --cp-comm-type: [p2p, a2a]
          --lr: 1e-4 # rate
        """
    case "plan.py":
      return """
        class C:
            base_model_tp_plan = {
                "layers.*.q_proj": "colwise",  # heads
                'layers.*.o_proj': 'rowwise',
            }
        """
    default: return try LaunchFixtures.text(name)
    }
  }

  private func damaged(_ text: String, _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = Array(text.utf8)
    func lines() -> [ArraySlice<UInt8>] { bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) }
    for _ in 0..<random.int(1...3) where !bytes.isEmpty {
      let place = random.int(0...bytes.count - 1)
      switch random.int(0...4) {
      case 0: bytes.removeSubrange(place...)
      case 1: bytes[place] = UInt8(truncatingIfNeeded: random.int(0...255))
      case 2: bytes[place] = random.pick(Array("\"'{}[]()$\\,:=#- \n0".utf8))
      case 3: bytes.removeSubrange(place..<min(bytes.count, place + random.int(1...20)))
      default:
        var kept = lines()
        kept.remove(at: random.int(0...kept.count - 1))
        bytes = Array(kept.joined(separator: [UInt8(ascii: "\n")]))
      }
    }
    return bytes
  }

  @Test("mutation: damaged launches of all formats", arguments: names)
  func damaged(name: String) throws {
    let text = try text(name)
    let format = try #require(LaunchFormat(recognising: text))
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4)
    var (readings, refusals) = (0, 0)
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let bytes = damaged(text, &random)
      let launch: Launch
      do {
        launch = try format.read(bytes, file: name, model: graph)
      } catch {
        refusals += 1
        let message = "\(error)"
        // The file, then a line, a place or what the whole file lacks.
        #expect(message.hasPrefix(name) && message.count > name.count + 10, "seed \(seed): \(message)")
        #expect(error is LaunchError || error is DocumentError || error is ModelError, "seed \(seed): \(error)")
        continue
      }
      readings += 1
      #expect(launch.findings.allSatisfy { !$0.place.isEmpty && !$0.text.isEmpty }, "seed \(seed)")
      // What is found of a script's option is found on its line.
      let lines = String(decoding: bytes, as: UTF8.self).split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
      for finding in launch.findings {
        guard let place = finding.place.wholeMatch(of: #/(--[^ ]+) \(line ([0-9]+)\)/#), let line = Int(place.2) else { continue }
        #expect(lines.indices.contains(line - 1), "seed \(seed): \(finding)")
      }
    }
    #expect(readings + refusals == Self.seeds.count && readings > 0)
  }

  @Test(
    "Numbers beyond counting are refused",
    arguments: [
      (
        "a.sh",
        "--nproc_per_node 9223372036854775806 --pipeline-model-parallel-size 2 --num-virtual-stages-per-pipeline-rank 2 --micro-batch-size 1000000000"
      ),
      (
        "b.sh",
        "--nproc_per_node 8 --pipeline-model-parallel-size 1048576 --expert-model-parallel-size 1048576 --expert-tensor-parallel-size 1099511627776 "
          + "--num-experts 8 --micro-batch-size 1"
      ),
      (
        "c.sh",
        "--nproc_per_node 8 --num-layers 16384 --pipeline-model-parallel-size 1048576 --num-virtual-stages-per-pipeline-rank 16384 "
          + "--decoder-first-pipeline-num-layers 16384 --micro-batch-size 1"
      ),
      (
        "a.toml",
        "[training]\nlocal_batch_size = 1\n[parallelism]\ndata_parallel_shard_degree = 1048576\ndata_parallel_replicate_degree = 1048576\n"
          + "tensor_parallel_degree = 1048576\npipeline_parallel_degree = 1048576"
      ),
      (
        "b.toml",
        "[training]\nlocal_batch_size = 1073741824\nglobal_batch_size = 1024\n[parallelism]\ndata_parallel_shard_degree = 1048576\n"
          + "data_parallel_replicate_degree = 1048576"
      ),
      (
        "a.json",
        #"{"train_batch_size": 1099511627776, "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "#
          + #""tensor_parallel": {"autotp_size": 1048576}, "pipeline": {"stages": 1048576}}"#
      ),
      ("b.json", #"{"train_micro_batch_size_per_gpu": 1073741824, "gradient_accumulation_steps": 1073741824}"#),
      ("c.json", #"{"train_batch_size": 8, "tensor_parallel": {"tp": {"tp_size": 9223372036854775807}}}"#),
    ])
  func giants(name: String, text: String) throws {
    let text = name.hasSuffix(".sh") ? Self.model + " " + text : text
    let format = try #require(LaunchFormat(recognising: text))
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4)
    let launch = try format.read(Array(text.utf8), file: name, model: graph)
    let hardware = try Samples.hardware("dgx-a100")
    if launch.findings.contains(where: { $0.place == "tensor_parallel.tp.tp_size" }) { return }
    #expect(throws: (any Error).self) { _ = try LaunchJob(launch, graph: graph, on: hardware).planned() }
  }

  private static let model =
    "--global-batch-size 8 --num-layers 4 --hidden-size 64 --num-attention-heads 4 --seq-length 64 --max-position-embeddings 64 --vocab-size 96"
}
