// SPDX-License-Identifier: GPL-3.0-or-later

/// A collective operation over one or more axes of a mesh.
package enum CollectiveKind: String, Hashable, Sendable, CaseIterable {
  case allReduce = "all-reduce"
  case allGather = "all-gather"
  case reduceScatter = "reduce-scatter"
  case allToAll = "all-to-all"
}

/// One step that turns a layout of a tensor into another one.
package struct ReshardingStep: Hashable, Sendable {
  package enum Action: Hashable, Sendable {
    /// partial → replicated on all of these mesh axes at once.
    case allReduce
    /// split(dimension) → replicated.
    case allGather(dimension: Int)
    /// partial → split(dimension).
    case reduceScatter(dimension: Int)
    /// split(from) → split(to).
    case allToAll(from: Int, to: Int)
    /// replicated → split(dimension): each rank keeps its part; nothing is sent.
    case slice(dimension: Int)
  }

  package let action: Action
  /// The mesh axes that take part, in mesh order; several for one collective over the product of their groups.
  package let axes: [Int]
  package let result: Layout

  package init(action: Action, axes: [Int], result: Layout) {
    self.action = action
    self.axes = axes
    self.result = result
  }

  /// The collective that carries the step out; nil where nothing is sent.
  package var collective: CollectiveKind? {
    switch action {
    case .allReduce: .allReduce
    case .allGather: .allGather
    case .reduceScatter: .reduceScatter
    case .allToAll: .allToAll
    case .slice: nil
    }
  }

  /// Every step that starts from `layout`, for a tensor of this many dimensions.
  ///
  /// A dimension that several mesh axes split is held in nested pieces, so only the innermost of them can be gathered or exchanged first, and
  /// a new cut goes inside the existing ones; a cut on an outer mesh axis must wait until the inner ones are gathered.
  package static func steps(from layout: Layout, shape: [Int], mesh: [Int]) -> [ReshardingStep] {
    var steps: [ReshardingStep] = []
    /// Whether no mesh axis inside `axis` splits `dimension`, apart from those in `except`.
    func isInnermost(_ axis: Int, _ dimension: Int, except: [Int] = []) -> Bool {
      !(axis + 1..<max(axis + 1, layout.axes)).contains { layout[$0] == .split(dimension) && !except.contains($0) }
    }
    func canCut(_ dimension: Int, on axis: Int) -> Bool {
      let parts = layout.axesSplitting(dimension).reduce(mesh[axis]) { $0 * mesh[$1] }
      return shape[dimension] >= parts && isInnermost(axis, dimension)
    }
    for axis in 0..<layout.axes where mesh[axis] > 1 {
      switch layout[axis] {
      case .replicated:
        for dimension in shape.indices where canCut(dimension, on: axis) {
          steps.append(ReshardingStep(action: .slice(dimension: dimension), axes: [axis], result: layout.with(.split(dimension), on: axis)))
        }
      case .partial:
        steps.append(ReshardingStep(action: .allReduce, axes: [axis], result: layout.with(.replicated, on: axis)))
        for dimension in shape.indices where canCut(dimension, on: axis) {
          steps.append(ReshardingStep(action: .reduceScatter(dimension: dimension), axes: [axis], result: layout.with(.split(dimension), on: axis)))
        }
      case .split(let from) where isInnermost(axis, from):
        steps.append(ReshardingStep(action: .allGather(dimension: from), axes: [axis], result: layout.with(.replicated, on: axis)))
        for to in shape.indices where to != from && canCut(to, on: axis) {
          steps.append(ReshardingStep(action: .allToAll(from: from, to: to), axes: [axis], result: layout.with(.split(to), on: axis)))
        }
      case .split: break
      }
    }
    // One collective over several mesh axes at once: fewer start-ups than one after the other.
    let partial = layout.partialAxes.filter { mesh[$0] > 1 }
    if partial.count > 1 {
      steps.append(ReshardingStep(action: .allReduce, axes: partial, result: partial.reduce(layout) { $0.with(.replicated, on: $1) }))
    }
    for dimension in shape.indices {
      let splitting = layout.axesSplitting(dimension).filter { mesh[$0] > 1 }
      if splitting.count > 1 {
        steps.append(
          ReshardingStep(action: .allGather(dimension: dimension), axes: splitting, result: splitting.reduce(layout) { $0.with(.replicated, on: $1) })
        )
      }
    }
    return steps
  }
}
