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
  package var vocabulary: Int?
  package var recompute: Recompute?
  package var isSequenceParallel = false
  package var precision: String?

  package init() {}

  /// The convention of a table, by its name; of a table that is not known, what its title and caveats say of the models.
  package static func of(name: String, words: [String]) -> Convention {
    if let known = table.first(where: { name.hasPrefix($0.prefix) }) { return known.convention }
    var convention = Convention()
    let text = words.joined(separator: " ").lowercased()
    if ["llama", "swiglu", "mistral", "qwen"].contains(where: text.contains) {
      convention.style = .llama
    } else if ["gpt", "megatron", "mpt"].contains(where: text.contains) {
      convention.style = .gpt
    }
    return convention
  }

  /// By the beginning of a table's name.
  private static let table: [(prefix: String, convention: Convention)] = [
    // Megatron-LM: GPT with its training default of dropout 0.1, whose masks are in the activation memory of Korthikanti et al.; the head is the
    // embedding table; the vocabulary is padded to a multiple of 128 on every rank (--make-vocab-size-divisible-by).
    ("korthikanti", megatron { _ in }),
    // Full recompute: the rates that SC'21 and the READMEs print count a second forward pass. The README's text on GPT-3 names no precision.
    (
      "megatron",
      megatron {
        $0.recompute = .full
        $0.precision = "fp16-mixed"
      }
    ),
    // Megatron-DeepSpeed; the vocabulary is vTrain's default (the table's caveats).
    ("vtrain", megatron { $0.vocabulary = 50257 }),
    // benchmark/alpa/benchmark_one_case_gpt_bert.py: an untied head, no dropout.
    ("alpa", convention { ($0.style, $0.tiesHead) = (.gpt, false) }),
    // MPT: no dropout, the head is the embedding table.
    ("llm_foundry", convention { $0.style = .gpt }),
    // nanotron: reduce-scatter mode of tensor parallelism is its default; the table's caveats say that the mode is not shown.
    ("ultrascale", convention { ($0.style, $0.isSequenceParallel) = (.llama, true) }),
    ("torchtitan", convention { $0.style = .llama }),
  ]

  private static func convention(_ change: (inout Convention) -> Void) -> Convention {
    var convention = Convention()
    change(&convention)
    return convention
  }

  private static func megatron(_ change: (inout Convention) -> Void) -> Convention {
    var convention = Convention()
    (convention.style, convention.tiesHead, convention.dropout, convention.vocabularyMultiple) = (.gpt, true, 0.1, 128)
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
