// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A part of the model that occurs `repeats` times in a row, written once.
///
/// Copies are chained by their carries: `exits[k]` of one copy is `entries[k]` of the next, and the exits of a segment's last copy are the
/// entries of the next segment. Everything downstream works on the unique segment with its multiplicity.
package struct Segment: Hashable, Sendable {
  package var name: String
  package var repeats: Int
  /// In topological order.
  package var operators: [OperatorID]
  /// Tensors that come in from the copy before; empty for the first segment.
  package var entries: [TensorID]
  /// Tensors that go out to the copy after; empty for the last segment.
  package var exits: [TensorID]

  package init(name: String, repeats: Int = 1, operators: [OperatorID], entries: [TensorID], exits: [TensorID]) {
    self.name = name
    self.repeats = repeats
    self.operators = operators
    self.entries = entries
    self.exits = exits
  }
}

/// What a model is usually run with; the command line overrides it.
package struct Workload: Hashable, Sendable {
  /// Sequences (or images) in one global batch.
  package var batch: Int?
  /// Positions in one sequence.
  package var sequence: Int?

  package init(batch: Int? = nil, sequence: Int? = nil) {
    self.batch = batch
    self.sequence = sequence
  }
}

/// A model as operators over tensors with named axes, as a chain of segments.
///
/// A value of this type is consistent: `GraphBuilder.finish()` is the only way to make one.
package struct Graph: Hashable, Sendable {
  /// A named result that `run --outputs` can write: `logits`, `last_hidden_state`, `pooler_output`.
  package struct Output: Hashable, Sendable {
    package var name: String
    package var tensor: TensorID

    package init(name: String, tensor: TensorID) {
      self.name = name
      self.tensor = tensor
    }
  }

  package internal(set) var name: String
  package internal(set) var axes: [Axis]
  package internal(set) var tensors: [Tensor]
  package internal(set) var operators: [Operator]
  package internal(set) var segments: [Segment]
  package internal(set) var outputs: [Output]
  /// The scalar that training minimises; nil for a model without a head that has one.
  package internal(set) var loss: TensorID?
  package internal(set) var workload: Workload
  /// Whether operators that couple samples are meant for each micro-batch by itself (`couplesBatch`).
  package internal(set) var isPerMicroBatch: Bool
  /// The longest sequence that the model's positions allow; nil where nothing limits it.
  package internal(set) var maximumSequence: Int?

  /// The operator that produces each tensor; nil for inputs, parameters and a segment's entries.
  package internal(set) var producer: [OperatorID?]
  /// The operators that read each tensor, in order, an operator once per operand position.
  package internal(set) var consumers: [[OperandSite]]
  /// The segment that each operator stands in.
  package internal(set) var segmentOfOperator: [SegmentID]

  /// One operand position of one operator.
  package struct OperandSite: Hashable, Sendable {
    package let op: OperatorID
    package let operand: Int

    package init(op: OperatorID, operand: Int) {
      self.op = op
      self.operand = operand
    }
  }

  /// The extents of a tensor's dimensions.
  package func shape(_ tensor: TensorID) -> [Int] { tensors[tensor].dimensions.map { axes[$0].extent } }

  /// The segment that computes a tensor, or gets it from the copy before; nil for inputs and parameters.
  package func segment(ofActivation tensor: TensorID) -> SegmentID? {
    producer[tensor].map { segmentOfOperator[$0] } ?? segments.firstIndex { $0.entries.contains(tensor) }
  }

  /// The number of elements of a tensor.
  package func count(_ tensor: TensorID) -> Int { tensors[tensor].dimensions.reduce(1) { $0 * axes[$1].extent } }

  /// All parameters once, by the stored tensors they are views of: the figure that model cards print.
  package var parameterCount: Int {
    var total = 0
    for (id, tensor) in tensors.enumerated() where tensor.isParameter {
      let copies = consumers[id].first.map { segments[segmentOfOperator[$0.op]].repeats } ?? 1
      total += count(id) * copies
    }
    return total
  }

  /// The graph with other extents for the axes that follow the workload.
  ///
  /// - Parameters:
  ///   - batch: sequences in one micro-batch.
  ///   - sequence: positions in one sequence; nil where the model has no sequence axis to choose (an image classifier).
  package func sized(batch: Int, sequence: Int?) -> Graph {
    var graph = self
    for index in graph.axes.indices {
      switch graph.axes[index].role {
      case .batch, .candidates: graph.axes[index].extent = batch
      case .sequence: if let sequence { graph.axes[index].extent = sequence }
      default: break
      }
    }
    for index in graph.axes.indices { if let slots = graph.axes[index].slots { graph.axes[index].extent = slots.extent(in: graph.axes) } }
    return graph
  }

  /// The graph with a slot at every expert for every position: room for any routing, where the balanced number is not enough. nil without experts.
  package var withSlotsForEveryPosition: Graph? {
    var graph = self
    for index in graph.axes.indices { if let slots = graph.axes[index].slots { graph.axes[index].extent = graph.axes[slots.positions].extent } }
    return graph.axes.contains { $0.slots != nil } ? graph : nil
  }
}

extension Graph {
  /// Whether the length of a sequence is the workload's to choose (tokens), or fixed by the model (image patches).
  package var choosesSequence: Bool {
    tensors.contains { $0.isInput && $0.dimensions.contains { axes[$0].role == .sequence } }
  }
}
