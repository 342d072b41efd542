// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph

/// What a run of the model is for.
package enum Mode: String, Hashable, Sendable, CaseIterable {
  case train
  case forward

  /// By case, not by the strings, which a search would compare millions of times.
  @inlinable package static func == (a: Mode, b: Mode) -> Bool {
    switch (a, b) {
    case (.train, .train), (.forward, .forward): true
    case (.train, .forward), (.forward, .train): false
    }
  }
}

/// How parameters are updated; it decides how much state a parameter needs.
package enum OptimizerKind: String, Hashable, Sendable, CaseIterable {
  case adamw
  case sgd
}

/// The job that a plan is for: sizes of one step and what is done with them.
package struct Job: Hashable, Sendable {
  /// Sequences (or images) in one global batch.
  package var batch: Int
  /// Parts that a global batch is cut into, carried out one after the other; gradients add up.
  package var microBatches: Int
  /// Positions in one sequence; nil where the model fixes it.
  package var sequence: Int?
  package var mode: Mode
  package var optimizer: OptimizerKind
  /// The number format that the plan was priced for.
  package var precision: Precision
  package var software = Software()

  package init(batch: Int, microBatches: Int, sequence: Int?, mode: Mode, optimizer: OptimizerKind, precision: Precision) {
    self.batch = batch
    self.microBatches = microBatches
    self.sequence = sequence
    self.mode = mode
    self.optimizer = optimizer
    self.precision = precision
  }
}

extension Job {
  /// Whether a parameter that is learned is updated as soon as its gradient is complete. That is a matrix that one operator reads; what vectors take is
  /// next to nothing, and their gradients come of passes that go over rows together with their neighbours'.
  @inlinable package func updatesInBackward(_ parameter: TensorID, of graph: Graph) -> Bool {
    guard software.updates == .inBackward, mode == .train, microBatches == 1 else { return false }
    return graph.consumers[parameter].count == 1 && graph.tensors[parameter].dimensions.count > 1
  }
}
