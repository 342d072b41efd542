// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// What styles of modules mean for every operator: which of its axes the tensor axis splits.
///
/// What has no style follows: an operator whose operands come split along an axis works on its part of it; where they come whole, all devices do the same.
/// A result that is partial is added up at once.
struct StyledSplit {
  /// For each operator, the axis of its rule; nil: all devices do the same.
  private(set) var axes: [Int?]
  var findings: [Finding] = []

  let graph: Graph
  let degree: Int
  /// For each operator, the style of its module.
  let styleOf: [ParallelStyle?]
  /// For each operator, whether a module around its own adds partial results up.
  private let isAddedUp: [Bool]
  let rules: [OperatorRule]
  let matching: PatternMatching
  /// For each tensor, the axis of the graph along which it comes split.
  private(set) var split: [AxisID?]

  /// - Parameter degree: of the tensor axis.
  init(_ graph: Graph, _ styles: [ModuleStyle], degree: Int, matching: PatternMatching) {
    self.graph = graph
    self.degree = degree
    self.matching = matching
    let names = graph.operators.indices.map(graph.moduleNames)
    var table = StyleTable(styles, names: names, matching: matching)
    styleOf = names.map { table.style(of: $0) }
    isAddedUp = names.map { table.isAddedUp($0) }
    rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    axes = graph.operators.map { _ in nil }
    split = graph.tensors.map { _ in nil }
    findings = table.findings()
    for op in graph.operators.indices { place(op) }
    checkBoundaries()
    checkTies()
  }

  // MARK: - One operator

  private mutating func place(_ op: OperatorID) {
    switch graph.operators[op].kind {
    case .embedding: placeEmbedding(op)
    case .linear, .expertLinear: placeProduct(op)
    case .layerNorm, .rmsNorm:
      if styleOf[op] == .positions { placeOnPositions(op) } else { follow(op) }
    case .crossEntropy:
      if let axis = split[graph.operators[op].operands[0]] {
        refuse(
          op,
          "takes whole logits, and \(producer(of: graph.operators[op].operands[0])) leaves its output split along \(graph.axes[axis].name); give that colwise_gather_output"
        )
      }
      follow(op)
    default: follow(op)
    }
  }

  private mutating func placeEmbedding(_ op: OperatorID) {
    let table = graph.tensors[graph.operators[op].operands[1]].dimensions
    switch styleOf[op] {
    case .rows(splitsInput: _, addsUp: _)?: cut(op, table[0], result: nil)
    case .columns(let gathers, _)?: cut(op, table[1], result: gathers ? nil : table[1])
    default: break
    }
  }

  private mutating func placeProduct(_ op: OperatorID) {
    let (x, weight) = (graph.operators[op].operands[0], graph.operators[op].operands[1])
    let (dimensions, features) = (graph.tensors[x].dimensions, graph.tensors[weight].dimensions)
    let contracted = features.filter { dimensions.contains($0) && !graph.tensors[graph.operators[op].result].dimensions.contains($0) }
    let produced = features.filter { !dimensions.contains($0) }
    switch styleOf[op] {
    case .columns(let gathers, let blocks)?:
      if let axis = split[x] { refuse(op, "takes whole features, and \(producer(of: x)) leaves its output split along \(graph.axes[axis].name)") }
      guard let axis = divisible(produced) else {
        refuse(op, "has no output features that \(counted(degree, "device")) could share out")
        return
      }
      checkHeads(op, axis)
      // What is gathered is whole whatever the blocks are.
      if !gathers { checkStorage(op, weight, axis, blocks: blocks) }
      checkOrder(op, weight, contracted)
      cut(op, axis, result: gathers && !hasBias(op) ? nil : axis)
    case .rows(let splitsInput, let addsUp)?:
      checkOrder(op, weight, contracted)
      placeRows(op, x, contracted, splitsInput: splitsInput)
      if !addsUp, !isAddedUp[op] {
        refuse(op, "leaves partial sums that no module around it adds up; give one the style gather, or this one rowwise")
      }
    case .positions?: refuse(op, "is no norm: sequence_parallel splits the positions of norms and dropout")
    default:
      if let axis = split[x], contracted.contains(axis) {
        refuse(
          op,
          "takes whole features, and \(producer(of: x)) leaves its output split along \(graph.axes[axis].name); give this module rowwise, or that one "
            + "colwise_gather_output")
      } else {
        follow(op)
      }
    }
  }

  private mutating func placeRows(_ op: OperatorID, _ x: TensorID, _ contracted: [AxisID], splitsInput: Bool) {
    if let axis = split[x], contracted.contains(axis) {
      cut(op, axis, result: nil)
    } else if splitsInput, let axis = divisible(contracted) {
      checkHeads(op, axis)
      cut(op, axis, result: nil)
    } else {
      refuse(
        op,
        splitsInput
          ? "has no input features that \(counted(degree, "device")) could share out"
          : "rowwise takes input features that come split, and \(producer(of: x)) gives whole ones; give that colwise, or this one rowwise_split_input (rowwise_rep)"
      )
    }
  }

  private mutating func placeOnPositions(_ op: OperatorID) {
    let result = graph.tensors[graph.operators[op].result].dimensions
    let x = graph.operators[op].operands[0]
    if let axis = split[x] { refuse(op, "takes whole features, and \(producer(of: x)) leaves its output split along \(graph.axes[axis].name)") }
    guard let axis = result.first(where: { graph.axes[$0].role.isPosition && index(of: $0, op) != nil }) else {
      refuse(op, "has no positions that sequence_parallel could split")
      return
    }
    cut(op, axis, result: nil)
  }

  /// Along the axis along which operands come split; all of those that have it must come so.
  private mutating func follow(_ op: OperatorID) {
    let operands = graph.operators[op].operands.filter { graph.tensors[$0].isActivation }
    let found = operands.compactMap { operand in split[operand].map { (operand, $0) } }
    guard let (first, axis) = found.first else { return }
    if let (other, second) = found.first(where: { $0.1 != axis }) {
      refuse(
        op, "gets \(producer(of: first)) split along \(graph.axes[axis].name), and \(producer(of: other)) along \(graph.axes[second].name)")
    }
    if let whole = operands.first(where: { split[$0] == nil && graph.tensors[$0].dimensions.contains(axis) }) {
      refuse(op, "gets \(producer(of: first)) split along \(graph.axes[axis].name), and \(producer(of: whole)) whole; give both the same style")
    }
    guard let place = index(of: axis, op) else {
      refuse(op, "takes whole features, and \(producer(of: first)) leaves its output split along \(graph.axes[axis].name)")
      return
    }
    axes[op] = place
    let result = graph.operators[op].result
    let isGathered = graph.operators[op].kind == .bias && gathersOutput(op)
    if graph.tensors[result].dimensions.contains(axis), !isGathered { split[result] = axis }
  }

  private mutating func cut(_ op: OperatorID, _ axis: AxisID, result: AxisID?) {
    guard let place = index(of: axis, op) else {
      refuse(op, "is not split along \(graph.axes[axis].name)")
      return
    }
    axes[op] = place
    split[graph.operators[op].result] = result
  }

  // MARK: - Words and look-ups

  mutating func refuse(_ op: OperatorID, _ text: String) {
    let finding = Finding(.illegal, graph.moduleNames(op)[0], text)
    if !findings.contains(finding) { findings.append(finding) }
  }

  /// The module that gives a tensor, in words.
  private func producer(of tensor: TensorID) -> String {
    var tensor = tensor
    // Functions between modules have names that no plan has.
    while let op = graph.producer[tensor] {
      // A product whose weight is tied to another's is a module too.
      var isProduct = false
      if case .linear = graph.operators[op].kind { isProduct = true }
      if isProduct || graph.ownWeight(op) != nil, let name = graph.moduleNames(op).first { return name }
      guard let before = graph.operators[op].operands.first(where: { graph.tensors[$0].isActivation }) else { return graph.operators[op].name }
      tensor = before
    }
    return graph.tensors[tensor].isInput ? graph.tensors[tensor].name : "the layer before"
  }

  /// Where an axis stands in an operator's rule, where it can be split.
  private func index(of axis: AxisID, _ op: OperatorID) -> Int? {
    rules[op].iteration.firstIndex { $0.name == graph.axes[axis].name && $0.isSplittable && $0.extent > 1 }
  }

  /// Of a product's features those that are shared out: heads before others.
  private func divisible(_ features: [AxisID]) -> AxisID? {
    let open = features.filter { graph.axes[$0].extent > 1 && ![.whole, .candidates].contains(graph.axes[$0].role) }
    return features.first { graph.axes[$0].role == .heads } ?? open.first
  }

  private func hasBias(_ op: OperatorID) -> Bool { bias(of: op) != nil }

  private func bias(of op: OperatorID) -> OperatorID? {
    graph.consumers[graph.operators[op].result].map(\.op).first { graph.operators[$0].kind == .bias }
  }

  private func gathersOutput(_ bias: OperatorID) -> Bool {
    if case .columns(gathers: true, blocks: _)? = styleOf[bias] { true } else { false }
  }
}
