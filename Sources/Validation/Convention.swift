// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Strategies

/// How a block is made.
package enum ModelStyle: String, Hashable, Sendable, CaseIterable {
  /// GPT-2's: layer norms, learned positions, an MLP of two products with GELU between them.
  case gpt
  /// Llama's: RMS norms, rotary positions, a gated MLP of three products.
  case llama
}

/// What the source of a table says of all its runs, where no row repeats it: assumptions that a price is made under, each of which is printed.
package struct Convention: Hashable, Sendable {
  /// Of rows that do not tell it themselves (by `style`, `kv_heads`, or `params_B`).
  package var style: ModelStyle?
  /// Whether the language-model head is the embedding table; nil: it is in GPT, it is not in Llama.
  package var tiesHead: Bool?
  /// The probability of dropout behind attention, MLP and embedding; its masks are kept for backward.
  package var dropout = 0.0
  /// The vocabulary is padded to a multiple of this times the tensor-parallel degree.
  package var vocabularyMultiple = 1
  /// Whether it is padded where no tensor parallelism splits it, too.
  package var padsWholeVocabulary = true
  package var vocabulary: Int?
  package var recompute: Recompute?
  package var isSequenceParallel = false
  /// Whether what sequence parallelism gathers is gathered again in the backward pass.
  package var gathersAgain = false
  package var precision: String?
  package var software = Software()
  /// Of rows in fp16, in place of the software's.
  package var gradientsOfHalf: GradientStorage?
  /// Whether sums of gradients are hidden where each replica holds everything (ZeRO 0), else nothing.
  package var overlapsReplicas = false
  /// Whether stages hold layers by their products' sizes, the head's counted, as `RowModel.layersByCost` has it; else equally many.
  package var cutsByCost = false
  /// Models with fewer parameters have their head tied to the embedding, where `tiesHead` does not say.
  package var tiesHeadBelow: Double?

  package init() {}

  /// The vocabulary is padded to a multiple of this.
  func vocabularyMultiple(tensor: Int) -> Int { tensor == 1 && !padsWholeVocabulary ? 1 : vocabularyMultiple * tensor }

  /// What a price takes from the convention, and a row does not say; `software` with what depends on the row.
  func remarks(_ software: Software) -> [String] {
    let padding = "vocabulary padded to a multiple of \(vocabularyMultiple) x tp" + (padsWholeVocabulary ? "" : ", not at tp 1")
    return software.remarks
      + [
        dropout > 0 ? "dropout \(dropout)" : style == .gpt ? "no dropout" : nil, vocabularyMultiple > 1 ? padding : nil,
        cutsByCost ? "stages cut by cost" : nil,
      ].compactMap { $0 }
  }

  /// The convention of a row, by the name of its table, its own, or its cluster's; nil where none of them is known.
  package static func known(_ names: String?...) -> Convention? {
    for name in names.compactMap({ $0 }) {
      if let known = sources.first(where: { $0.prefixes.contains(where: name.hasPrefix) }) { return known.convention }
    }
    return nil
  }

  /// What the title and caveats of a table say of its models.
  package static func of(words: [String]) -> Convention {
    var convention = Convention()
    let text = words.joined(separator: " ").lowercased()
    if ["llama", "swiglu", "mistral", "qwen"].contains(where: text.contains) {
      convention.style = .llama
    } else if ["gpt", "megatron", "mpt"].contains(where: text.contains) {
      convention.style = .gpt
    }
    return convention
  }

  /// By the beginning of the name of a table, a row or a cluster.
  private static let sources: [(prefixes: [String], convention: Convention)] = [
    // Megatron-LM: GPT with its training default of dropout 0.1, whose masks are in the activation memory of Korthikanti et al.; the head is the
    // embedding table; the vocabulary is padded to a multiple of 128 on every rank (--make-vocab-size-divisible-by). Of these years, its attention is
    // two products and a fused softmax. Under fp16 gradients are added up in it, under bf16 in fp32.
    (["korthikanti", "korth_", "dgx_a100", "dgx2_v100"], megatron { _ in }),
    // Full recompute: the rates that SC'21 and the READMEs print count a second forward pass. The README's text on GPT-3 names no precision.
    (
      ["megatron", "sc21_", "readme_"],
      megatron {
        $0.recompute = .full
        $0.precision = "fp16-mixed"
      }
    ),
    // Megatron-DeepSpeed; the vocabulary is vTrain's default (the table's caveats). Steps without tensor parallelism take 4 ms for 1024 tokens of hidden size
    // 1024, and 8.5 ms of 2048, beside their layers, those with it under 1 and 2: 75 TFLOPS, as products have whose rows are no multiple of 16 bytes.
    (
      ["vtrain"],
      megatron {
        $0.vocabulary = 50257
        $0.padsWholeVocabulary = false
      }
    ),
    // benchmark/alpa/benchmark_one_case_gpt_bert.py: an untied head, no dropout.
    (
      ["alpa", "aws_p3"],
      convention {
        ($0.style, $0.tiesHead) = (.gpt, false)
        ($0.software.attention, $0.software.crossEntropy, $0.software.boundaries) = (.unfused, .unfused, .scattered)
      }
    ),
    // MPT: no dropout, the head is the embedding table; a fused cross-entropy; FSDP gathers weights and sums gradients behind the work.
    (["llm_foundry", "mpt_", "mosaic_"], convention { ($0.style, $0.software.overlap) = (.gpt, .weights) }),
    // nanotron: reduce-scatter mode of tensor parallelism is its default; the table's caveats say that the mode is not shown. It accumulates gradients
    // in fp32 beside those of the backward pass, and sums them behind it where the optimizer's state is not shared out. Its stages are cut by cost. Models as small as Llama 3.2's
    // 1B and 3B are tied, as those are.
    (
      ["ultrascale", "us_", "hf_h100"],
      convention {
        ($0.style, $0.isSequenceParallel, $0.tiesHeadBelow) = (.llama, true, 4e9)
        ($0.software.gradients, $0.software.crossEntropy, $0.overlapsReplicas, $0.cutsByCost) = (.both, .unfused, true, true)
      }
    ),
    (["torchtitan", "tt_", "meta_h100"], convention { $0.style = .llama }),
  ]

  private static func convention(_ change: (inout Convention) -> Void) -> Convention {
    var convention = Convention()
    change(&convention)
    return convention
  }

  private static func megatron(_ change: (inout Convention) -> Void) -> Convention {
    var convention = Convention()
    (convention.style, convention.tiesHead, convention.dropout, convention.vocabularyMultiple) = (.gpt, true, 0.1, 128)
    (convention.software.attention, convention.software.crossEntropy, convention.gathersAgain) = (.unfused, .unfused, true)
    (convention.gradientsOfHalf, convention.software.boundaries) = (.working, .scattered)
    change(&convention)
    return convention
  }
}

/// Words of tables for what has another name here. A word that is not listed is not guessed at: its rows are skipped.
enum TableWords {
  /// Number formats of training. `mixed` and `amp` keep fp32 master weights, as every 16-bit plan here does.
  static let precisions: [(words: [String], precision: Precision)] = [
    (["fp16", "fp16-mixed", "amp_fp16", "float16", "half"], .fp16),
    (["bf16", "bf16-mixed", "amp_bf16", "bfloat16"], .bf16),
    (["fp32", "float32", "32-true"], .fp32),
  ]

  static let recomputes: [(words: [String], recompute: Recompute)] = [
    (["none", "no", "off"], .none),
    (["selective"], .selective),
    (["full"], .full),
  ]

  static func precision(_ word: String) -> Precision? { precisions.first { $0.words.contains(word.lowercased()) }?.precision }
  static func recompute(_ word: String) -> Recompute? { recomputes.first { $0.words.contains(word.lowercased()) }?.recompute }
}
