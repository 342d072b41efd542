// SPDX-License-Identifier: GPL-3.0-or-later

/// Scaled dot-product attention, multi-head or grouped-query, in blocks: the score matrix is never whole in memory
/// (Rabe & Staats 2021; Dao et al. 2022, whose online softmax and recomputing backward these are).
///
/// Tensors are contiguous: q, out and their gradients [batch, queries, heads, headDim]; k, v and theirs
/// [batch, keys, kvHeads, headDim]; the key mask [batch, keys], 0 = hidden; lse [batch, queries, heads]. Query head h reads
/// kv head h / (heads / kvHeads). A query that sees no key gives 0 and lse = -inf.
package struct Attention: Sendable, Equatable {
  /// Which keys a query may see, the key mask aside.
  package enum Visibility: Sendable, Equatable {
    case all
    /// Query i, at position `queryStart` + i, sees key j, at position `keyStart` + j, if that is not later.
    case causal(queryStart: Int, keyStart: Int)
  }

  package let batch: Int
  package let queries: Int
  package let keys: Int
  package let heads: Int
  package let kvHeads: Int
  package let headDim: Int
  package let scale: Float
  package let visibility: Visibility
  /// Positions between successive samples of q, out and lse (≥ `queries`), and of k, v and the mask (≥ `keys`): a chunk of a
  /// longer sequence is worked on where it lies.
  package let queryPitch: Int
  package let keyPitch: Int

  /// Positions per query block, so that a block has about `rowsPerBlock` rows (position × query head of one kv head).
  let queryBlock: Int
  let keyBlock: Int

  /// The most positions in a block of queries under a causal mask.
  package static let causalBlock = 64

  // Measured on Zen 3 (512 KiB L2) over 32…192 rows and 64…1024 keys: longer blocks make faster products as long as the
  // scores stay in L2, but half of a causal sequence's diagonal block is waste.
  private static let rowsPerBlock = 128
  private static let causalPositionsPerBlock = causalBlock
  private static let keysPerBlock = 512

  /// - Parameters:
  ///   - scale: factor of the scores, usually 1 / √headDim.
  ///   - queryPitch: `queries` unless given.
  ///   - keyPitch: `keys` unless given.
  ///   - queryBlock: positions of a block of queries; chosen unless given.
  ///   - keyBlock: keys of a block; chosen unless given.
  package init(
    batch: Int, queries: Int, keys: Int, heads: Int, kvHeads: Int, headDim: Int, scale: Float, visibility: Visibility,
    queryPitch: Int? = nil, keyPitch: Int? = nil, queryBlock: Int? = nil, keyBlock: Int? = nil
  ) {
    precondition(kvHeads > 0 && heads % kvHeads == 0, "query heads are a multiple of kv heads")
    self.batch = batch
    self.queries = queries
    self.keys = keys
    self.heads = heads
    self.kvHeads = kvHeads
    self.headDim = headDim
    self.scale = scale
    self.visibility = visibility
    self.queryPitch = queryPitch ?? queries
    self.keyPitch = keyPitch ?? keys
    let longest = visibility == .all ? Self.rowsPerBlock : Self.causalPositionsPerBlock
    self.queryBlock = max(1, min(queries, queryBlock ?? min(longest, Self.rowsPerBlock / (heads / kvHeads))))
    self.keyBlock = max(1, min(keys, keyBlock ?? Self.keysPerBlock))
  }

  /// Query heads of one kv head.
  var group: Int { heads / kvHeads }
  /// Rows of a full block: (position, query head of the group).
  var blockRows: Int { queryBlock * group }
  var queryRowStride: Int { heads * headDim }
  var keyRowStride: Int { kvHeads * headDim }

  /// How many of the keys, from 0, the query `i` can see.
  @inline(__always)
  func visibleKeys(_ i: Int) -> Int {
    switch visibility {
    case .all: keys
    case .causal(let queryStart, let keyStart): max(0, min(keys, i + queryStart - keyStart + 1))
    }
  }

  /// Floats that `forward` needs as scratch.
  package var forwardScratchCount: Int { blockRows * (2 * headDim + keyBlock + 2) }

  /// Writes out and lse, lse[b, i, h] = log Σ_j exp(scale q·k_j) over the visible keys.
  ///
  /// - Parameter merges: out and lse hold the results over other keys, and get those over these and the others together.
  package func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, keyMask: UnsafePointer<UInt8>? = nil,
    out: UnsafeMutablePointer<Float>, lse: UnsafeMutablePointer<Float>, merges: Bool = false, scratch: UnsafeMutablePointer<Float>
  ) {
    let packedQ = scratch
    let accumulator = packedQ + blockRows * headDim
    let scores = accumulator + blockRows * headDim
    let maxima = scores + blockRows * keyBlock
    let sums = maxima + blockRows
    for sample in 0..<batch {
      let mask = keyMask.map { $0 + sample * keyPitch }
      for kvHead in 0..<kvHeads {
        let keyOffset = sample * keyPitch * keyRowStride + kvHead * headDim
        for start in stride(from: 0, to: queries, by: queryBlock) {
          let positions = start..<min(start + queryBlock, queries)
          let limit = visibleKeys(positions.upperBound - 1)
          if merges && limit == 0 { continue }
          let rows = positions.count * group
          pack(q, into: packedQ, sample: sample, kvHead: kvHead, positions: positions)
          accumulator.update(repeating: 0, count: rows * headDim)
          maxima.update(repeating: -.infinity, count: rows)
          sums.update(repeating: 0, count: rows)
          for firstKey in stride(from: 0, to: limit, by: keyBlock) {
            let columns = min(keyBlock, limit - firstKey)
            let offset = keyOffset + firstKey * keyRowStride
            BLAS.gemm(
              .no, .yes, m: rows, n: columns, k: headDim, alpha: scale, a: packedQ, lda: headDim, b: k + offset, ldb: keyRowStride,
              c: scores, ldc: columns)
            if let mask { hide(mask + firstKey, scores, rows: rows, columns: columns) }
            softmaxStep(scores, accumulator, maxima, sums, positions: positions, firstKey: firstKey, columns: columns)
            BLAS.gemm(
              .no, .no, m: rows, n: headDim, k: columns, a: scores, lda: columns, b: v + offset, ldb: keyRowStride, beta: 1,
              c: accumulator, ldc: headDim)
          }
          if merges {
            merge(accumulator, maxima, sums, out, lse, sample: sample, kvHead: kvHead, positions: positions)
          } else {
            finish(accumulator, maxima, sums, out, lse, sample: sample, kvHead: kvHead, positions: positions)
          }
        }
      }
    }
  }

  /// Online softmax: scores become exp(score - running maximum), and what is summed so far is rescaled where the maximum grew.
  private func softmaxStep(
    _ scores: UnsafeMutablePointer<Float>, _ accumulator: UnsafeMutablePointer<Float>, _ maxima: UnsafeMutablePointer<Float>,
    _ sums: UnsafeMutablePointer<Float>, positions: Range<Int>, firstKey: Int, columns: Int
  ) {
    var row = 0
    for position in positions {
      let visible = max(0, min(columns, visibleKeys(position) - firstKey))
      for _ in 0..<group {
        let line = scores + row * columns
        let before = maxima[row]
        let maximum = max(before, maximumLanes(line, count: visible))
        if maximum == -.infinity {
          line.update(repeating: 0, count: columns)
        } else {
          if maximum > before && sums[row] > 0 {
            let factor = Lanes(repeating: before - maximum).exp()[0]
            sums[row] *= factor
            Elementwise.scale(accumulator + row * headDim, by: factor, into: accumulator + row * headDim, count: headDim)
          }
          maxima[row] = maximum
          var sum = Lanes.zero
          forEachLanes(visible) { j, n in
            let p = (line.lanes(j, n, padding: -.infinity) - maximum).exp()
            sum += p
            line.store(p, j, n)
          }
          sums[row] += sum.pairwiseSum()
          (line + visible).update(repeating: 0, count: columns - visible)
        }
        row += 1
      }
    }
  }

  /// out = accumulator / sum, lse = maximum + log sum.
  private func finish(
    _ accumulator: UnsafePointer<Float>, _ maxima: UnsafePointer<Float>, _ sums: UnsafePointer<Float>,
    _ out: UnsafeMutablePointer<Float>, _ lse: UnsafeMutablePointer<Float>, sample: Int, kvHead: Int, positions: Range<Int>
  ) {
    forEachRow(sample: sample, kvHead: kvHead, positions: positions) { row, index in
      let sum = sums[row]
      let factor = sum == 0 ? 0 : 1 / sum
      Elementwise.scale(accumulator + row * headDim, by: factor, into: out + index * headDim, count: headDim)
      lse[index] = sum == 0 ? -.infinity : maxima[row] + logarithm(sum)
    }
  }

  /// Joins what was summed here with results over other keys: with both under their common maximum M, the sums are s = sum · exp(maximum − M) and
  /// s′ = exp(lse − M), so out = (out · s′ + accumulator · exp(maximum − M)) / (s + s′).
  private func merge(
    _ accumulator: UnsafePointer<Float>, _ maxima: UnsafePointer<Float>, _ sums: UnsafePointer<Float>,
    _ out: UnsafeMutablePointer<Float>, _ lse: UnsafeMutablePointer<Float>, sample: Int, kvHead: Int, positions: Range<Int>
  ) {
    forEachRow(sample: sample, kvHead: kvHead, positions: positions) { row, index in
      // A row that sees no key here stays as it is.
      guard sums[row] > 0 else { return }
      let known = lse[index]
      let maximum = max(known, maxima[row])
      let (old, new) = (Lanes(repeating: known - maximum).exp()[0], Lanes(repeating: maxima[row] - maximum).exp()[0])
      let sum = old + sums[row] * new
      let line = out + index * headDim
      let added = accumulator + row * headDim
      forEachLanes(headDim) { j, n in line.store(line.lanes(j, n) * (old / sum) + added.lanes(j, n) * (new / sum), j, n) }
      lse[index] = maximum + logarithm(sum)
    }
  }

  /// For each row of a block of queries its place among all rows of the result.
  @inline(__always)
  private func forEachRow(sample: Int, kvHead: Int, positions: Range<Int>, _ body: (_ row: Int, _ index: Int) -> Void) {
    var row = 0
    for position in positions {
      let index = (sample * queryPitch + position) * heads + kvHead * group
      for head in 0..<group {
        body(row, index + head)
        row += 1
      }
    }
  }
}
