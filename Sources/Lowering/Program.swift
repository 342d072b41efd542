// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// A dense identifier of a buffer in its program. A buffer is written by one instruction (parameters, gradients and sums apart).
package typealias BufferID = Int

/// A piece of a tensor in one rank's memory, row-major, fp32 (32-bit integers for token identifiers and the like).
package struct Buffer: Hashable, Sendable {
  package enum Role: Hashable, Sendable {
    case activation
    case gradient
    /// What is resident of the value, or of the gradient, of the parameter of this number: all of this rank's shard, or its part (ZeRO).
    case parameter(Int)
    case parameterGradient(Int)
    /// The whole shard of a parameter of which only a part is resident, or its whole gradient: there while one operator runs.
    case gatheredParameter(Int)
    case wholeGradient(Int)
    case input(InputKind)
  }

  package let role: Role
  package let tensor: TensorID
  package let layout: Layout
  /// The ranges of the tensor's dimensions that are held, within one micro-batch.
  package let region: [Range<Int>]
  /// Elements; not the region's number for an operator's kept extras, and for a part of a parameter.
  package let count: Int
}

/// One operator on this rank's part of its work, forward or backward.
package struct KernelCall: Hashable, Sendable {
  package enum Phase: Hashable, Sendable {
    case forward
    /// The forward pass once more, before the backward pass, of what was not kept for it.
    case recompute
    case backward
  }

  package let op: OperatorID
  /// Which copy of the segment.
  package let copy: Int
  package let microBatch: Int
  package let phase: Phase
  package let operands: [BufferID]
  package let result: BufferID
  /// Arrays that forward leaves for backward, in the order of the rule's `keepsExtra`.
  package let extras: [BufferID]
  /// Backward only: the gradient of the result; nil for the loss itself.
  package let resultGradient: BufferID?
  /// Backward only: for each operand, where its gradient goes; nil where none is wanted. Resident ones of parameters are added to, others
  /// written.
  package let operandGradients: [BufferID?]
}

/// A part of a tensor on its way between ranks of two meshes.
package struct MessageBox: Hashable, Sendable {
  /// The other rank.
  package let rank: Int
  /// In indices of the tensor; lies in the buffer's region.
  package let region: [Range<Int>]
  /// Whether the receiver adds it to what it has.
  package let isAdded: Bool
}

/// What a rank does, one thing after the other.
package enum Instruction: Hashable, Sendable {
  /// Brings this rank's part of an input of one micro-batch.
  case load(BufferID, microBatch: Int)
  case kernel(KernelCall)
  /// One resharding step from one buffer into another.
  case reshard(ReshardingStep, from: BufferID, to: BufferID)
  /// `to` += `from`.
  case accumulate(from: BufferID, to: BufferID)
  case send(BufferID, rank: Int, tag: Int)
  case receive(BufferID, rank: Int, tag: Int)
  /// Sends boxes of a buffer to ranks of a stage with another mesh, each to one of them.
  case sendBoxes(BufferID, [MessageBox], tag: Int)
  /// Puts a buffer together from the boxes that ranks of a stage with another mesh send.
  case receiveBoxes(BufferID, [MessageBox], tag: Int)
  case zero(BufferID)
  /// All-gathers a parameter from the parts of the ranks that share it out: into a buffer that lives while an operator reads it (ZeRO 3), or in
  /// place after each has updated its part (ZeRO 1 and 2).
  case gatherParameter(parameter: Int, axes: [Int], into: BufferID)
  /// Reduce-scatters a parameter's whole gradient, and adds what this rank owns of it to its part (ZeRO 2 and 3); in place once per step, which
  /// leaves this rank's part at the start (ZeRO 1).
  case scatterGradient(parameter: Int, axes: [Int], from: BufferID)
  /// All-reduces a parameter's gradient, in place, over mesh axes on which the ranks saw different data.
  case reduceGradient(parameter: Int, axes: [Int])
  /// Adds up, over the stages that hold a tied parameter, its gradient, in place; `ranks` are this rank's counterparts and itself.
  case reduceTied(parameter: Int, ranks: [Int])
  /// The same where the stages have several meshes: what this rank sends, and for each other stage what it receives. `place` is its own stage's
  /// number among all.
  case exchangeTied(parameter: Int, sent: [MessageBox], received: [[MessageBox]], place: Int)
  /// Updates what this rank owns of a parameter.
  case update(parameter: Int)
  case free(BufferID)
}

/// A parameter as one rank holds it.
package struct LocalParameter: Hashable, Sendable {
  package let tensor: TensorID
  package let copy: Int
  /// All of this rank's shard, or its part where weights are shared out (ZeRO 3).
  package let value: BufferID
  /// The same of the gradient, in parts from ZeRO 2 on. Nil in a forward program.
  package let gradient: BufferID?
  /// The mesh axes that the gradient is partial on.
  package let gradientAxes: [Int]
  package let layout: Layout
  /// The ranges of the dimensions in this rank's shard.
  package let region: [Range<Int>]
  package let sharing: ParameterSharing
  /// What this rank owns, and updates, of the shard's elements in row-major order; all of them where nothing is shared out.
  package let part: Range<Int>

  /// Whether it is updated in the backward pass, as soon as its gradient is complete, which has memory until then.
  package internal(set) var isPassing: Bool

  /// Where the part begins in the resident value. In the gradient that the optimizer reads it begins at the start.
  package var startInValue: Int { sharing.stage == .weights ? 0 : part.lowerBound }
}

/// One pass of one micro-batch in a program.
package struct ProgramPass: Hashable, Sendable {
  package let pass: Pass
  package internal(set) var instructions: Range<Int>
}

/// Everything that one rank does in one step.
package struct Program: Sendable {
  package let rank: Int
  /// The group of devices that the rank belongs to.
  package let stage: Int
  /// The first rank of that group.
  package let firstRank: Int
  /// The rank's place on its stage's mesh.
  package let coordinates: [Int]
  package let mesh: [Int]
  package let graph: Graph
  package let rules: [OperatorRule]
  package let strategies: [Strategy]
  /// For each axis of the graph, the order in which its positions stand.
  package let orders: [SequenceOrder]
  /// The samples of each rank along a mesh axis, where the batch is not shared out evenly.
  package let shares: BatchShares?
  package internal(set) var buffers: [Buffer] = []
  package internal(set) var parameters: [LocalParameter] = []
  package internal(set) var instructions: [Instruction] = []
  /// The passes in order, each with the numbers of its instructions. What comes before the first and after the last is done once per step.
  package internal(set) var passes: [ProgramPass] = []

  /// For each operator, the part of each iteration axis that this rank works on; empty where stages with another mesh hold it.
  package internal(set) var iterationRegions: [[Range<Int>]] = []

  /// The rank at other coordinates of the same stage's mesh.
  package func rank(at coordinates: [Int]) -> Int {
    firstRank + zip(mesh, coordinates).reduce(0) { $0 * $1.0 + $1.1 }
  }

  /// The ranges of a tensor's dimensions that this rank, or the one at other coordinates, holds in a layout.
  package func region(of tensor: TensorID, in layout: Layout, at coordinates: [Int]? = nil) -> [Range<Int>] {
    Shard.region(of: tensor, in: graph, layout: layout, mesh: mesh, coordinates: coordinates ?? self.coordinates, shares: shares)
  }

  /// The coordinates of every member of this rank's group over some mesh axes, in row-major order: the order of their ranks.
  package func group(over axes: [Int]) -> [[Int]] {
    var members = [coordinates]
    for axis in axes {
      members = members.flatMap { member in
        (0..<mesh[axis]).map { index in
          var other = member
          other[axis] = index
          return other
        }
      }
    }
    return members
  }
}
