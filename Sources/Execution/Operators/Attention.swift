// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph
import Strategies

/// Attention and the rotation of its queries and keys.
extension OperatorCall {
  /// Calls `body` with scratch for the key mask in the kernel's bytes; nil where the operator has none.
  func withKeyMask(_ body: (UnsafeMutablePointer<UInt8>?) throws(ExecutionError) -> Void) throws(ExecutionError) {
    guard call.operands.count == 4 else { return try body(nil) }
    let count = memory.count(call.operands[3])
    try withScratch(count) { (scratch) throws(ExecutionError) in
      try body(UnsafeMutableRawPointer(scratch).bindMemory(to: UInt8.self, capacity: count))
    }
  }

  /// Writes the key mask of some keys of every sample.
  func fill(_ mask: UnsafeMutablePointer<UInt8>?, keys: Range<Int>) -> UnsafePointer<UInt8>? {
    guard let mask else { return nil }
    let (isToken, samples, whole) = (wholeNumbers(3), region(3)[0].count, region(3)[1])
    for sample in 0..<samples {
      let row = isToken + sample * whole.count + keys.lowerBound - whole.lowerBound
      for i in 0..<keys.count { mask[sample * keys.count + i] = row[i] == 0 ? 0 : 1 }
    }
    return UnsafePointer(mask)
  }

  func attentionForward(causal: Bool) throws(ExecutionError) {
    if let ring = AttentionRing(for: call, in: program) { return try forward(around: ring, causal: causal) }
    let part = AttentionPart(for: call, in: program, causal: causal)
    let (out, lse) = (try newResult(), try newExtra(0))
    try withKeyMask { (mask) throws(ExecutionError) in
      let mask = fill(mask, keys: part.keys)
      try withScratch(part.forwardScratchCount) { (scratch) throws(ExecutionError) in
        part.forward(q: operand(0), k: operand(1), v: operand(2), keyMask: mask, out: out, lse: lse, merges: false, scratch: scratch)
      }
    }
  }

  func attentionBackward(causal: Bool) throws(ExecutionError) {
    if let ring = AttentionRing(for: call, in: program) { return try backward(around: ring, causal: causal) }
    let part = AttentionPart(for: call, in: program, causal: causal)
    let (dq, dk, dv) = (try newGradient(0), try newGradient(1), try newGradient(2))
    // The kernel makes all three; what nobody wants goes to scratch.
    let unwanted = [dq, dk, dv].enumerated().map { $0.element == nil ? memory.count(call.operands[$0.offset]) : 0 }
    try withKeyMask { (mask) throws(ExecutionError) in
      let mask = fill(mask, keys: part.keys)
      try withScratch(part.backwardScratchCount + unwanted.reduce(0, +)) { (scratch) throws(ExecutionError) in
        let spare = scratch + part.backwardScratchCount
        part.backward(
          q: operand(0), k: operand(1), v: operand(2), keyMask: mask, out: result, lse: extra(0), dout: resultGradient, dq: dq ?? spare,
          dk: dk ?? spare + unwanted[0], dv: dv ?? spare + unwanted[0] + unwanted[1], accumulates: false, scratch: scratch)
      }
    }
  }

  func rotaryForward() throws(ExecutionError) {
    let (x, y) = (operand(0), try newResult())
    forEachRotation { table, start, count, offset, shape in
      table.rotate(
        x + offset, into: y + offset, batch: shape.batch, start: start, count: count, heads: shape.heads,
        pitch: shape.pitch, headSize: shape.headSize)
    }
  }

  func rotaryBackward() throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let dy = resultGradient
    forEachRotation { table, start, count, offset, shape in
      table.rotateBack(
        dy + offset, into: dx + offset, batch: shape.batch, start: start, count: count, heads: shape.heads,
        pitch: shape.pitch, headSize: shape.headSize)
    }
  }

  /// Calls `body` for each run of successive positions of x [b, s, …, d], with their angles and the place of their first element.
  private func forEachRotation(
    _ body: (_ table: RotaryTable, _ start: Int, _ count: Int, _ offset: Int, _ shape: (batch: Int, pitch: Int, heads: Int, headSize: Int)) -> Void
  ) {
    let region = region(0)
    let heads = region[2..<region.count - 1].reduce(1) { $0 * $1.count }
    let shape = (batch: region[0].count, pitch: region[1].count, heads: heads, headSize: region[region.count - 1].count)
    for run in program.runs(region[1], of: 1, in: op.operands[0]) {
      let offset = (run.indices.lowerBound - region[1].lowerBound) * heads * shape.headSize
      // Of a generation one table for all positions, whose steps begin behind those before.
      let table = constants.rotaryTable(call.op, cache.map { 0..<$0.capacity } ?? run.positions, program)
      body(table, positionsBefore + run.positions.lowerBound, run.positions.count, offset, shape)
    }
  }
}

extension Program {
  /// The elements of each block of scratch memory that an operator takes beside its buffers, where they can be more than a row or two.
  func scratchCounts(of call: KernelCall) -> [Int] {
    switch graph.operators[call.op].kind {
    case .attention(let causal, _):
      let mask = call.operands.count == 4 ? [buffers[call.operands[3]].count] : []
      if let ring = AttentionRing(for: call, in: self) { return mask + [ring.scratchCount(of: call, in: self, causal: causal)] }
      let part = AttentionPart(for: call, in: self, causal: causal)
      if call.phase != .backward { return mask + [part.forwardScratchCount] }
      let unwanted = (0..<3).filter { call.operandGradients[$0] == nil }.map { buffers[call.operands[$0]].count }
      return mask + [part.backwardScratchCount + unwanted.reduce(0, +)]
    case .convolution(let stride, let padding): return [Convolution(for: call, in: self, stride: stride, padding: padding).scratchCount]
    case .expertLinear: return [ExpertProduct(for: call, in: self).scratchCount]
    default: return []
    }
  }
}

/// What operators need beside their operands and is the same at every call: made at the first, kept for the run.
final class OperatorConstants {
  private var tables: [(parameters: RotaryParameters, table: RotaryTable)] = []

  /// The angles for some positions of a rotary operator; one table for all that have the same.
  func rotaryTable(_ id: OperatorID, _ positions: Range<Int>, _ program: Program) -> RotaryTable {
    let op = program.graph.operators[id]
    guard case .rotary(let parameters) = op.kind else { preconditionFailure("\(op.name) is not a rotary embedding") }
    let headSize = program.graph.shape(op.result).last ?? 0
    let rotated = parameters.rotated ?? headSize
    if let known = tables.first(where: { $0.parameters == parameters && $0.table.positions == positions && $0.table.rotated == rotated }) {
      return known.table
    }
    let table = RotaryTable(positions: positions, inverseFrequencies: parameters.inverseFrequencies(headSize: headSize))
    tables.append((parameters, table))
    return table
  }
}
