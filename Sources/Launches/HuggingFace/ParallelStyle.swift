// SPDX-License-Identifier: GPL-3.0-or-later

/// What a module does on the tensor axis, as transformers names it.
///
/// Source: huggingface/transformers, `src/transformers/integrations/tensor_parallel.py`, `ParallelInterface._global_mapping`, with the names of the
/// versions since 4.48 (`colwise_rep`, `local_*`, `gather`) and of 5 (`colwise_gather_output`, `rowwise_split_input`, `embedding_rowwise`, `packed_*`).
enum ParallelStyle: Hashable, Sendable {
  /// Splits its output features; `gathers`: and gathers them. `blocks`: how many blocks of output features its stored weight has, each cut by itself.
  case columns(gathers: Bool, blocks: Int = 1)
  /// Splits its input features, which come split, or which it splits itself, and adds the partial results up; `addsUp` false: leaves that to a module
  /// around it.
  case rows(splitsInput: Bool, addsUp: Bool = true)
  /// Splits the positions of its input, and gathers its result.
  case positions
  /// All devices do the same.
  case whole
  /// Takes its input as it comes; its weights are whole.
  case following
  /// Of a module around others, which it leaves as their own styles say; `addsUp`: and adds up what they leave partial.
  case container(addsUp: Bool)
  /// Expert parallelism and others, which are not read here.
  case other

  /// - Returns: nil for a name that transformers does not have.
  init?(_ name: String) {
    guard let style = Self.named[name] else { return nil }
    self = style
  }

  static let named: [String: ParallelStyle] = [
    "colwise": .columns(gathers: false), "local_colwise": .columns(gathers: false), "packed_colwise": .columns(gathers: false, blocks: 2),
    "local_packed_colwise": .columns(gathers: false, blocks: 2), "colwise_rep": .columns(gathers: true),
    "colwise_gather_output": .columns(gathers: true), "embedding_colwise": .columns(gathers: false),
    "rowwise": .rows(splitsInput: false), "packed_rowwise": .rows(splitsInput: false), "rowwise_rep": .rows(splitsInput: true),
    "rowwise_split_input": .rows(splitsInput: true), "embedding_rowwise": .rows(splitsInput: true),
    "local_rowwise": .rows(splitsInput: false, addsUp: false), "local_packed_rowwise": .rows(splitsInput: false, addsUp: false),
    "sequence_parallel": .positions, "replicate": .whole, "replicated_with_grad_allreduce": .following,
    "local": .container(addsUp: false), "gather": .container(addsUp: true), "all_reduce": .container(addsUp: true),
    "moe_tp_experts": .container(addsUp: true),
    "grouped_gemm": .other, "ep_router": .other, "megamoe_router": .other, "megamoe_experts": .other, "moe_identity_expert": .other,
    "mla_kv_a_proj": .other,
  ]
}
