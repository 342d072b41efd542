// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// What the words of a row's splits are, and what shows that they were followed.
extension TableRow.Split {
  var cutsBatch: Bool { self == .data || self == .experts }
  var cutsPositions: Bool { [.sequenceParallel, .sequence, .ring, .ulysses].contains(self) }

  /// The words that an operator takes the first of that it can.
  func preference(_ builder: DecisionBuilder) -> (OperatorID, OperatorRule) -> [String] {
    switch self {
    case .data: { _, _ in ["data"] }
    case .tensor: builder.megatron
    case .sequenceParallel: builder.sequenceParallel
    case .sequence: { _, _ in ["sequence"] }
    case .ring: { _, _ in ["ring", "sequence"] }
    case .ulysses: { _, rule in rule.isAttention ? ["heads"] : ["sequence"] }
    case .experts: { _, rule in rule.worksOnSlots ? ["expert"] : ["data"] }
    // An embedding does with its table what a head does that shares it.
    case .column: { _, rule in rule.isProduct ? ["column"] : rule.isEmbedding ? ["vocab"] : [] }
    case .row: { _, rule in rule.isProduct ? ["row"] : rule.isEmbedding ? ["column"] : [] }
    case .crossed:
      { id, rule in
        if !rule.isProduct { return rule.isEmbedding ? ["column"] : [] }
        return builder.megatron(id, rule) == ["row"] ? ["column"] : ["row"]
      }
    }
  }

  /// The words without which the split is not what it is called; of the table's models, all but these have them.
  func words(of graph: Graph, _ rules: [OperatorRule]) -> [(word: String, isMeant: (OperatorRule) -> Bool)] {
    let heads = rules.contains { $0.isAttention } ? [("heads", { (rule: OperatorRule) in rule.isAttention })] : []
    switch self {
    case .data: return [("data", { _ in true })]
    case .tensor: return [("column", \.isProduct), ("row", \.isProduct)] + heads
    case .crossed: return [("column", \.isProduct), ("row", \.isProduct)]
    case .column: return [("column", \.isProduct)]
    case .row: return [("row", \.isProduct)]
    case .sequenceParallel: return [("sequence", { !$0.isAttention }), ("column", \.isProduct), ("row", \.isProduct)] + heads
    case .sequence: return [("context", { _ in true }), ("sequence", { !$0.isAttention })]
    case .ring: return [("ring", { _ in true }), ("sequence", { !$0.isAttention })]
    case .ulysses: return [("heads", \.isAttention), ("sequence", { !$0.isAttention })]
    case .experts: return [("expert", \.isProduct), ("data", { _ in true })]
    }
  }

  /// What programs do along the axis, each in one of the ways that are listed together; see `ProgramTraits`.
  func traits(mode: Mode) -> [[String]] {
    let split = [["split"]]
    let replicas = mode == .train ? [["gradient all-reduce", "gradient reduce-scatter"]] : []
    switch self {
    case .data: return split + replicas
    case .tensor, .row: return split + [["all-reduce", "reduce-scatter"]]
    case .column: return split + [["all-gather", "all-to-all"]]
    case .crossed: return split + [["all-reduce", "reduce-scatter"], ["both"]]
    case .sequenceParallel: return split + [["all-gather"], ["reduce-scatter"]]
    case .sequence: return split + replicas + [["all-gather"]]
    case .ring: return split + replicas + [["ring"]]
    case .ulysses: return split + replicas + [["all-to-all"]]
    case .experts: return split + replicas
    }
  }
}

extension OperatorRule {
  /// Whether it looks rows up in a table.
  var isEmbedding: Bool { iteration.contains { $0.words.contains("vocab") } && !isProduct && interior.isEmpty }
}
