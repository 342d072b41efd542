// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph
import Strategies

/// A rank's queries with some of the keys, all of theirs or one rank's on a ring: a kernel for each run of successive positions of both.
struct AttentionPart {
  /// The keys, as indices along their axis.
  let keys: Range<Int>
  private let pieces: [Piece]
  private let queryRow: Int
  private let keyRow: Int
  private let heads: Int
  private let batch: Int
  private let queries: Int

  private struct Piece {
    let kernel: Attention
    /// Where its queries and its keys begin.
    let query: Int
    let key: Int
    /// Whether no piece before it has these queries.
    let isFirst: Bool
  }

  /// - Parameter keys: those that `call` has as its operand unless given.
  init(for call: KernelCall, in program: Program, causal: Bool, keys: Range<Int>? = nil) {
    let (query, key) = (program.buffers[call.operands[0]], program.buffers[call.operands[1]])
    let (groups, headsPerGroup, headSize) = (query.region[2].count, query.region[3].count, query.region[4].count)
    let (queries, keys) = (query.region[1], keys ?? key.region[1])
    self.keys = keys
    (heads, batch, self.queries) = (groups * headsPerGroup, query.region[0].count, queries.count)
    (queryRow, keyRow) = (heads * headSize, groups * headSize)
    // Without a mask nobody asks where a position is.
    func runs(_ indices: Range<Int>, of tensor: TensorID) -> [SequenceOrder.Run] {
      causal ? program.runs(indices, of: 1, in: tensor) : [SequenceOrder.Run(indices: indices, positions: indices)]
    }
    let keyRuns = runs(keys, of: key.tensor)
    pieces = runs(queries, of: query.tensor).flatMap { queryRun in
      keyRuns.enumerated().map { number, keyRun in
        Piece(
          kernel: Attention(
            batch: query.region[0].count, queries: queryRun.indices.count, keys: keyRun.indices.count, heads: groups * headsPerGroup,
            kvHeads: groups, headDim: headSize, scale: 1 / Float(headSize).squareRoot(),
            visibility: causal ? .causal(queryStart: queryRun.positions.lowerBound, keyStart: keyRun.positions.lowerBound) : .all,
            queryPitch: queries.count, keyPitch: keys.count),
          query: queryRun.indices.lowerBound - queries.lowerBound, key: keyRun.indices.lowerBound - keys.lowerBound, isFirst: number == 0)
      }
    }
  }

  var forwardScratchCount: Int { pieces.reduce(0) { max($0, $1.kernel.forwardScratchCount) } }
  var backwardScratchCount: Int { pieces.reduce(0) { max($0, $1.kernel.backwardScratchCount) } }

  /// - Parameter merges: out and lse hold results over other keys, and get those over these and the others together.
  func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, keyMask: UnsafePointer<UInt8>?, out: UnsafeMutablePointer<Float>,
    lse: UnsafeMutablePointer<Float>, merges: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    for piece in pieces {
      let (query, key) = (piece.query * queryRow, piece.key * keyRow)
      piece.kernel.forward(
        q: q + query, k: k + key, v: v + key, keyMask: keyMask.map { $0 + piece.key }, out: out + query, lse: lse + piece.query * heads,
        merges: merges || !piece.isFirst, scratch: scratch)
    }
  }

  /// - Parameter accumulates: adds to dq, dk and dv, which hold the shares of other parts.
  func backward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, keyMask: UnsafePointer<UInt8>?, out: UnsafePointer<Float>,
    lse: UnsafePointer<Float>, dout: UnsafePointer<Float>, dq: UnsafeMutablePointer<Float>, dk: UnsafeMutablePointer<Float>,
    dv: UnsafeMutablePointer<Float>, accumulates: Bool, scratch: UnsafeMutablePointer<Float>
  ) {
    if !accumulates && pieces.count > 1 {
      Elementwise.fill(dq, count: batch * queries * queryRow, with: 0)
      Elementwise.fill(dk, count: batch * keys.count * keyRow, with: 0)
      Elementwise.fill(dv, count: batch * keys.count * keyRow, with: 0)
    }
    for piece in pieces {
      let (query, key) = (piece.query * queryRow, piece.key * keyRow)
      piece.kernel.backward(
        q: q + query, k: k + key, v: v + key, keyMask: keyMask.map { $0 + piece.key }, out: out + query, lse: lse + piece.query * heads,
        dout: dout + query, dq: dq + query, dk: dk + key, dv: dv + key, accumulates: accumulates || pieces.count > 1, scratch: scratch)
    }
  }
}
