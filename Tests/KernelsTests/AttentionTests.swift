// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

/// Oracle: attention by its definition in double precision, and its gradient by the chain rule, key by key.
struct AttentionTests {
  struct Case: CustomTestStringConvertible, Sendable {
    var batch = 1
    var queries: Int
    var keys: Int
    var heads: Int
    var kvHeads: Int
    var headDim: Int
    var visibility = Attention.Visibility.all
    var masked = false
    var extraPitch = 0
    var queryBlock: Int?
    var keyBlock: Int?

    var testDescription: String {
      "b\(batch) \(queries)×\(keys) h\(heads)/\(kvHeads) d\(headDim) \(visibility) mask \(masked) pitch +\(extraPitch)"
    }

    var attention: Attention {
      Attention(
        batch: batch, queries: queries, keys: keys, heads: heads, kvHeads: kvHeads, headDim: headDim,
        scale: 1 / Float(headDim).squareRoot(), visibility: visibility, queryPitch: queries + extraPitch, keyPitch: keys + extraPitch,
        queryBlock: queryBlock, keyBlock: keyBlock)
    }

    func sees(_ i: Int, _ j: Int) -> Bool {
      switch visibility {
      case .all: true
      case .causal(let queryStart, let keyStart): keyStart + j <= queryStart + i
      }
    }
  }

  static let cases = [
    Case(queries: 5, keys: 7, heads: 2, kvHeads: 2, headDim: 8),
    Case(batch: 2, queries: 9, keys: 9, heads: 4, kvHeads: 2, headDim: 12, visibility: .causal(queryStart: 0, keyStart: 0)),
    Case(queries: 70, keys: 70, heads: 1, kvHeads: 1, headDim: 16, visibility: .causal(queryStart: 0, keyStart: 0)),
    Case(
      queries: 33, keys: 41, heads: 2, kvHeads: 1, headDim: 8, visibility: .causal(queryStart: 8, keyStart: 0), queryBlock: 4, keyBlock: 16),
    // Sequence shards: later queries, and keys of which the first queries see none.
    Case(queries: 8, keys: 24, heads: 2, kvHeads: 2, headDim: 5, visibility: .causal(queryStart: 16, keyStart: 0), keyBlock: 8),
    Case(queries: 12, keys: 10, heads: 3, kvHeads: 1, headDim: 9, visibility: .causal(queryStart: 3, keyStart: 7), queryBlock: 4),
    Case(queries: 4, keys: 6, heads: 2, kvHeads: 2, headDim: 8, visibility: .causal(queryStart: 0, keyStart: 50)),
    Case(batch: 3, queries: 6, keys: 13, heads: 2, kvHeads: 2, headDim: 8, masked: true, keyBlock: 4),
    Case(
      batch: 2, queries: 17, keys: 17, heads: 4, kvHeads: 1, headDim: 8, visibility: .causal(queryStart: 0, keyStart: 0), masked: true,
      extraPitch: 3, queryBlock: 5, keyBlock: 6),
    Case(batch: 2, queries: 3, keys: 4, heads: 2, kvHeads: 2, headDim: 8, extraPitch: 2),
  ]

  @Test(arguments: cases)
  func forwardAndBackward(_ test: Case) {
    let attention = test.attention
    var samples = SeededGenerator(seed: 11)
    let (queryPitch, keyPitch) = (attention.queryPitch, attention.keyPitch)
    let queryCount = test.batch * queryPitch * test.heads * test.headDim
    let keyCount = test.batch * keyPitch * test.kvHeads * test.headDim
    let q = samples.floats(queryCount, in: -2...2)
    let (k, v) = (samples.floats(keyCount, in: -2...2), samples.floats(keyCount))
    let dout = samples.floats(queryCount)
    // Sample 1 hides all its keys, the others about a third.
    let mask: [UInt8]? =
      test.masked
      ? (0..<test.batch * keyPitch).map { $0 / keyPitch == 1 ? 0 : samples.int(0...2) == 0 ? 0 : 1 } : nil
    let expected = reference(test, q: q, k: k, v: v, dout: dout, mask: mask)

    // 77 where nothing may be written.
    var out = [Float](repeating: 77, count: queryCount)
    var lse = [Float](repeating: 77, count: test.batch * queryPitch * test.heads)
    var scratch = [Float](repeating: .nan, count: attention.forwardScratchCount)
    attention.forward(q: q, k: k, v: v, keyMask: mask, out: &out, lse: &lse, scratch: &scratch)
    // Scores: headDim products of at most 4 · scale, so errors below (headDim + 4) ε √headDim · 4; they scale probabilities.
    let root = Double(test.headDim).squareRoot()
    let scoreError = 4 * root * Double(test.headDim + 4) * epsilon / 2
    #expect(worstError(out, expected.out) <= scoreError + 8 * epsilon)
    #expect(worstError(lse, expected.lse) <= scoreError + 16 * epsilon)

    var dq = [Float](repeating: 77, count: queryCount)
    var (dk, dv) = ([Float](repeating: 77, count: keyCount), [Float](repeating: 77, count: keyCount))
    var more = [Float](repeating: .nan, count: attention.backwardScratchCount)
    attention.backward(
      q: q, k: k, v: v, keyMask: mask, out: out, lse: lse, dout: dout, dq: &dq, dk: &dk, dv: &dv, scratch: &more)
    // dP and D are sums of headDim values below 1, and enter with probabilities that sum to 1 over a row.
    let slopeError = 2 * Double(test.headDim) * (2 * scoreError + 16 * epsilon)
    let rowsPerKey = Double(test.queries * test.heads / test.kvHeads)
    #expect(worstError(dq, expected.dq) <= slopeError)
    #expect(worstError(dk, expected.dk) <= slopeError * rowsPerKey.squareRoot())
    #expect(worstError(dv, expected.dv) <= (2 * scoreError + 16 * epsilon) * rowsPerKey)
  }

  /// The chain-rule oracle itself, against central differences.
  @Test func referenceGradientIsTheDifferenceQuotient() {
    let test = Case(queries: 3, keys: 4, heads: 2, kvHeads: 1, headDim: 3, visibility: .causal(queryStart: 1, keyStart: 0))
    var samples = SeededGenerator(seed: 5)
    let (q, k, v, dout) = (samples.floats(18), samples.floats(12), samples.floats(12), samples.floats(18))
    let expected = reference(test, q: q, k: k, v: v, dout: dout, mask: nil)
    func loss(_ q: [Double], _ k: [Double], _ v: [Double]) -> Double { dot(forward(test, q: q, k: k, v: v, mask: nil).out, dout.doubles) }
    let dq = centralDifferences(q.doubles) { loss($0, k.doubles, v.doubles) }
    let dk = centralDifferences(k.doubles) { loss(q.doubles, $0, v.doubles) }
    let dv = centralDifferences(v.doubles) { loss(q.doubles, k.doubles, $0) }
    for (a, b) in zip(expected.dq + expected.dk + expected.dv, dq + dk + dv) { #expect(abs(a - b) <= 1e-8) }
  }

  /// Ring attention: with the whole softmax's out and lse, the gradients of two halves of the keys add up to the whole's.
  @Test func gradientsOfKeyChunksAddUp() {
    let (keys, width) = (16, 2 * 8)
    let whole = Case(queries: 6, keys: keys, heads: 2, kvHeads: 2, headDim: 8).attention
    let half = Case(queries: 6, keys: keys / 2, heads: 2, kvHeads: 2, headDim: 8).attention
    var samples = SeededGenerator(seed: 9)
    let (q, k, v, dout) = (samples.floats(6 * width), samples.floats(keys * width), samples.floats(keys * width), samples.floats(6 * width))
    var (out, lse) = (q, [Float](repeating: 0, count: 12))
    var scratch = [Float](repeating: 0, count: whole.backwardScratchCount)
    whole.forward(q: q, k: k, v: v, out: &out, lse: &lse, scratch: &scratch)
    var (dq, dk, dv) = (q, k, v)
    whole.backward(q: q, k: k, v: v, out: out, lse: lse, dout: dout, dq: &dq, dk: &dk, dv: &dv, scratch: &scratch)
    var sum = [Float](repeating: 0, count: q.count)
    for chunk in 0..<2 {
      let range = chunk * k.count / 2..<(chunk + 1) * k.count / 2
      var (dqPart, dkPart, dvPart) = (q, Array(k[range]), Array(v[range]))
      half.backward(
        q: q, k: Array(k[range]), v: Array(v[range]), out: out, lse: lse, dout: dout, dq: &dqPart, dk: &dkPart, dv: &dvPart,
        scratch: &scratch)
      Elementwise.accumulate(dqPart, into: &sum, count: q.count)
      #expect(worstError(dkPart, dk[range].map(Double.init)) <= 32 * epsilon)
      #expect(worstError(dvPart, dv[range].map(Double.init)) <= 32 * epsilon)
    }
    #expect(worstError(sum, dq.doubles) <= 32 * epsilon)
  }

  /// One step of a ring after the other, in any order: results merge, and gradients add up, to those over all keys.
  @Test(arguments: cases, [(blocks: 2, reversed: false), (3, true)])
  func keyBlocksMergeToTheWhole(_ test: Case, ring: (blocks: Int, reversed: Bool)) {
    let whole = test.attention
    var samples = SeededGenerator(seed: 13)
    let queryCount = test.batch * whole.queryPitch * test.heads * test.headDim
    let (keyCount, width) = (test.batch * whole.keyPitch * test.kvHeads * test.headDim, test.kvHeads * test.headDim)
    let q = samples.floats(queryCount, in: -2...2)
    let (k, v) = (samples.floats(keyCount, in: -2...2), samples.floats(keyCount))
    let dout = samples.floats(queryCount)
    let mask: [UInt8]? = test.masked ? (0..<test.batch * whole.keyPitch).map { _ in samples.int(0...2) == 0 ? 0 : 1 } : nil
    let expected = reference(test, q: q, k: k, v: v, dout: dout, mask: mask)
    let ranges = (0..<ring.blocks).map { $0 * test.keys / ring.blocks..<($0 + 1) * test.keys / ring.blocks }
    let parts = (ring.reversed ? ranges.reversed() : ranges).map { range -> (keys: Range<Int>, attention: Attention) in
      var visibility = test.visibility
      if case .causal(let queryStart, let keyStart) = visibility {
        visibility = .causal(queryStart: queryStart, keyStart: keyStart + range.lowerBound)
      }
      return (
        range,
        Attention(
          batch: test.batch, queries: test.queries, keys: range.count, heads: test.heads, kvHeads: test.kvHeads, headDim: test.headDim,
          scale: whole.scale, visibility: visibility, queryPitch: whole.queryPitch, keyPitch: whole.keyPitch, queryBlock: test.queryBlock,
          keyBlock: test.keyBlock)
      )
    }

    var out = [Float](repeating: 77, count: queryCount)
    var lse = [Float](repeating: 77, count: queryCount / test.headDim)
    // 77 where nothing may be written, 0 where shares are added.
    func zeros(_ expected: [Double]) -> [Float] { expected.map { $0 == 77 ? 77 : 0 } }
    var (dq, dk, dv) = (zeros(expected.dq), zeros(expected.dk), zeros(expected.dv))
    withKeys(k, v, mask) { k, v, mask in
      for (step, part) in parts.enumerated() {
        var scratch = [Float](repeating: .nan, count: part.attention.forwardScratchCount)
        let start = part.keys.lowerBound
        part.attention.forward(
          q: q, k: k + start * width, v: v + start * width, keyMask: mask.map { $0 + start }, out: &out, lse: &lse, merges: step > 0,
          scratch: &scratch)
      }
      dk.withUnsafeMutableBufferPointer { dk in
        dv.withUnsafeMutableBufferPointer { dv in
          for part in parts {
            var scratch = [Float](repeating: .nan, count: part.attention.backwardScratchCount)
            let start = part.keys.lowerBound
            part.attention.backward(
              q: q, k: k + start * width, v: v + start * width, keyMask: mask.map { $0 + start }, out: out, lse: lse, dout: dout, dq: &dq,
              dk: dk.baseAddress! + start * width, dv: dv.baseAddress! + start * width, accumulates: true, scratch: &scratch)
          }
        }
      }
    }
    // As in `forwardAndBackward`; each merge scales by two exponentials and a quotient more.
    let scoreError = 4 * Double(test.headDim).squareRoot() * Double(test.headDim + 4) * epsilon / 2
    let merged = Double(ring.blocks) * 8 * epsilon
    #expect(worstError(out, expected.out) <= scoreError + 8 * epsilon + merged)
    #expect(worstError(lse, expected.lse) <= scoreError + 16 * epsilon + merged)
    let slopeError = 2 * Double(test.headDim) * (2 * scoreError + 16 * epsilon + merged)
    let rowsPerKey = Double(test.queries * test.heads / test.kvHeads)
    #expect(worstError(dq, expected.dq) <= slopeError)
    #expect(worstError(dk, expected.dk) <= slopeError * rowsPerKey.squareRoot())
    #expect(worstError(dv, expected.dv) <= (2 * scoreError + 16 * epsilon + merged) * rowsPerKey)
  }

  private func withKeys(
    _ k: [Float], _ v: [Float], _ mask: [UInt8]?, _ body: (UnsafePointer<Float>, UnsafePointer<Float>, UnsafePointer<UInt8>?) -> Void
  ) {
    k.withUnsafeBufferPointer { k in
      v.withUnsafeBufferPointer { v in
        (mask ?? []).withUnsafeBufferPointer { bytes in body(k.baseAddress!, v.baseAddress!, mask == nil ? nil : bytes.baseAddress) }
      }
    }
  }

  // MARK: The definition

  private func forward(_ test: Case, q: [Double], k: [Double], v: [Double], mask: [UInt8]?) -> (
    out: [Double], lse: [Double], probability: [[Double]]
  ) {
    let (attention, d) = (test.attention, test.headDim)
    var out = [Double](repeating: 77, count: q.count)
    var lse = [Double](repeating: 77, count: q.count / d)
    var probability = [[Double]](repeating: [], count: q.count / d)
    for (b, i, h) in rows(test) {
      let row = (b * attention.queryPitch + i) * test.heads + h
      var score = [Double](repeating: -.infinity, count: test.keys)
      for j in 0..<test.keys where test.sees(i, j) && (mask?[b * attention.keyPitch + j] ?? 1) != 0 {
        let key = keyOffset(test, b, j, h)
        score[j] = (0..<d).reduce(0) { $0 + q[row * d + $1] * k[key + $1] } * Double(attention.scale)
      }
      let maximum = score.max() ?? -.infinity
      let sum = maximum == -.infinity ? 0 : score.reduce(0) { $0 + exp($1 - maximum) }
      lse[row] = maximum + log(sum)
      probability[row] = sum == 0 ? score.map { _ in 0 } : score.map { exp($0 - maximum) / sum }
      for c in 0..<d { out[row * d + c] = (0..<test.keys).reduce(0) { $0 + probability[row][$1] * v[keyOffset(test, b, $1, h) + c] } }
    }
    return (out, lse, probability)
  }

  private func reference(_ test: Case, q: [Float], k: [Float], v: [Float], dout: [Float], mask: [UInt8]?) -> (
    out: [Double], lse: [Double], dq: [Double], dk: [Double], dv: [Double]
  ) {
    let d = test.headDim
    let (out, lse, probability) = forward(test, q: q.doubles, k: k.doubles, v: v.doubles, mask: mask)
    var dq = [Double](repeating: 77, count: q.count)
    var (dk, dv) = ([Double](repeating: 77, count: k.count), [Double](repeating: 77, count: k.count))
    let rowWidth = test.kvHeads * d
    for b in 0..<test.batch {
      for e in 0..<test.keys * rowWidth {
        dk[b * test.attention.keyPitch * rowWidth + e] = 0
        dv[b * test.attention.keyPitch * rowWidth + e] = 0
      }
    }
    for (b, i, h) in rows(test) {
      let row = (b * test.attention.queryPitch + i) * test.heads + h
      for c in 0..<d { dq[row * d + c] = 0 }
      let projection = (0..<d).reduce(0.0) { $0 + out[row * d + $1] * Double(dout[row * d + $1]) }
      for j in 0..<test.keys {
        let (key, p) = (keyOffset(test, b, j, h), probability[row][j])
        let slope = (0..<d).reduce(0.0) { $0 + Double(v[key + $1]) * Double(dout[row * d + $1]) }
        let dscore = p * (slope - projection) * Double(test.attention.scale)
        for c in 0..<d {
          dq[row * d + c] += dscore * Double(k[key + c])
          dk[key + c] += dscore * Double(q[row * d + c])
          dv[key + c] += p * Double(dout[row * d + c])
        }
      }
    }
    return (out, lse, dq, dk, dv)
  }

  private func rows(_ test: Case) -> [(Int, Int, Int)] {
    (0..<test.batch).flatMap { b in (0..<test.queries).flatMap { i in (0..<test.heads).map { (b, i, $0) } } }
  }

  private func keyOffset(_ test: Case, _ b: Int, _ j: Int, _ head: Int) -> Int {
    ((b * test.attention.keyPitch + j) * test.kvHeads + head / (test.heads / test.kvHeads)) * test.headDim
  }
}
