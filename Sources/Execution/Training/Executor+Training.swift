// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph
import Plans

/// What a training does beside the program's instructions: the norm of all gradients, and reading the optimizer's state.
extension Executor {
  /// Asks every rank for its part of the norm, where gradients are clipped. Collective, and no part of the plan's traffic.
  func clipGradients() throws(ExecutionError) {
    guard optimizer.hyperparameters.clipNorm != nil else { return }
    var squares = 0.0
    for parameter in program.parameters {
      precondition(!parameter.isPassing, "a norm of gradients that are gone")
      guard let gradient = parameter.gradient, program.replica(of: parameter, in: decision)?.index == 0 else { continue }
      squares += Elementwise.sumOfSquares(memory.filledAccumulator(gradient), count: parameter.part.count)
    }
    let norm = try world.sum(squares).squareRoot()
    gradientNorm = norm
    optimizer.clip(norm: norm)
  }

  /// Puts the optimizer's arrays where a training had left them.
  func readState(of checkpoint: TrainingCheckpoint) throws(ExecutionError) {
    try checkpoint.checkOptimizer(optimizer.hyperparameters)
    for (index, parameter) in program.parameters.enumerated() {
      let name = program.graph.name(ofParameter: parameter.tensor, copy: parameter.copy)
      for (kind, values) in optimizer.arrays(of: index) {
        var place = values
        for region in parameter.region.regions(ofElements: parameter.part) {
          try checkpoint.fill(.state(kind), of: name, region: region, into: place)
          place += region.elementCount
        }
      }
    }
  }
}

extension Program {
  /// Which of the ranks that own the same elements of a parameter this one is, and how many they are; nil where a stage before holds it too.
  func replica(of parameter: LocalParameter, in decision: Decision) -> (index: Int, count: Int)? {
    if let first = decision.groupsHolding(parameter.tensor).first, first != stage { return nil }
    let axes = mesh.indices.filter { parameter.layout[$0] == .replicated && !parameter.sharing.axes.contains($0) }
    return axes.reduce((0, 1)) { ($0.0 * mesh[$1] + coordinates[$1], $0.1 * mesh[$1]) }
  }
}

extension Graph {
  /// A parameter's own name, which no other has, whatever segments the layers are cut into.
  func name(ofParameter tensor: TensorID, copy: Int) -> String {
    let (name, source) = (tensors[tensor].name, tensors[tensor].parameter?.checkpointName ?? "")
    // A model of one's own may number only what it reads.
    return Graph.isPerCopy(source) && !Graph.isPerCopy(name) ? "\(name) (\(Graph.name(source, copy: copy)))" : Graph.name(name, copy: copy)
  }
}
