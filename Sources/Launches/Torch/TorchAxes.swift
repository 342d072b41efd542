// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// What the axes of a plan's mesh are to PyTorch: some share out the batch of everything, and at most one splits modules.
struct TorchAxes {
  /// For each mesh axis.
  let names: [String]
  /// The axis that `parallelize_module` works on.
  let tensor: Int?
  let sizes: [Int]

  static let tensorName = "tp"

  /// - Throws: `Inexpressible` where a second axis splits modules.
  init(_ decision: Decision, _ rules: [OperatorRule]) throws {
    let sizes = decision.mesh
    /// Operators that an axis splits otherwise than along the batch.
    let others = sizes.indices.map { axis in
      sizes[axis] == 1 ? [] : rules.indices.filter { decision.assignments[$0][axis] != Self.batch(of: rules[$0]) }
    }
    let tensor = others.indices.filter { !others[$0].isEmpty }.max { (others[$0].count, $1) < (others[$1].count, $0) }
    if let second = others.indices.first(where: { $0 != tensor && !others[$0].isEmpty }), let op = others[second].first {
      let words = Strategy(assignment: decision.assignments[op], rule: rules[op]).words(rules[op])
      throw Inexpressible(
        decision.graph.operators[op].name,
        "is split \(words.joined(separator: ",")) on a mesh of \(sizes.map(String.init).joined(separator: "x")); "
          + "PyTorch's styles split modules on one axis, and on the others all operators share out the batch")
    }
    let data = sizes.indices.filter { $0 != tensor }
    names = sizes.indices.map { axis in
      if axis == tensor { return Self.tensorName }
      return data.count == 1 ? "dp" : "dp\(data.firstIndex(of: axis)!)"
    }
    (self.sizes, self.tensor) = (sizes, tensor)
  }

  /// The axes that share out the batch.
  var data: [Int] { sizes.indices.filter { $0 != tensor && sizes[$0] > 1 } }
  var replicas: Int { data.reduce(1) { $0 * sizes[$1] } }

  /// Names of axes as the script's tables have them.
  func text(_ axes: [Int]) -> String { axes.sorted().map { names[$0] }.joined(separator: " ") }

  /// What an axis that shares out the batch goes to; nil where an operator has no batch.
  static func batch(of rule: OperatorRule) -> Int? { rule.iteration.firstIndex { $0.role == .batch && $0.isSplittable } }
}

extension OperatorRule {
  /// The word for what a mesh axis goes to, as `Strategy.words` has it, and back.
  func word(_ axis: Int?) -> String { axis.flatMap { iteration[$0].words.first } ?? "replicate" }

  /// What a word means; nil for one that the operator does not know.
  func assignment(_ word: String) -> Int?? {
    if word == "replicate" { return .some(nil) }
    return iteration.indices.first { iteration[$0].isSplittable && iteration[$0].words.first == word }.map { .some($0) }
  }
}
