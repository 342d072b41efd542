// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// What splitting means for one operator: its iteration axes, and the dimension of each operand and of the result that each maps to.
///
/// Everything else is read off: the layouts of a strategy, the collectives its result needs, its gradients' layouts, the size of its local
/// work. A rule is the row that `OperatorRules` gives for an operator; it is shared, as it is asked for thousands of times.
package final class OperatorRule: Sendable {
  /// One axis of the operator's loop nest.
  package struct IterationAxis: Sendable {
    package let name: String
    package let extent: Int
    package let role: Axis.Role
    /// Whether ranks may share the axis out among them.
    package let isSplittable: Bool
    /// The loops that a mesh axis shares out which goes here: the axis itself; or others, where it stands for a way of splitting several together.
    package let splits: [Int]
    /// A sum over this axis is completed by interior collectives, so the result is whole on every rank even when the axis is split.
    package let isCompletedInside: Bool
    /// The strategy's name on the command line when a mesh axis goes to this axis; the first is printed, all are understood.
    package let words: [String]
  }

  /// A collective inside the operator, over the mesh axes that split `axis`: (maximum, sum of exponentials, target logit) of a
  /// vocabulary-split cross-entropy.
  package struct InteriorCollective: Sendable {
    /// The iteration axis whose split makes the collective necessary.
    package let axis: Int
    /// The iteration axes that the reduced array spans.
    package let spans: [Int]
    /// How many arrays of that size are reduced, one all-reduce each, in the forward pass.
    package let count: Int
    /// The same in the backward pass.
    package let backwardCount: Int

    init(axis: Int, spans: [Int], count: Int, backwardCount: Int = 0) {
      self.axis = axis
      self.spans = spans
      self.count = count
      self.backwardCount = backwardCount
    }
  }

  /// Blocks of some operands that travel around the ranks that share out `axis`: each rank begins with its own, works on each in turn while
  /// it passes it on, and in the backward pass adds to the block's gradient, which travels with it and comes home (Liu et al. 2023, "Ring
  /// Attention with Blockwise Transformers for Near-Infinite Context").
  package struct Ring: Sendable {
    /// The iteration axis whose split makes the ring.
    package let axis: Int
    /// The operands that travel.
    package let operands: [Int]

    /// How often each rank passes a block of an operand on: to all others forward; backward the same, and its gradient once more, home.
    ///
    /// - Parameter isLearned: whether the operand's gradient is wanted.
    package static func hops(ranks: Int, isBackward: Bool, isLearned: Bool) -> Int {
      ranks - 1 + (isBackward && isLearned ? ranks : 0)
    }
  }

  /// Attention: 4·b·s·t·heads·d operations forward.
  package struct Attention: Sendable {
    package let isCausal: Bool
    /// Whether probabilities are dropped in training.
    package let drops: Bool
    /// The axes b and heads, along which scores are apart.
    package let samples: [Int]
    package let queries: Int
    package let keys: Int
    /// The axis d of queries and keys.
    package let depth: Int
  }

  /// What the operator costs to carry out, in terms of its local iteration extents.
  package enum Work: Sendable {
    /// A matrix product: 2·m·n·k operations, where each of m, n and k is a product of iteration axes. Backward is two such products.
    /// `batch` are axes along which the products are apart, each with a matrix of its own on both sides (experts).
    case product(batch: [Int] = [], m: [Int], n: [Int], k: [Int])
    case attention(Attention)
    /// Reads its operands, so many times, and writes its result once: bound by memory bandwidth.
    case stream(readings: Int = 1)
    /// Reads only the rows that it needs of its last operand.
    case gather
    /// The softmax of its first operand's last dimension and a logarithm: in 16-bit training a series of kernels on an fp32 copy.
    case crossEntropy
    /// No work of its own: a view, or data that the input pipeline prepares.
    case free
  }

  package let iteration: [IterationAxis]
  /// For each operand, the iteration axis of each dimension.
  package let operands: [[Int]]
  /// The iteration axis of each dimension of the result.
  package let result: [Int]
  /// For each operand, whether backward needs its values.
  package let keepsOperand: [Bool]
  /// Whether backward needs the result's values.
  package let keepsResult: Bool
  /// Further arrays kept for backward: the iteration axes that each spans and its bytes per element (log-sum-exp, mean, mask).
  package let keepsExtra: [(spans: [Int], bytesPerElement: Int)]
  package let interior: [InteriorCollective]
  /// The ring in which operands travel when a mesh axis goes to its axis.
  package let ring: Ring?
  package let work: Work

  init(
    iteration: [IterationAxis], operands: [[Int]], result: [Int], keepsOperand: [Bool], keepsResult: Bool,
    keepsExtra: [(spans: [Int], bytesPerElement: Int)], interior: [InteriorCollective], ring: Ring?, work: Work
  ) {
    self.iteration = iteration
    self.operands = operands
    self.result = result
    self.keepsOperand = keepsOperand
    self.keepsResult = keepsResult
    self.keepsExtra = keepsExtra
    self.interior = interior
    self.ring = ring
    self.work = work
  }

  /// Whether the operator works on tokens that were dispatched to experts: the data that a rank holds is then not its own replica's.
  package var worksOnSlots: Bool { iteration.contains { $0.role == .slots } }

  /// Whether backward reads an operand's values to give the gradients that are wanted: of a product, one operand's gradient is made of the other.
  ///
  /// - Parameter wanted: for each operand, whether its gradient is.
  package func keeps(_ operand: Int, forGradientsOf wanted: [Bool]) -> Bool {
    guard keepsOperand[operand] else { return false }
    if case .product = work { return wanted.indices.contains { $0 != operand && wanted[$0] } }
    return wanted.contains(true)
  }

  /// Whether carrying the operator out again takes a pass over data that backward keeps for it anyway, and no collective.
  var isCheaplyRepeated: Bool {
    guard case .stream = work, interior.isEmpty, keepsOperand.first == true else { return false }
    return operands.indices.allSatisfy { keepsOperand[$0] || operands[$0].count < result.count }
  }

  /// The iteration axes that the result lacks.
  package func isReduced(_ axis: Int) -> Bool { !result.contains(axis) }
}
