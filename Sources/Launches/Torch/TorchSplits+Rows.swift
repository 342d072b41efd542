// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

extension TorchSplits {
  /// The row of an operator.
  ///
  /// - Throws: `Inexpressible`.
  func row(of op: OperatorID) throws -> TorchRow {
    try checkParts(of: op)
    if case .bias = graph.operators[op].kind { try checkBias(op) }
    let name = names(graph.segmentOfOperator[op]).relative(graph.operators[op].name)
    var row = TorchRow(name: name, split: axes.tensor == nil ? nil : rules[op].word(assigned(op)), zero: decision.zero[op])
    if let word = row.split, rules[op].assignment(word) != .some(assigned(op)) { throw unknown(op) }
    row.style = try axes.tensor == nil ? nil : style(of: op)
    row.over = axes.text(axesOfSums(op, row.style))
    return row
  }

  private func unknown(_ op: OperatorID) -> Inexpressible {
    let axis = assigned(op).map { rules[op].iteration[$0].name } ?? ""
    return Inexpressible(graph.operators[op].name, "is split along \(axis), which no style of PyTorch does")
  }

  /// The axes over which the gradients of an operator's weights, or the parts of the loss, are summed.
  private func axesOfSums(_ op: OperatorID, _ style: String?) -> [Int] {
    if graph.operators[op].result == graph.loss {
      return axes.data + (placement(strategies[op].result) == .partial ? [axes.tensor!] : [])
    }
    let learned = graph.operators[op].operands.indices.filter {
      let tensor = graph.operators[op].operands[$0]
      return graph.tensors[tensor].isParameter && needsGradient[tensor]
    }
    guard !learned.isEmpty else { return [] }
    guard let tensor = axes.tensor, !hasDistributedWeights(op, style) else { return axes.data }
    let isPartial = learned.contains { use(.init(op: op, operand: $0)).gradient == .partial } || givesPartialGradient(to: op)
    return axes.data + (isPartial ? [tensor] : [])
  }

  /// Whether an operator's weights are DTensors on the axis tp, whose gradients are DTensor's.
  private func hasDistributedWeights(_ op: OperatorID, _ style: String?) -> Bool {
    func isDistributed(_ style: String?) -> Bool { style.map { !$0.hasPrefix("PrepareModule") } ?? false }
    if case .bias = graph.operators[op].kind, let product = graph.producer[graph.operators[op].operands[0]] {
      return isColumn(product) || isRow(product)
    }
    return isDistributed(style)
  }

  /// Whether rows of a table of positions are added to samples that the axis tp shares out: their gradients are those of this rank's samples.
  private func givesPartialGradient(to op: OperatorID) -> Bool {
    guard case .positionEmbedding = graph.operators[op].kind else { return false }
    return graph.consumers[graph.operators[op].result].contains { use($0).forward == .replicated && use($0).gradient == .partial }
  }

  // MARK: - Styles

  private func style(of op: OperatorID) throws -> String? {
    switch graph.operators[op].kind {
    case .linear: return try styleOfProduct(op)
    case .embedding: return try styleOfEmbedding(op)
    case .bias: return nil  // It stands in its product's module.
    case .crossEntropy where isLossParallel(op): return try styleOfParallelLoss(op)
    default: return try styleOfLocal(op)
    }
  }

  /// Whether a product sums over what the axis tp splits.
  func isRow(_ op: OperatorID) -> Bool {
    guard case .linear = graph.operators[op].kind, let axis = assigned(op) else { return false }
    return !rules[op].result.contains(axis)
  }

  private func styleOfProduct(_ op: OperatorID) throws -> String? {
    let rule = rules[op]
    guard isColumn(op) || isRow(op) else { return try styleOfLocal(op) }
    // Heads come first among the features of a head, and are what is cut.
    let features = isColumn(op) ? rule.result.filter { !rule.operands[0].contains($0) } : rule.operands[0].filter { !rule.result.contains($0) }
    guard assigned(op) == features.first(where: { rule.iteration[$0].extent > 1 }) else { throw unknown(op) }
    let input = graph.operators[op].operands[0]
    let found = try text(found(.init(op: op, operand: 0)), of: input, op)
    var arguments: [String] = []
    if isColumn(op) {
      if found != "Replicate()" { arguments.append("input_layouts=\(found)") }
      if readsLogits(graph.operators[op].result) { arguments.append("use_local_output=False") }
      return "ColwiseParallel(\(arguments.joined(separator: ", ")))"
    }
    let result = mergedBias(op).map { graph.operators[$0].result } ?? graph.operators[op].result
    let output = try text(held(result), of: result, op)
    if found != "Shard(-1)" { arguments.append("input_layouts=\(found)") }
    if output != "Replicate()" { arguments.append("output_layouts=\(output)") }
    return "RowwiseParallel(\(arguments.joined(separator: ", ")))"
  }

  private func styleOfEmbedding(_ op: OperatorID) throws -> String? {
    guard let axis = assigned(op), !rules[op].operands[0].contains(axis) else { return try styleOfLocal(op) }
    if isColumn(op) { return "ColwiseParallel()" }
    let result = graph.operators[op].result
    let output = try text(held(result), of: result, op)
    return "RowwiseParallel(input_layouts=Replicate()" + (output == "Replicate()" ? ")" : ", output_layouts=\(output))")
  }

  /// The operator that adds a bias to a product, in the product's module.
  func mergedBias(_ op: OperatorID) -> OperatorID? {
    let readers = graph.consumers[graph.operators[op].result]
    guard case .linear = graph.operators[op].kind, readers.count == 1, case .bias = graph.operators[readers[0].op].kind else { return nil }
    return readers[0].op
  }

  // MARK: - The loss

  func isLossParallel(_ op: OperatorID) -> Bool { assigned(op).map { rules[op].iteration[$0].isCompletedInside } ?? false }

  /// Whether a loss whose vocabulary is split takes its logits as a DTensor, or splits them itself.
  func takesVocabulary(_ loss: OperatorID) -> Bool {
    if let product = product(of: graph.operators[loss].operands[0]), isColumn(product) { return true }
    let site = Graph.OperandSite(op: loss, operand: 0)
    return found(site) != use(site).forward
  }

  /// Whether a product's result, its bias included, is logits whose vocabulary is split under the loss.
  func readsLogits(_ product: TensorID) -> Bool {
    let result = graph.producer[product].flatMap(mergedBias).map { graph.operators[$0].result } ?? product
    let readers = graph.consumers[result]
    guard readers.count == 1, case .crossEntropy = graph.operators[readers[0].op].kind else { return false }
    return isLossParallel(readers[0].op)
  }

  private func styleOfParallelLoss(_ op: OperatorID) throws -> String? {
    let logits = graph.operators[op].operands[0]
    if let product = product(of: logits), isColumn(product) { return nil }
    let found = try text(found(.init(op: op, operand: 0)), of: logits, op)
    return "PrepareModuleInput(input_layouts=(\(found), None), desired_input_layouts=(Shard(-1), None))"
  }

  /// The product whose module gives a tensor.
  func product(of tensor: TensorID) -> OperatorID? {
    guard let op = graph.producer[tensor] else { return nil }
    if case .bias = graph.operators[op].kind { return graph.producer[graph.operators[op].operands[0]] }
    return op
  }

  // MARK: - Modules that work on local tensors

  private func styleOfLocal(_ op: OperatorID) throws -> String? {
    let (kind, operands) = (graph.operators[op].kind, graph.operators[op].operands)
    var (from, to): ([String], [String]) = ([], [])
    var leavesSums = false
    for (position, tensor) in operands.enumerated() {
      let site = Graph.OperandSite(op: op, operand: position)
      let (forward, gradient) = use(site)
      if graph.tensors[tensor].isParameter {
        guard forward == .replicated || kind.isPositionEmbedding else {
          throw Inexpressible(graph.operators[op].name, "has its weights split, which no style of PyTorch does for its kind")
        }
        continue
      }
      if forward == .replicated, gradient == .partial, needsGradient[tensor], needsGradient[graph.operators[op].result] {
        guard kind == .add, let producer = graph.producer[tensor], graph.operators[producer].kind.isPositionEmbedding else {
          throw Inexpressible(
            graph.operators[op].name,
            "takes \(graph.tensors[tensor].name) whole and gives back sums for it that are still due, for which PyTorch's styles have no layout")
        }
        // Whole rows of positions add their gradients up over tp by themselves.
        leavesSums = leavesSums || found(site) != .replicated
      }
      let found = found(site)
      from.append(found == forward ? "None" : try text(found, of: tensor, op))
      to.append(found == forward ? "None" : try text(forward, of: tensor, op))
    }
    if kind.isPositionEmbedding {
      // Its module reads the numbers of positions, and has the rows of these.
      if case .split(let dimension) = placement(strategies[op].result) {
        guard dimension == 0 else { throw unknown(op) }
        (from, to) = (["Replicate()"], ["Shard(0)"])
      } else {
        (from, to) = (["None"], ["None"])
      }
    }
    if leavesSums { return try styleOfSum(op) }
    if from.contains(where: { $0 != "None" }) {
      func tuple(_ texts: [String]) -> String { texts.count == 1 ? texts[0] : "(\(texts.joined(separator: ", ")))" }
      return "PrepareModuleInput(input_layouts=\(tuple(from)), desired_input_layouts=\(tuple(to)), use_local_output=True)"
    }
    let result = graph.operators[op].result
    if kind.isNorm, decision.zero[op] == .none, placement(strategies[op].result) == .split(1), graph.flattened(result) == nil {
      return "SequenceParallel(use_local_output=True)"
    }
    return nil
  }

  /// An addition of rows of positions that are gathered for it: on DTensors, since the gradient of what was gathered is a sum that is still due.
  private func styleOfSum(_ op: OperatorID) throws -> String {
    let operands = graph.operators[op].operands
    let sites = operands.indices.map { Graph.OperandSite(op: op, operand: $0) }
    let from = try sites.map { try text(found($0), of: operands[$0.operand], op) }
    let to = try sites.map { try text(use($0).forward, of: operands[$0.operand], op) }
    let result = graph.operators[op].result
    let made = try text(placement(strategies[op].result), of: result, op)
    return "PrepareModuleInputOutput(input_layouts=(\(from.joined(separator: ", "))), desired_input_layouts=(\(to.joined(separator: ", "))), "
      + "output_layouts=\(made), desired_output_layouts=\(made))"
  }
}

extension OperatorKind {
  var isPositionEmbedding: Bool { if case .positionEmbedding = self { true } else { false } }
  var isEmbedding: Bool { if case .embedding = self { true } else { false } }
  fileprivate var isNorm: Bool {
    switch self {
    case .layerNorm, .rmsNorm: true
    default: false
    }
  }
}
