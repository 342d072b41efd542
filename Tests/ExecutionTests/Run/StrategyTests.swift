// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Testing

extension MPIRuns {
  struct StrategyTests {
    /// Each case compares every operator's result, the loss and every gradient with one rank's, and the traffic with the program's count.
    @Test(
      "differential: any strategy, ZeRO stage and recomputation, on any mesh and pipeline, computes what one rank computes",
      arguments: ["gpt2", "llama", "bert", "vit"],
      [(ranks: 1, seed: 3), (ranks: 2, seed: 7), (ranks: 3, seed: 11), (ranks: 4, seed: 17), (ranks: 6, seed: 23)])
    func randomStrategies(model: String, run: (ranks: Int, seed: Int)) throws {
      let probe = try ProbeRun(ranks: run.ranks, ["random", model, "\(run.seed)", "4"])
      #expect(try probe.ranks == Array(repeating: [], count: run.ranks))
      #expect(probe.diagnostics == [])
    }

    @Test(
      "oracle: five training steps, logits and gradients are PyTorch's under the strategies that have names", arguments: ["gpt2", "llama"],
      [
        (ranks: 1, strategies: ["replicate"]), (2, ["data", "megatron", "sequence-parallel", "pipeline"]),
        (4, ["data,megatron", "sequence,megatron", "megatron,data", "pipeline"]),
        (2, ["data,zero1", "data,zero2", "data,zero3", "data,micro,zero1", "data,micro,zero2", "data,micro,zero3", "data,zero3,full"]),
        (4, ["data,megatron,zero1", "data,megatron,micro,zero2", "data,megatron,micro,zero3", "data,sequence,micro,zero3"]),
        (4, ["data,pipeline,zero1", "data,pipeline,zero2", "data,pipeline,zero3", "data,pipeline,zero3,full"]),
        (2, ["interleaved", "interleaved,selective", "interleaved,full"]),
        (4, ["data,interleaved,zero1", "data,interleaved,zero3,full", "megatron,interleaved", "sequence-parallel,interleaved,zero2"]),
        (2, ["sequence-parallel,selective", "sequence-parallel,full", "pipeline,selective", "pipeline,full"]),
      ])
    func namedStrategies(model: String, run: (ranks: Int, strategies: [String])) throws {
      let probe = try ProbeRun(ranks: run.ranks, ["oracle", model, Self.fixture(model)] + run.strategies)
      #expect(try probe.ranks == Array(repeating: [], count: run.ranks))
      #expect(probe.diagnostics == [])
    }

    @Test("oracle: what an attention mask hides changes nothing", arguments: [1, 2])
    func padding(ranks: Int) throws {
      #expect(try ProbeRun(ranks: ranks, ["padding"]).ranks == Array(repeating: [], count: ranks))
    }

    @Test("golden: verification finds injected faults and names the tensor, its layout and the rank")
    func faults() throws {
      let found = try ProbeRun(ranks: 2, ["faults"]).ranks
      #expect(
        found == [
          [
            "none: nothing, 83 tensors", "all-reduce 2: transformer.h.0.mlp.c_proj.bias [replicated] rank 0",
            "bias: transformer.h.1.mlp.c_fc.bias [split(ffn)] rank 1", "element: transformer.h.0.mlp.act [split(ffn)] rank 0",
            "ZeRO 1, reduce-scatter 3: gradient of transformer.h.0.attn.c_attn.q.bias [replicated] rank 0", "ZeRO 3: nothing, 83 tensors",
            "ZeRO 3, reduce-scatter 0: gradient of transformer.ln_f.weight [replicated] rank 0",
          ], [],
        ])
    }

    static func fixture(_ name: String) -> String {
      URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fixtures/torch/\(name)").standardized.path
    }
  }
}
