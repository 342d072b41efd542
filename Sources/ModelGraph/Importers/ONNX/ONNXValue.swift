// SPDX-License-Identifier: GPL-3.0-or-later

/// What is known of a value of an ONNX graph after a first look.
enum ONNXValue {
  /// Known numbers.
  case literal(Literal)
  /// Floating-point numbers of the file, or a part of them.
  case weight(WeightView)
  /// What the model computes of its inputs: a number of `ONNXEvaluation.data`.
  case data(Int)
  /// An operand that is left out.
  case absent

  var data: Int? { if case .data(let index) = self { index } else { nil } }
  var weight: WeightView? { if case .weight(let view) = self { view } else { nil } }
  var isAbsent: Bool { if case .absent = self { true } else { false } }
}

/// A view of a stored tensor: a number of `ONNXEvaluation.stored`.
struct WeightView: Hashable {
  var tensor: Int
  var view: StridedView
}

/// One result of a node that has to be computed when the model runs, or an input of floating-point numbers.
struct DataNode {
  let node: ONNXNode?
  let operands: [ONNXValue]
  /// Which of the node's results.
  let output: Int
  /// For the extents with which the model is looked at.
  let shape: [Int]
  /// The input that it is.
  var input: InputKind?

  var op: String { node?.op ?? "" }
}

/// The extents and the values of whole-number inputs with which a model is looked at.
struct ONNXProbe {
  let batch: Int
  let sequence: Int
  let seed: Int

  /// Values of an input: token numbers that differ, and masks and types of 0 and 1 in no order, the first of each sample being 1.
  func values(_ kind: InputKind, _ shape: [Int]) -> [Int] {
    var state = UInt64(truncatingIfNeeded: seed &* 7919 &+ kind.rawValue.utf8.reduce(0) { $0 &* 31 &+ Int($1) })
    func random() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
    let count = shape.reduce(1, *)
    switch kind {
    case .inputIDs: return (0..<count).map { $0 * 2 + Int(random() % 2) + 3 }
    default: return (0..<count).map { shape.last.map { $0 > 0 } == true && $0 % shape[shape.count - 1] == 0 ? 1 : Int(random() % 2) }
    }
  }
}
