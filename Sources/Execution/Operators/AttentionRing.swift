// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph
import Strategies

extension AttentionRing {
  var largestBlock: Int { blocks.indices.reduce(0) { max($0, elements(ofBlock: $1)) } }

  /// Pairs of blocks that arrive: one is worked on while the next comes in.
  var arrivals: Int { min(2, count - 1) }
  /// Pairs of gradients: this step's share, the block's of the step before on its way, and those that arrive.
  static let gradients = 3

  /// The elements of memory that `forward(around:)` and `backward(around:)` take beside the call's buffers and the key mask.
  func scratchCount(of call: KernelCall, in program: Program, causal: Bool) -> Int {
    let parts = blocks.map { AttentionPart(for: call, in: program, causal: causal, keys: $0) }
    if call.phase != .backward { return 2 * arrivals * largestBlock + (parts.map(\.forwardScratchCount).max() ?? 0) }
    let queries = call.operandGradients[0] == nil ? program.buffers[call.operands[0]].count : 0
    return 2 * (arrivals + Self.gradients) * largestBlock + queries + (parts.map(\.backwardScratchCount).max() ?? 0)
  }
}

/// The keys of a block and its values, or the gradients of both.
private struct BlockPair {
  var keys: UnsafeMutablePointer<Float>
  var values: UnsafeMutablePointer<Float>

  /// Two blocks of memory one after the other.
  init(at start: UnsafeMutablePointer<Float>, of count: Int) { (keys, values) = (start, start + count) }

  init(keys: UnsafePointer<Float>, values: UnsafePointer<Float>) {
    (self.keys, self.values) = (UnsafeMutablePointer(mutating: keys), UnsafeMutablePointer(mutating: values))
  }
}

/// Attention in which keys and values stay split over the sequence and pass from rank to rank (Liu et al. 2023): messages of the next step are on
/// their way while a step is worked on.
extension OperatorCall {
  func forward(around ring: AttentionRing, causal: Bool) throws(ExecutionError) {
    guard let group = groups.communicator(over: ring.axes) else { preconditionFailure("a ring of one rank") }
    let (out, lse) = (try newResult(), try newExtra(0))
    try withKeyMask { (mask) throws(ExecutionError) in
      try withScratch(ring.scratchCount(of: call, in: program, causal: causal)) { (memory) throws(ExecutionError) in
        let size = ring.largestBlock
        let arrivals = (0..<ring.arrivals).map { BlockPair(at: memory + 2 * $0 * size, of: size) }
        let scratch = memory + 2 * ring.arrivals * size
        var current = BlockPair(keys: operand(1), values: operand(2))
        for step in 0..<ring.count {
          let owner = ring.owner(inStep: step)
          var messages = RequestList()
          let arriving = step < ring.count - 1 ? arrivals[step % ring.arrivals] : current
          if step < ring.count - 1 { try pass(current, of: owner, on: ring, group, receiving: arriving, with: &messages) }
          AttentionPart(for: call, in: program, causal: causal, keys: ring.blocks[owner]).forward(
            q: operand(0), k: current.keys, v: current.values, keyMask: fill(mask, keys: ring.blocks[owner]), out: out, lse: lse,
            merges: step > 0, scratch: scratch)
          try messages.waitAll()
          current = arriving
        }
      }
    }
  }

  /// The gradients of a block follow it one step behind: each rank adds its share to what arrives, and the last hop brings them home.
  func backward(around ring: AttentionRing, causal: Bool) throws(ExecutionError) {
    guard let group = groups.communicator(over: ring.axes) else { preconditionFailure("a ring of one rank") }
    let (queryGradient, dk, dv) = (try newGradient(0), try newGradient(1), try newGradient(2))
    let wanted = (keys: dk != nil, values: dv != nil)
    try withKeyMask { (mask) throws(ExecutionError) in
      try withScratch(ring.scratchCount(of: call, in: program, causal: causal)) { (memory) throws(ExecutionError) in
        let size = ring.largestBlock
        let blocks = (0..<ring.arrivals + AttentionRing.gradients).map { BlockPair(at: memory + 2 * $0 * size, of: size) }
        var (share, leaving, arrived) = (blocks[ring.arrivals], blocks[ring.arrivals + 1], blocks[ring.arrivals + 2])
        let rest = memory + 2 * blocks.count * size
        let dq = queryGradient ?? rest
        let queries = self.memory.count(call.operands[0])
        let scratch = queryGradient == nil ? rest + queries : rest
        Elementwise.fill(dq, count: queries, with: 0)
        var current = BlockPair(keys: operand(1), values: operand(2))
        for step in 0..<ring.count {
          let owner = ring.owner(inStep: step)
          let elements = ring.elements(ofBlock: owner)
          var messages = RequestList()
          let arriving = step < ring.count - 1 ? blocks[step % ring.arrivals] : current
          if step < ring.count - 1 { try pass(current, of: owner, on: ring, group, receiving: arriving, with: &messages) }
          if step > 0 { try pass(leaving, of: ring.owner(inStep: step - 1), on: ring, group, receiving: arrived, gradients: wanted, with: &messages) }
          Elementwise.fill(share.keys, count: elements, with: 0)
          Elementwise.fill(share.values, count: elements, with: 0)
          AttentionPart(for: call, in: program, causal: causal, keys: ring.blocks[owner]).backward(
            q: operand(0), k: current.keys, v: current.values, keyMask: fill(mask, keys: ring.blocks[owner]), out: result, lse: extra(0),
            dout: resultGradient, dq: dq, dk: share.keys, dv: share.values, accumulates: true, scratch: scratch)
          try messages.waitAll()
          if step > 0 {
            if wanted.keys { Elementwise.accumulate(arrived.keys, into: share.keys, count: elements) }
            if wanted.values { Elementwise.accumulate(arrived.values, into: share.values, count: elements) }
          }
          swap(&share, &leaving)
          current = arriving
        }
        var messages = RequestList()
        let home = BlockPair(keys: dk ?? arrived.keys, values: dv ?? arrived.values)
        try pass(leaving, of: ring.next, on: ring, group, receiving: home, gradients: wanted, with: &messages)
        try messages.waitAll()
      }
    }
  }

  /// Starts to send a member's block, or its gradients, to the next rank, and to receive into `arriving` what the previous one sends: the same of
  /// the member before.
  /// - Parameter wanted: of gradients, which are; nil for the keys and values themselves.
  private func pass(
    _ pair: BlockPair, of owner: Int, on ring: AttentionRing, _ group: Communicator, receiving arriving: BlockPair,
    gradients wanted: (keys: Bool, values: Bool)? = nil, with messages: inout RequestList
  ) throws(ExecutionError) {
    let (sent, received) = (ring.elements(ofBlock: owner), ring.elements(ofBlock: (owner + ring.count - 1) % ring.count))
    let tag = wanted == nil ? 0 : 2
    if wanted?.keys ?? true {
      messages.append(try group.receive(arriving.keys, count: received, from: ring.previous, tag: tag))
      messages.append(try group.send(pair.keys, count: sent, to: ring.next, tag: tag))
    }
    if wanted?.values ?? true {
      messages.append(try group.receive(arriving.values, count: received, from: ring.previous, tag: tag + 1))
      messages.append(try group.send(pair.values, count: sent, to: ring.next, tag: tag + 1))
    }
  }
}
