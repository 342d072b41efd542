// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// What is refused of single operators, whatever their style.
extension TorchSplits {
  /// - Throws: `Inexpressible` for a bias that is split, or shared out, otherwise than the product, whose module has both.
  func checkBias(_ op: OperatorID) throws {
    guard let product = graph.producer[graph.operators[op].operands[0]], mergedBias(product) == op else {
      throw Inexpressible(graph.operators[op].name, "is a bias of what others read too, which no module of PyTorch has")
    }
    let (own, products) = (placement(strategies[op].result), placement(strategies[product].result))
    let weight = use(.init(op: op, operand: 1)).forward
    guard isRow(product) ? weight == .replicated : own == products else {
      throw Inexpressible(graph.operators[op].name, "is split otherwise than its product; in PyTorch one module holds both")
    }
    let (ownZero, productsZero) = (decision.zero[op], decision.zero[product])
    guard ownZero == productsZero || ownZero == .none || productsZero == .none else {
      throw Inexpressible(
        graph.operators[op].name,
        "has ZeRO stage \(ownZero.rawValue) and its product \(productsZero.rawValue); torch's fully_shard takes a module, which holds both, once")
    }
  }

  /// - Throws: `Inexpressible` where ranks would have parts of unequal size, which DTensor takes local tensors for.
  func checkParts(of op: OperatorID) throws {
    guard let tensor = axes.tensor, let axis = assigned(op) else { return }
    let (kind, size) = (graph.operators[op].kind, axes.sizes[tensor])
    for loop in rules[op].iteration[axis].splits {
      let iteration = rules[op].iteration[loop]
      if iteration.role == .vocabulary, kind.isEmbedding || keepsVocabulary(op) { continue }
      let extent = iteration.role == .batch ? iteration.extent / axes.replicas : iteration.extent
      guard extent % size == 0 else {
        throw Inexpressible(
          graph.operators[op].name,
          "shares \(extent) of \(iteration.name) out over \(size) ranks; between PyTorch's modules all parts have the same size")
      }
    }
    switch kind {
    case .attention where iterationRole(op, axis).isPosition || rules[op].iteration[axis].role == .queries:
      throw Inexpressible(
        graph.operators[op].name, "splits its \(rules[op].iteration[axis].name), which takes an attention of its own; plan it with heads")
    case .rotary where iterationRole(op, axis).isPosition:
      throw Inexpressible(graph.operators[op].name, "splits the sequence; in the script each rank rotates all positions")
    default: break
    }
  }

  private func iterationRole(_ op: OperatorID, _ axis: Int) -> Axis.Role { rules[op].iteration[axis].role }

  /// Whether the vocabulary that an operator splits stays split until the loss, in a DTensor that knows the parts' sizes.
  private func keepsVocabulary(_ op: OperatorID) -> Bool {
    switch graph.operators[op].kind {
    case .crossEntropy: isLossParallel(op) && takesVocabulary(op)
    case .linear: readsLogits(graph.operators[op].result)
    case .bias: graph.producer[graph.operators[op].operands[0]].map { readsLogits(graph.operators[$0].result) } ?? false
    default: false
    }
  }
}
