// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// The ranks that pass keys and values around, and whose they are: in step s a rank has the block that began s places before it.
package struct AttentionRing {
  /// The mesh axes over which the ring runs.
  package let axes: [Int]
  /// For each member the keys that are its own.
  package let blocks: [Range<Int>]
  /// This rank's place.
  package let own: Int
  /// Elements of a key block, or of a value block, per position.
  private let elementsPerKey: Int
  private let ranks: [Int]

  /// Nil where the operator's keys do not travel.
  package init?(for call: KernelCall, in program: Program) {
    guard let ring = program.rules[call.op].ring else { return nil }
    axes = program.strategies[call.op].meshAxes(on: ring.axis)
    let members = program.group(over: axes)
    if members.count == 1 { return nil }
    let keys = program.buffers[call.operands[1]]
    blocks = members.map { program.region(of: keys.tensor, in: keys.layout, at: $0)[1] }
    own = members.firstIndex(of: program.coordinates) ?? 0
    elementsPerKey = keys.region[0].count * keys.region[2].count * keys.region[3].count
    ranks = members.map { program.rank(at: $0) }
  }

  package var count: Int { blocks.count }
  package var next: Int { (own + 1) % count }
  package var previous: Int { (own + count - 1) % count }

  /// Whose block is worked on in a step.
  package func owner(inStep step: Int) -> Int { (own + count - step) % count }
  /// Elements of the keys, and of the values, of a member's block.
  package func elements(ofBlock member: Int) -> Int { blocks[member].count * elementsPerKey }

  /// For each step what this rank passes on and what arrives; in a backward pass one step more, in which gradients come home.
  ///
  /// Forward each block goes on to all others; backward too, and its gradient one step behind it, and once more home.
  func exchanges(of call: KernelCall, _ ring: OperatorRule.Ring) -> [[Exchange]] {
    let isBackward = call.phase == .backward
    let gradients = isBackward ? ring.operands.count { call.operandGradients[$0] != nil } : 0
    return (0..<count + (gradients > 0 ? 1 : 0)).map { step in
      let values = step < count - 1 ? [Int](repeating: owner(inStep: step), count: ring.operands.count) : []
      let behind = step > 0 ? [Int](repeating: owner(inStep: step - 1), count: gradients) : []
      return (values + behind).flatMap { owner in
        [
          Exchange.send(elements: elements(ofBlock: owner), to: ranks[next], tag: nil),
          Exchange.receive(elements: elements(ofBlock: (owner + count - 1) % count), from: ranks[previous], tag: nil),
        ]
      }
    }
  }
}
