// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// How one operator's work is shared out over a mesh: each mesh axis goes to one iteration axis, or to none (every rank along it then does
/// the same work).
///
/// The layouts are read off the assignment and the operator's rule, forward and backward (the dual of each use):
///
/// | on a mesh axis, the operator …      | operand    | its gradient | result     | its gradient |
/// |-------------------------------------|------------|--------------|------------|--------------|
/// | splits an axis that the tensor has   | split      | split        | split      | split        |
/// | splits an axis that the tensor lacks | replicated | partial      | partial    | replicated   |
/// | does not split                       | replicated | replicated   | replicated | replicated   |
package struct Strategy: Hashable, Sendable {
  /// For each mesh axis, an iteration axis of the operator's rule, or nil.
  package let assignment: [Int?]
  /// The assignment in five bits for each mesh axis: strategies of one operator with equal codes are equal.
  package let code: UInt32
  /// How each operand is used.
  package let operands: [Use]
  package let result: Layout
  /// The layout in which backward takes the result's gradient.
  package let resultGradient: Layout

  /// A layout in which an operator takes an operand, with the layout in which it gives back the operand's gradient.
  package struct Use: Hashable, Sendable, Comparable {
    package let forward: Layout
    package let gradient: Layout

    package init(forward: Layout, gradient: Layout) {
      self.forward = forward
      self.gradient = gradient
    }

    @inlinable package static func == (a: Use, b: Use) -> Bool { a.forward == b.forward && a.gradient == b.gradient }
    package static func < (a: Use, b: Use) -> Bool { (a.forward, a.gradient) < (b.forward, b.gradient) }
  }

  package init(assignment: [Int?], rule: OperatorRule) {
    precondition(rule.iteration.count < 31, "an operator has fewer iteration axes")
    self.assignment = assignment
    code = assignment.reduce(0) { $0 << 5 | UInt32(($1 ?? -1) + 1) }
    let replicated = Layout(replicatedOn: assignment.count)
    var uses: [Use] = []
    for dimensions in rule.operands {
      var (forward, gradient) = (replicated, replicated)
      for (meshAxis, iterationAxis) in assignment.enumerated() {
        guard let iterationAxis else { continue }
        if let dimension = dimensions.firstIndex(where: rule.iteration[iterationAxis].splits.contains) {
          forward[meshAxis] = .split(dimension)
          gradient[meshAxis] = .split(dimension)
        } else {
          gradient[meshAxis] = .partial
        }
      }
      uses.append(Use(forward: forward, gradient: gradient))
    }
    var (result, resultGradient) = (replicated, replicated)
    for (meshAxis, iterationAxis) in assignment.enumerated() {
      guard let iterationAxis else { continue }
      if let dimension = rule.result.firstIndex(where: rule.iteration[iterationAxis].splits.contains) {
        result[meshAxis] = .split(dimension)
        resultGradient[meshAxis] = .split(dimension)
      } else if !rule.iteration[iterationAxis].isCompletedInside {
        result[meshAxis] = .partial
      }
    }
    self.operands = uses
    self.result = result
    self.resultGradient = resultGradient
  }

  /// The extents of the largest local iteration space.
  package func localExtents(_ rule: OperatorRule, mesh: [Int]) -> [Int] {
    var extents = rule.iteration.map(\.extent)
    for (meshAxis, iterationAxis) in assignment.enumerated() {
      guard let iterationAxis else { continue }
      for loop in rule.iteration[iterationAxis].splits { extents[loop] = (extents[loop] + mesh[meshAxis] - 1) / mesh[meshAxis] }
    }
    return extents
  }

  /// The number of parts into which the strategy cuts each loop.
  package func parts(_ rule: OperatorRule, mesh: [Int]) -> [Int] {
    var parts = [Int](repeating: 1, count: rule.iteration.count)
    for (meshAxis, iterationAxis) in assignment.enumerated() {
      guard let iterationAxis else { continue }
      for loop in rule.iteration[iterationAxis].splits { parts[loop] *= mesh[meshAxis] }
    }
    return parts
  }

  /// The mesh axes that go to an iteration axis.
  package func meshAxes(on iterationAxis: Int) -> [Int] { assignment.indices.filter { assignment[$0] == iterationAxis } }

  /// The same as a set: bit a is axis a.
  package func meshSet(on iterationAxis: Int) -> Int { assignment.indices.reduce(0) { assignment[$1] == iterationAxis ? $0 | 1 << $1 : $0 } }

  /// One word per mesh axis: `data`, `row`, `column`, `sequence`, `heads`, `vocab`, `replicate` …
  package func words(_ rule: OperatorRule) -> [String] {
    assignment.map { axis in axis.flatMap { rule.iteration[$0].words.first } ?? "replicate" }
  }

  /// Whether the strategy is what these words say, one per mesh axis; aliases count.
  package func matches(_ words: [String], rule: OperatorRule) -> Bool {
    words.count == assignment.count
      && zip(words, assignment).allSatisfy { word, axis in
        axis.map { rule.iteration[$0].words.contains(word) } ?? (word == "replicate")
      }
  }

  /// Every strategy of a rule on a mesh: each mesh axis to each splittable iteration axis or to none, as long as every rank gets a part.
  ///
  /// In a fixed order: by assignment, none first.
  package static func all(for rule: OperatorRule, mesh: [Int]) -> [Strategy] {
    let choices: [Int?] = [nil] + rule.iteration.indices.filter { rule.iteration[$0].isSplittable && rule.iteration[$0].extent > 1 }.map { $0 }
    var assignments: [[Int?]] = [[]]
    for size in mesh {
      assignments = assignments.flatMap { prefix in (size == 1 ? [nil] : choices).map { prefix + [$0] } }
    }
    return assignments.map { Strategy(assignment: $0, rule: rule) }.filter { strategy in
      zip(rule.iteration, strategy.parts(rule, mesh: mesh)).allSatisfy { $0.extent >= $1 }
    }
  }
}
