// SPDX-License-Identifier: GPL-3.0-or-later
import ONNXFormat

/// Finds the operators of the graph in what a first look leaves: the table `patterns` says what is tried for each operator of ONNX.
///
/// Every value is looked at in order. One that is no operator's result by itself, such as scores of attention before the softmax, keeps the
/// reason, and counts only where something needs it.
struct ONNXRecognition {
  let evaluation: ONNXEvaluation
  /// The evaluation's, then parameters that were computed.
  private(set) var stored: [ONNXTensor]
  var axes = AxisTable()
  var operators: [ONNXOperator] = []
  /// By the number of a value.
  private(set) var found: [Result<ONNXPlaced, any Error>] = []
  let batch: AxisTable.Class
  let sequence: AxisTable.Class
  /// Leaves that are axes of their own in the graph, whatever they are parts of: those of attention.
  var apart: [AxisTable.Class] = []
  /// The longest sequence that tables of positions allow.
  var maximumSequence: Int?
  /// Tables that tokens are looked up in, for heads that are the same.
  var tables: [ONNXParameter] = []
  /// The axes of images.
  var image: [AxisTable.Class]?
  /// Restrictions of operators to a part of what they give, each made once.
  var parts: [PartKey: Part] = [:]

  /// An operator that gives a part, and its axes for those of the operator that gives all.
  struct Part {
    let op: Int
    var axes: [AxisTable.Class: [AxisTable.Class]]
  }

  struct PartKey: Hashable {
    let op: Int
    let leaf: AxisTable.Class
    let range: Range<Int>
  }

  /// What is tried for a node, in this order; the first that applies says what the node gives.
  private static let patterns: [(operators: Set<String>, name: String, apply: @Sendable (inout ONNXRecognition, Int) throws -> ONNXPlaced?)] = [
    (["Reshape", "Flatten", "Squeeze", "Unsqueeze"], "another shape", { try $0.reshape($1) }),
    (["Transpose"], "another order of axes", { try $0.transpose($1) }),
    (["Expand"], "key-value heads repeated for their queries", { try $0.expand($1) }),
    (["Split", "Slice", "Gather"], "a part of one axis", { try $0.part($1) }),
    (["Gather"], "an embedding", { try $0.embedding($1) }),
    (["Concat"], "rotary positions of some features", { try $0.partialRotary($1) }),
    (["Concat"], "a token before a sequence", { try $0.prependToken($1) }),
    (["Conv"], "patches of an image", { try $0.patches($1) }),
    (["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"], "a norm", { try $0.norm($1) }),
    (["Add"], "rotary positions", { try $0.rotary($1) }),
    (["Add", "Mul"], "a norm in steps", { try $0.normInSteps($1) }),
    (DataShapes.elementwise, "an activation function", { try $0.activation($1) }),
    (["Attention"], "attention", { try $0.attention($1) }),
    (["MatMul"], "attention in steps", { try $0.attentionInSteps($1) }),
    (["MatMul", "Gemm"], "a linear layer", { try $0.linear($1) }),
    (["Mul", "Div"], "a product with one number", { try $0.scale($1) }),
    (["Add"], "a bias or positions", { try $0.addWeight($1) }),
    (["Add", "Mul"], "a sum or product of two values", { try $0.pair($1) }),
  ]

  /// - Throws: what an output needs and could not be found.
  init(_ evaluation: ONNXEvaluation) throws {
    (self.evaluation, stored) = (evaluation, evaluation.stored)
    batch = axes.add(evaluation.fixedBatch ?? evaluation.probe.batch, .batch, "batch")
    sequence = axes.add(evaluation.fixedSequence ?? evaluation.probe.sequence, .sequence, "seq")
    for index in evaluation.data.indices {
      do { found.append(.success(try recognise(index))) } catch { found.append(.failure(error)) }
    }
  }

  private mutating func recognise(_ index: Int) throws -> ONNXPlaced {
    let value = evaluation.data[index]
    guard let node = value.node else {
      throw ModelError.unmapped(file: evaluation.file.path, place: "input", problem: "it is used as it is", expected: "patches of it")
    }
    let rows = Self.patterns.filter { $0.operators.contains(node.op) }
    for row in rows { if let placed = try row.apply(&self, index) { return placed } }
    let tried = rows.isEmpty ? "one that is a part of attention, a norm or an activation function" : rows.map(\.name).joined(separator: ", or ")
    throw node.refusal("\(node.op) of \(operandText(value)) is nothing that is known here", expected: tried)
  }

  private func operandText(_ value: DataNode) -> String {
    value.operands.filter { !$0.isAbsent }.map { operand in
      let kind =
        switch operand {
        case .literal(let literal):
          literal.inputs.isEmpty ? "numbers" : "numbers computed of \(literal.inputs.map(\.rawValue).sorted().joined(separator: ", "))"
        case .weight: "a weight"
        case .data, .absent: "data"
        }
      return "\(kind) \(evaluation.shape(operand))"
    }.joined(separator: " and ")
  }

  // MARK: - For the patterns

  func node(_ index: Int) -> DataNode { evaluation.data[index] }

  /// The operator and the axes of an operand that is data.
  ///
  /// - Throws: why it was not found.
  func placed(_ value: ONNXValue) throws -> ONNXPlaced? { try value.data.map { try found[$0].get() } }

  mutating func emit(
    _ kind: OperatorKind, _ operands: [ONNXOperator.Operand], _ dimensions: [AxisTable.Class], _ node: ONNXNode, path: String? = nil, suffix: String
  ) -> Int {
    operators.append(
      ONNXOperator(kind: kind, operands: operands, dimensions: dimensions, path: path ?? node.modulePath, suffix: suffix, place: node.place))
    return operators.count - 1
  }

  /// A parameter for numbers that were computed: a tensor that holds them.
  mutating func store(_ literal: Literal, named name: String) -> WeightView {
    stored.append(ONNXTensor(name: name, shape: literal.shape, values: literal.reals.map { Float($0) }))
    return WeightView(tensor: stored.count - 1, view: StridedView(whole: literal.shape))
  }

  func leaves(_ placed: ONNXPlaced) -> [AxisTable.Class] { axes.leaves(placed.axes.flatMap { $0 }) }

  func dimensions(_ op: Int) -> [AxisTable.Class] { axes.leaves(operators[op].dimensions) }

  /// The path of the module whose parameter a tensor is, by its name: `h.0.ln_1` of `h.0.ln_1.weight`; nil where exporters made the name up.
  func modulePath(of tensor: Int) -> String? {
    let name = stored[tensor].name
    if name.contains("::") || name.contains("/") { return nil }
    for ending in [".weight", ".bias"] where name.hasSuffix(ending) { return String(name.dropLast(ending.count)) }
    return name.contains(".") ? name : nil
  }
}
