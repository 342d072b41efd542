// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// What a decision is expected to take, by part. Times are of one rank with the largest parts.
package struct Prediction: Hashable, Sendable {
  /// One operator of one copy of its segment, for one micro-batch.
  package struct OperatorPart: Hashable, Sendable {
    package var op: OperatorID
    package var forward: Seconds
    package var backward: Seconds
    /// Collectives that bring its operands into the layouts that it takes, and its operands' gradients back; interior ones, those of its weights, and what
    /// the backward pass has done again included. What comes in from other copies does so as from the copy before.
    package var communication: Seconds
    /// Weights, gradients and optimizer state.
    package var resident: Bytes
    /// Kept for backward per micro-batch; a tensor that several operators keep counts at the first.
    package var kept: Bytes

    package init(op: OperatorID, forward: Seconds, backward: Seconds, communication: Seconds, resident: Bytes, kept: Bytes) {
      self.op = op
      self.forward = forward
      self.backward = backward
      self.communication = communication
      self.resident = resident
      self.kept = kept
    }
  }

  /// One collective of one copy of a segment.
  package struct CollectivePart: Hashable, Sendable {
    package enum Cause: String, Hashable, Sendable, CaseIterable {
      /// A reader takes a tensor in another layout than it is produced in.
      case forward
      /// The gradient on its way back.
      case backward
      /// Inside an operator (a softmax over a split vocabulary).
      case interior
      /// A parameter's gradient, summed over ranks that saw different data; once per step.
      case gradient
      /// A parameter that was updated in parts (ZeRO 1 and 2); once per step.
      case updated
      /// A parameter that is held in parts (ZeRO 3), before its operator runs, forward and backward.
      case weights
      /// The gradient of a parameter, into parts, in every backward pass (ZeRO 2 and 3).
      case parts
      /// A tied parameter's gradient, exchanged between stages; once per step.
      case tied
      /// A tensor handed to the next stage, per micro-batch.
      case boundary

      /// Whether it moves a parameter or its gradient, not a computed tensor or that one's gradient.
      package var isOfParameter: Bool {
        switch self {
        case .gradient, .updated, .weights, .parts, .tied: true
        case .forward, .backward, .interior, .boundary: false
        }
      }
    }

    package var cause: Cause
    /// The operator that needs it: the first reader, the operator itself, the owner of the parameter.
    package var op: OperatorID
    /// What is moved.
    package var tensor: TensorID
    /// Nil where ranks exchange messages pairwise.
    package var kind: CollectiveKind?
    package var axes: [Int]
    /// Payload of one call on the rank with the largest part.
    package var bytes: Bytes
    package var time: Seconds
    /// Calls per micro-batch, or per step for `gradient`, `updated` and `tied`, of one copy.
    package var calls: Int
    /// Places at which it occurs: copies of a segment, seams between copies, or boundaries between stages.
    package var copies: Int

    package init(
      cause: Cause, op: OperatorID, tensor: TensorID, kind: CollectiveKind?, axes: [Int], bytes: Bytes, time: Seconds, calls: Int, copies: Int
    ) {
      self.cause = cause
      self.op = op
      self.tensor = tensor
      self.kind = kind
      self.axes = axes
      self.bytes = bytes
      self.time = time
      self.calls = calls
      self.copies = copies
    }

    /// Calls in a whole step of so many micro-batches, on all stages together.
    package func callsPerStep(microBatches: Int) -> Int {
      switch cause {
      case .gradient, .updated, .tied: calls * copies
      case .forward, .backward, .interior, .weights, .parts, .boundary: calls * copies * microBatches
      }
    }
  }

  /// One virtual stage.
  package struct StagePart: Hashable, Sendable {
    /// Per micro-batch, with communication.
    package var forward: Seconds
    package var backward: Seconds
    /// Once per step.
    package var gradientSync: Seconds
    package var update: Seconds
    /// Of `forward` and `backward`, what goes by in collectives, and in waiting for blocks that travel around a ring.
    package var communication: Seconds
    package var memory: MemoryPart
    /// What a plan may use on the stage's devices, where that is not the same for all stages.
    package var memoryLimit: Bytes?

    package init(
      forward: Seconds, backward: Seconds, gradientSync: Seconds, update: Seconds, communication: Seconds, memory: MemoryPart,
      memoryLimit: Bytes? = nil
    ) {
      self.memoryLimit = memoryLimit
      self.forward = forward
      self.backward = backward
      self.gradientSync = gradientSync
      self.update = update
      self.communication = communication
      self.memory = memory
    }
  }

  package struct MemoryPart: Hashable, Sendable {
    package var weights: Bytes
    package var gradients: Bytes
    package var optimizerState: Bytes
    /// Kept for backward, over all micro-batches in flight, at the instant at which the devices hold most.
    package var activations: Bytes
    package var microBatchesInFlight: Int
    /// What the operator that runs then needs besides.
    package var transient: Bytes

    package init(
      weights: Bytes, gradients: Bytes, optimizerState: Bytes, activations: Bytes, microBatchesInFlight: Int, transient: Bytes
    ) {
      self.weights = weights
      self.gradients = gradients
      self.optimizerState = optimizerState
      self.activations = activations
      self.microBatchesInFlight = microBatchesInFlight
      self.transient = transient
    }

    package var total: Bytes { weights + gradients + optimizerState + activations + transient }
  }

  package var step: Seconds
  /// The share of the stages' time in which they wait for each other.
  package var bubble: Double
  package var stages: [StagePart]
  /// Groups of devices, over which the virtual stages go round.
  package var groups: Int
  package var operators: [OperatorPart]
  package var collectives: [CollectivePart]
  /// What a plan may use on each device; where stages differ, on those of the fullest.
  package var memoryLimit: Bytes

  package init(
    step: Seconds, bubble: Double, stages: [StagePart], groups: Int, operators: [OperatorPart], collectives: [CollectivePart], memoryLimit: Bytes
  ) {
    self.step = step
    self.bubble = bubble
    self.stages = stages
    self.groups = groups
    self.operators = operators
    self.collectives = collectives
    self.memoryLimit = memoryLimit
  }

  /// What a device of a group needs for all its chunks, of whose operators one runs at a time.
  package func memory(ofGroup group: Int) -> MemoryPart {
    let chunks = stride(from: group, to: stages.count, by: groups).map { stages[$0].memory }
    return chunks.dropFirst().reduce(chunks[0]) { sum, chunk in
      MemoryPart(
        weights: sum.weights + chunk.weights, gradients: sum.gradients + chunk.gradients, optimizerState: sum.optimizerState + chunk.optimizerState,
        activations: sum.activations + chunk.activations, microBatchesInFlight: sum.microBatchesInFlight + chunk.microBatchesInFlight,
        transient: max(sum.transient, chunk.transient))
    }
  }

  /// What a plan may use on each device of a group.
  package func memoryLimit(ofGroup group: Int) -> Bytes { stages[group].memoryLimit ?? memoryLimit }

  /// The group that needs most of what its devices have.
  package var fullest: Int {
    func share(_ group: Int) -> Double { memory(ofGroup: group).total.value / (stages[group].memoryLimit ?? Bytes(1)).value }
    return (0..<groups).max { share($0) < share($1) } ?? 0
  }

  /// What each device of the fullest group needs.
  package var memory: Bytes { groups == 0 ? .zero : memory(ofGroup: fullest).total }
}

/// What is proven about a plan, and over which space.
package struct Certificate: Hashable, Sendable {
  package enum Status: String, Hashable, Sendable, CaseIterable {
    case optimal
    case timeLimit = "time_limit"
    /// The configuration was given, so nothing was compared.
    case given
  }

  /// One dimension of the searched space with its values in words.
  package struct Dimension: Hashable, Sendable {
    package var name: String
    package var values: String

    package init(name: String, values: String) {
      self.name = name
      self.values = values
    }
  }

  package var status: Status
  package var objective: Seconds
  package var lowerBound: Seconds
  package var priced: Int
  package var pruned: Int
  package var infeasible: Int
  /// Objective − bound up to this counts as proof.
  package var tolerance: String
  package var space: [Dimension]

  package init(
    status: Status, objective: Seconds, lowerBound: Seconds, priced: Int, pruned: Int, infeasible: Int, tolerance: String, space: [Dimension]
  ) {
    self.status = status
    self.objective = objective
    self.lowerBound = lowerBound
    self.priced = priced
    self.pruned = pruned
    self.infeasible = infeasible
    self.tolerance = tolerance
    self.space = space
  }

  /// (objective − bound) / objective; 0 when proven optimal within the tolerance.
  package var gap: Double {
    status == .optimal || objective.value == 0 ? 0 : max(0, (objective - lowerBound) / objective)
  }
}
