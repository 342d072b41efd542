// SPDX-License-Identifier: GPL-3.0-or-later

extension Attention {
  /// Floats that `backward` needs as scratch.
  package var backwardScratchCount: Int { blockRows * (3 * headDim + 2 * keyBlock + 2) }

  /// Overwrites dq, dk and dv, from forward's operands and results and the gradient of out.
  ///
  /// Block by block it makes the probabilities again, P = exp(scale Q Kᵀ - lse), and with D = rowsum(dout × out):
  /// dV = Pᵀ dO, dS = P × (dO Vᵀ - D), dQ = scale dS K, dK = scale dSᵀ Q. dk and dv are sums over the group's query heads.
  /// `out` and `lse` may be those of a softmax over more keys than these (one step of a ring): the gradients are then these
  /// keys' share.
  ///
  /// - Parameter accumulates: adds to dq, dk and dv instead.
  package func backward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, keyMask: UnsafePointer<UInt8>? = nil,
    out: UnsafePointer<Float>, lse: UnsafePointer<Float>, dout: UnsafePointer<Float>, dq: UnsafeMutablePointer<Float>,
    dk: UnsafeMutablePointer<Float>, dv: UnsafeMutablePointer<Float>, accumulates: Bool = false, scratch: UnsafeMutablePointer<Float>
  ) {
    let packedQ = scratch
    let packedDout = packedQ + blockRows * headDim
    let packedDq = packedDout + blockRows * headDim
    let probabilities = packedDq + blockRows * headDim
    let gradients = probabilities + blockRows * keyBlock
    let normalisers = gradients + blockRows * keyBlock
    let projections = normalisers + blockRows
    for sample in 0..<batch {
      let mask = keyMask.map { $0 + sample * keyPitch }
      // Every query block adds its share.
      if !accumulates {
        (dk + sample * keyPitch * keyRowStride).update(repeating: 0, count: keys * keyRowStride)
        (dv + sample * keyPitch * keyRowStride).update(repeating: 0, count: keys * keyRowStride)
      }
      for kvHead in 0..<kvHeads {
        let keyOffset = sample * keyPitch * keyRowStride + kvHead * headDim
        for start in stride(from: 0, to: queries, by: queryBlock) {
          let positions = start..<min(start + queryBlock, queries)
          let limit = visibleKeys(positions.upperBound - 1)
          if accumulates && limit == 0 { continue }
          let rows = positions.count * group
          pack(q, into: packedQ, sample: sample, kvHead: kvHead, positions: positions)
          pack(dout, into: packedDout, sample: sample, kvHead: kvHead, positions: positions)
          rowStatistics(packedDout, out, lse, normalisers, projections, sample: sample, kvHead: kvHead, positions: positions)
          if accumulates {
            pack(UnsafePointer(dq), into: packedDq, sample: sample, kvHead: kvHead, positions: positions)
          } else {
            packedDq.update(repeating: 0, count: rows * headDim)
          }
          for firstKey in stride(from: 0, to: limit, by: keyBlock) {
            let columns = min(keyBlock, limit - firstKey)
            let offset = keyOffset + firstKey * keyRowStride
            BLAS.gemm(
              .no, .yes, m: rows, n: columns, k: headDim, alpha: scale, a: packedQ, lda: headDim, b: k + offset, ldb: keyRowStride,
              c: probabilities, ldc: columns)
            if let mask { hide(mask + firstKey, probabilities, rows: rows, columns: columns) }
            BLAS.gemm(
              .no, .yes, m: rows, n: columns, k: headDim, a: packedDout, lda: headDim, b: v + offset, ldb: keyRowStride,
              c: gradients, ldc: columns)
            softmaxBackward(
              probabilities, gradients, normalisers, projections, positions: positions, firstKey: firstKey, columns: columns)
            BLAS.gemm(
              .yes, .no, m: columns, n: headDim, k: rows, a: probabilities, lda: columns, b: packedDout, ldb: headDim, beta: 1,
              c: dv + offset, ldc: keyRowStride)
            BLAS.gemm(
              .yes, .no, m: columns, n: headDim, k: rows, alpha: scale, a: gradients, lda: columns, b: packedQ, ldb: headDim,
              beta: 1, c: dk + offset, ldc: keyRowStride)
            BLAS.gemm(
              .no, .no, m: rows, n: headDim, k: columns, alpha: scale, a: gradients, lda: columns, b: k + offset,
              ldb: keyRowStride, beta: 1, c: packedDq, ldc: headDim)
          }
          unpack(packedDq, into: dq, sample: sample, kvHead: kvHead, positions: positions)
        }
      }
    }
  }

  /// Per packed row its lse and D = Σ dout × out.
  private func rowStatistics(
    _ packedDout: UnsafePointer<Float>, _ out: UnsafePointer<Float>, _ lse: UnsafePointer<Float>,
    _ normalisers: UnsafeMutablePointer<Float>, _ projections: UnsafeMutablePointer<Float>, sample: Int, kvHead: Int,
    positions: Range<Int>
  ) {
    var row = 0
    for position in positions {
      let index = (sample * queryPitch + position) * heads + kvHead * group
      for head in 0..<group {
        let line = packedDout + row * headDim
        let outLine = out + (index + head) * headDim
        var sum = Lanes.zero
        forEachLanes(headDim) { j, n in sum.addProduct(line.lanes(j, n), outLine.lanes(j, n)) }
        normalisers[row] = lse[index + head]
        projections[row] = sum.pairwiseSum()
        row += 1
      }
    }
  }

  /// Scores become probabilities, and dP becomes dS = P × (dP - D); both 0 where a key is not visible.
  private func softmaxBackward(
    _ probabilities: UnsafeMutablePointer<Float>, _ gradients: UnsafeMutablePointer<Float>, _ normalisers: UnsafePointer<Float>,
    _ projections: UnsafePointer<Float>, positions: Range<Int>, firstKey: Int, columns: Int
  ) {
    var row = 0
    for position in positions {
      let inRange = max(0, min(columns, visibleKeys(position) - firstKey))
      for _ in 0..<group {
        let p = probabilities + row * columns
        let d = gradients + row * columns
        let normaliser = normalisers[row]
        let projection = projections[row]
        // -inf: the query saw no key at all.
        let visible = normaliser == -.infinity ? 0 : inRange
        forEachLanes(visible) { j, n in
          let probability = (p.lanes(j, n) - normaliser).exp()
          p.store(probability, j, n)
          d.store(probability * (d.lanes(j, n) - projection), j, n)
        }
        (p + visible).update(repeating: 0, count: columns - visible)
        (d + visible).update(repeating: 0, count: columns - visible)
        row += 1
      }
    }
  }
}
