// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Testing

extension MPIRuns {
  struct StrategyTests {
    /// Each case compares every operator's result, the loss and every gradient with one rank's, and the traffic with the program's count.
    @Test(
      "differential: any strategy, ZeRO stage and recomputation, on any mesh and pipeline, computes what one rank computes",
      arguments: ["gpt2", "llama", "bert", "vit", "gemma", "gpt_neox", "flamingo", "mixtral", "qwen2_moe", "resnet"],
      [(ranks: 1, seed: 3), (ranks: 2, seed: 7), (ranks: 3, seed: 11), (ranks: 4, seed: 17), (ranks: 6, seed: 23)])
    func randomStrategies(model: String, run: (ranks: Int, seed: Int)) throws {
      try expectNoDifference(ranks: run.ranks, ["random", model, "\(run.seed)", "4"])
    }

    @Test(
      "differential: any strategy on meshes of three axes computes what one rank computes",
      arguments: [
        ("gpt2", 8), ("llama", 8), ("llama", 12), ("bert", 8), ("vit", 8), ("gemma", 8), ("flamingo", 8), ("mixtral", 8), ("mixtral", 12),
        ("resnet", 8),
      ])
    func threeMeshAxes(model: String, ranks: Int) throws {
      try expectNoDifference(ranks: ranks, ["random", model, "29", "3", "3"])
    }

    /// Of models whose results hang on weights and inputs that differ more than the generator's: images that are all alike cancel in the loss.
    @Test(
      "differential: the same with a folder's weights and inputs, and with parameters frozen", arguments: ["learned", "frozen"],
      [(ranks: 1, seed: 3), (ranks: 2, seed: 7), (ranks: 3, seed: 11), (ranks: 4, seed: 17), (ranks: 6, seed: 23)])
    func randomStrategiesOfFolders(weights: String, run: (ranks: Int, seed: Int)) throws {
      try expectNoDifference(ranks: run.ranks, ["random-folder", Self.fixture("transformers/clip"), "\(run.seed)", "4", weights])
    }

    /// Ties across meshes too: gpt2, bert and gemma tie their heads to their embeddings.
    @Test(
      "differential: stages of several sizes and shapes compute what one rank computes, and send what their programs say",
      arguments: ["gpt2", "llama", "bert", "vit", "gemma", "flamingo", "mixtral", "resnet"],
      [(ranks: 2, seed: 3), (ranks: 3, seed: 7), (ranks: 4, seed: 11), (ranks: 6, seed: 23)])
    func subMeshes(model: String, run: (ranks: Int, seed: Int)) throws {
      try expectNoDifference(ranks: run.ranks, ["sub-meshes", model, "\(run.seed)", "4"])
    }

    @Test(
      "differential: ranks with unequal numbers of samples compute what one rank computes, and send what their programs say",
      arguments: ["gpt2", "llama", "bert", "vit", "gemma", "flamingo", "mixtral"],
      [(ranks: 2, seed: 3), (ranks: 3, seed: 7), (ranks: 4, seed: 11), (ranks: 6, seed: 23)])
    func unevenShares(model: String, run: (ranks: Int, seed: Int)) throws {
      try expectNoDifference(ranks: run.ranks, ["shares", model, "\(run.seed)", "4"])
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
        (8, ["data,sequence,megatron", "megatron,data,megatron,zero2", "data,data,sequence-parallel,zero3,full"]),
        (2, ["sequence-parallel,selective", "sequence-parallel,full", "pipeline,selective", "pipeline,full"]),
        (2, ["sequence-parallel,gathered", "sequence-parallel,selective+gathered", "sequence,gathered", "megatron,gathered"]),
        (4, ["data,sequence-parallel,gathered", "sequence-parallel,interleaved,selective+gathered", "sequence,megatron,gathered"]),
      ])
    func namedStrategies(model: String, run: (ranks: Int, strategies: [String])) throws {
      try expectNoDifference(ranks: run.ranks, ["oracle", Self.fixture("torch/" + model)] + run.strategies)
    }

    @Test(
      "oracle: five training steps, logits and gradients of every architecture are those of transformers",
      arguments: [
        "qwen2", "qwen3", "gemma", "phi3", "gpt_neox", "gpt_neox_sequential", "opt", "opt_norms_after", "clip", "mixtral", "qwen2_moe", "qwen3_moe",
      ],
      [(ranks: 1, strategies: ["replicate"]), (2, ["data", "megatron", "sequence-parallel", "pipeline"])])
    func architectures(model: String, run: (ranks: Int, strategies: [String])) throws {
      try expectNoDifference(ranks: run.ranks, ["oracle", Self.fixture("transformers/" + model)] + run.strategies)
    }

    @Test(
      "oracle: a sequence around rings of ranks, alone, with other splits and recomputed, gives what PyTorch computes", arguments: ["gpt2", "llama"],
      [
        (ranks: 2, strategies: ["ring,zigzag", "sequence,zigzag", "ring,zigzag,full", "megatron,zigzag"]),
        (4, ["ring,zigzag", "sequence,zigzag", "data,ring,zigzag", "ring,megatron,zigzag", "sequence,ring,zigzag", "ring,pipeline,zigzag"]),
        (ranks: 2, strategies: ["ring", "ring,selective", "ring,full", "ring,micro,zero3"]), (3, ["ring"]),
        (4, ["ring", "data,ring", "ring,megatron", "ring,ring", "sequence,ring", "ring,sequence", "ring,pipeline"]),
        (8, ["data,ring,megatron", "data,ring,megatron,zigzag", "ring,data,sequence,zigzag"]),
        (4, ["ring,interleaved", "ring,interleaved,zigzag", "ring,interleaved,zigzag,full", "sequence,interleaved,zigzag"]),
      ])
    func rings(model: String, run: (ranks: Int, strategies: [String])) throws {
      try expectNoDifference(ranks: run.ranks, ["oracle", Self.fixture("torch/" + model)] + run.strategies)
    }

    @Test(
      "differential: around rings of 2, 3, 4 and 6 ranks, causal or not, few key-value heads or many, all is as on one rank and as counted",
      arguments: ["gpt2", "llama", "bert", "gemma", "flamingo", "mixtral"], [2, 3, 4, 6])
    func ringsOfTinyModels(model: String, ranks: Int) throws {
      try expectNoDifference(ranks: ranks, ["ring", model, "5", "3"])
    }

    @Test(
      "oracle: experts over ranks, alone or as groups of data replicas, compute what transformers computes", arguments: ["mixtral", "qwen2_moe"],
      [
        (ranks: 2, strategies: ["experts", "experts,zero1"]), (4, ["data,experts", "experts,megatron", "sequence,experts"]),
        (8, ["data,experts,megatron"]),
      ])
    func expertParallel(model: String, run: (ranks: Int, strategies: [String])) throws {
      try expectNoDifference(ranks: run.ranks, ["oracle", Self.fixture("transformers/" + model)] + run.strategies)
    }

    /// Every token goes to expert 0, or to experts 0 and 1, which the first rank of the experts' axis holds.
    ///
    /// A row has 24 values and its number, 100 bytes. In each of 2 layers an all-to-all brings each rank's tokens to the experts and another one
    /// brings them back, and so do two for the gradients; recomputation does the first two once more. Where n ranks share out 32 tokens, each sends
    /// 32 / n rows for each route, and the holder of the experts sends all 32 back. With a slot for every position each rank would send 8 · 32 / n
    /// rows of 96 bytes every time.
    @Test(
      "oracle: where all tokens go to the same experts, all-to-alls send these tokens and no empty slot; all else is as on one rank",
      arguments: [
        (strategy: "experts", ranks: 2, recompute: "none", microBatches: 1), ("experts", 2, "full", 2), ("experts", 4, "none", 1),
        ("experts,megatron", 4, "none", 2), ("experts,megatron", 4, "full", 1),
      ], [1, 2])
    func skew(passes: (strategy: String, ranks: Int, recompute: String, microBatches: Int), topK: Int) throws {
      let probe = try ProbeRun(ranks: passes.ranks, ["skew", "\(topK)", passes.strategy, passes.recompute, "\(passes.microBatches)"])
      let groups = passes.strategy == "experts" ? passes.ranks : 2
      let (there, back) = (32 / groups * topK * 100, 32 * topK * 100)
      let exchanges = passes.recompute == "full" ? 3 : 2
      let calls = 2 * 2 * exchanges * passes.microBatches
      let expected = (0..<passes.ranks).map { rank in
        let holdsExperts = rank * groups / passes.ranks == 0
        return ["\(calls) \(2 * exchanges * (there + (holdsExperts ? back : 0)))"]
      }
      #expect(try probe.ranks == expected)
      #expect(probe.diagnostics == [])
    }

    @Test(
      "oracle: frozen parameters have no gradient, and change no other's", arguments: ["torch/gpt2", "transformers/clip", "transformers/qwen3"],
      [
        (ranks: 1, strategies: ["frozen,replicate", "frozen,full"]),
        (2, ["frozen,data", "frozen,megatron", "frozen,sequence-parallel", "frozen,pipeline", "frozen,data,zero3,full"]),
      ])
    func frozen(folder: String, run: (ranks: Int, strategies: [String])) throws {
      try expectNoDifference(ranks: run.ranks, ["oracle", Self.fixture(folder)] + run.strategies)
    }

    @Test("oracle: what an attention mask hides changes nothing", arguments: [(1, "heads"), (2, "heads"), (2, "ring"), (4, "ring")])
    func padding(ranks: Int, split: String) throws {
      #expect(try ProbeRun(ranks: ranks, ["padding", split]).ranks == Array(repeating: [], count: ranks))
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

    @Test("gradients of functions with kinks are compared at one point, and faults in them are found")
    func kinks() throws {
      let found = try ProbeRun(ranks: 2, ["kinks"]).ranks
      #expect(found == [["reduce-scatter 5: gradient of layer.0.bn1.bias"], []])
    }

    /// A probe that reports nothing on any rank.
    private func expectNoDifference(ranks: Int, _ arguments: [String]) throws {
      let probe = try ProbeRun(ranks: ranks, arguments)
      #expect(try probe.ranks == Array(repeating: [], count: ranks))
      #expect(probe.diagnostics == [])
    }

    static func fixture(_ name: String) -> String {
      URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fixtures/\(name)").standardized.path
    }
  }
}
