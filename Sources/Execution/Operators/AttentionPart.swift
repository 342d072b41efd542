// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph

/// A rank's queries with some of the keys, all of theirs or one rank's on a ring.
struct AttentionPart {
  /// The keys, as indices of the whole sequence of keys.
  let keys: Range<Int>
  private let kernel: Attention

  /// - Parameter keys: those that `call` has as its operand unless given.
  init(for call: KernelCall, in program: Program, causal: Bool, keys: Range<Int>? = nil) {
    let query = program.buffers[call.operands[0]].region
    let (groups, headsPerGroup, headSize) = (query[2].count, query[3].count, query[4].count)
    self.keys = keys ?? program.buffers[call.operands[1]].region[1]
    kernel = Attention(
      batch: query[0].count, queries: query[1].count, keys: self.keys.count, heads: groups * headsPerGroup, kvHeads: groups, headDim: headSize,
      scale: 1 / Float(headSize).squareRoot(),
      visibility: causal ? .causal(queryStart: query[1].lowerBound, keyStart: self.keys.lowerBound) : .all)
  }

  var forwardScratchCount: Int { kernel.forwardScratchCount }
  var backwardScratchCount: Int { kernel.backwardScratchCount }

  /// - Parameter merges: out and lse hold results over other keys, and get those over these and the others together.
  func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, keyMask: UnsafePointer<UInt8>?, out: UnsafeMutablePointer<Float>,
    lse: UnsafeMutablePointer<Float>, merges: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    kernel.forward(q: q, k: k, v: v, keyMask: keyMask, out: out, lse: lse, merges: merges, scratch: scratch)
  }

  /// - Parameter accumulates: adds to dq, dk and dv, which hold the shares of other parts.
  func backward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, keyMask: UnsafePointer<UInt8>?, out: UnsafePointer<Float>,
    lse: UnsafePointer<Float>, dout: UnsafePointer<Float>, dq: UnsafeMutablePointer<Float>, dk: UnsafeMutablePointer<Float>,
    dv: UnsafeMutablePointer<Float>, accumulates: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    kernel.backward(
      q: q, k: k, v: v, keyMask: keyMask, out: out, lse: lse, dout: dout, dq: dq, dk: dk, dv: dv, accumulates: accumulates, scratch: scratch)
  }
}
