// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Rates of the kernels on one core: GFLOP/s of matrix products and attention, GB/s of what is bound by memory.
///
///     OPENBLAS_NUM_THREADS=1 swift run -c release KernelBenchmark [WORD…]     only the lines that contain a word
@main
struct KernelBenchmark {
  static func main() {
    BLAS.setThreads(1)
    print("OpenBLAS kernel: \(BLAS.kernelName())")
    let bench = Measurement(filters: Array(CommandLine.arguments.dropFirst()))
    products(bench)
    attention(bench)
    elementwise(bench)
    norms(bench)
    losses(bench)
    generators(bench)
  }

  static func products(_ bench: Measurement) {
    for (m, n, k) in [(512, 3072, 768), (512, 768, 3072), (1024, 4096, 1024), (2048, 2048, 2048), (64, 256, 64), (64, 64, 256)] {
      let (a, b, c) = (Buffer(m * k), Buffer(n * k), Buffer(m * n))
      bench.rate("sgemm \(m)x\(n)x\(k)", 2e-9 * Double(m * n * k), "GFLOP/s") {
        BLAS.gemm(.no, .no, m: m, n: n, k: k, a: a.base, lda: k, b: b.base, ldb: n, c: c.base, ldc: n)
      }
    }
  }

  /// FLOPs: forward 4 b h s² d, backward 2.5 times that, both halved for a causal mask.
  static func attention(_ bench: Measurement) {
    for (b, s, h, kv, d, causal) in [
      (2, 256, 12, 12, 64, true), (2, 512, 16, 16, 64, true), (2, 512, 16, 4, 64, true), (1, 2048, 16, 16, 64, true),
      (1, 1024, 16, 2, 128, true), (2, 197, 12, 12, 64, false), (2, 512, 16, 16, 64, false),
    ] {
      let shape = Attention(
        batch: b, queries: s, keys: s, heads: h, kvHeads: kv, headDim: d, scale: 0.125,
        visibility: causal ? .causal(queryStart: 0, keyStart: 0) : .all)
      let (q, k, v) = (Buffer(b * s * h * d), Buffer(b * s * kv * d), Buffer(b * s * kv * d))
      let (out, lse, dout) = (Buffer(b * s * h * d), Buffer(b * s * h), Buffer(b * s * h * d))
      let (dq, dk, dv) = (Buffer(b * s * h * d), Buffer(b * s * kv * d), Buffer(b * s * kv * d))
      let scratch = Buffer(max(shape.forwardScratchCount, shape.backwardScratchCount))
      let flops = 4e-9 * Double(b * h * d * s * s) * (causal ? 0.5 : 1)
      let name = "b\(b) s\(s) h\(h)/\(kv) d\(d) \(causal ? "causal" : "full")"
      bench.rate("attention forward \(name)", flops, "GFLOP/s") {
        shape.forward(q: q.base, k: k.base, v: v.base, out: out.base, lse: lse.base, scratch: scratch.base)
      }
      bench.rate("attention backward \(name)", 2.5 * flops, "GFLOP/s") {
        shape.backward(
          q: q.base, k: k.base, v: v.base, out: out.base, lse: lse.base, dout: dout.base, dq: dq.base, dk: dk.base, dv: dv.base,
          scratch: scratch.base)
      }
    }
  }

  static func elementwise(_ bench: Measurement) {
    for count in [1 << 16, 1 << 22] {
      let (x, y, z) = (Buffer(count), Buffer(count), Buffer(count))
      let (m, v) = (Buffer(count), Buffer(count, of: 0.5))
      let gigabytes = 4e-9 * Double(count)
      let size = "\(count >> 10)K"
      bench.rate("add \(size)", 3 * gigabytes, "GB/s") { Elementwise.add(x.base, y.base, into: z.base, count: count) }
      for activation in Activation.allCases {
        bench.rate("\(activation) forward \(size)", 2 * gigabytes, "GB/s") { activation.forward(x.base, into: y.base, count: count) }
        bench.rate("\(activation) backward \(size)", 3 * gigabytes, "GB/s") {
          activation.backward(saved: x.base, dy: y.base, dx: z.base, count: count)
        }
      }
      let optimizer = AdamW(learningRate: 1e-4)
      bench.rate("adamw \(size)", 7 * gigabytes, "GB/s") {
        optimizer.update(x.base, gradient: y.base, firstMoment: m.base, secondMoment: v.base, count: count, step: 10)
      }
      bench.rate("bias gradient \(size)", gigabytes, "GB/s") {
        Elementwise.accumulateBiasGradient(x.base, into: y.base, rows: count / 1024, columns: 1024)
      }
      let side = 64
      let transposed = BoxTransfer(
        extents: [side, count / side / side, side], sourceStrides: [side, side * side, 1], destinationStrides: [count / side, side, 1])
      bench.rate("box of runs of \(side) \(size)", 2 * gigabytes, "GB/s") { transposed.copy(x.base, into: y.base) }
      let matrix = BoxTransfer(extents: [1024, count / 1024], sourceStrides: [1, 1024], destinationStrides: [count / 1024, 1])
      bench.rate("box transposed \(size)", 2 * gigabytes, "GB/s") { matrix.copy(x.base, into: y.base) }
    }
  }

  static func norms(_ bench: Measurement) {
    for (rows, columns) in [(64, 768), (2048, 1024)] {
      let count = rows * columns
      let (x, y, dx) = (Buffer(count), Buffer(count), Buffer(count))
      let (w, b, dw, db) = (Buffer(columns), Buffer(columns), Buffer(columns), Buffer(columns))
      let (mean, rstd) = (Buffer(rows), Buffer(rows))
      let gigabytes = 4e-9 * Double(count)
      let size = "\(rows)x\(columns)"
      bench.rate("layernorm forward \(size)", 2 * gigabytes, "GB/s") {
        LayerNorm.forward(
          x.base, weight: w.base, bias: b.base, epsilon: 1e-5, into: y.base, mean: mean.base, rstd: rstd.base, rows: rows,
          columns: columns)
      }
      bench.rate("layernorm backward \(size)", 3 * gigabytes, "GB/s") {
        LayerNorm.backward(
          x: x.base, weight: w.base, mean: mean.base, rstd: rstd.base, dy: y.base, dx: dx.base, dweight: dw.base, dbias: db.base,
          rows: rows, columns: columns)
      }
      bench.rate("rmsnorm forward \(size)", 2 * gigabytes, "GB/s") {
        RMSNorm.forward(x.base, weight: w.base, epsilon: 1e-5, into: y.base, rstd: rstd.base, rows: rows, columns: columns)
      }
      bench.rate("rmsnorm backward \(size)", 3 * gigabytes, "GB/s") {
        RMSNorm.backward(
          x: x.base, weight: w.base, rstd: rstd.base, dy: y.base, dx: dx.base, dweight: dw.base, rows: rows, columns: columns)
      }
    }
    let (batch, length, heads, headDim) = (2, 512, 16, 64)
    let table = RotaryTable(positions: 0..<length, inverseFrequencies: [Float](repeating: 0.01, count: headDim / 2))
    let x = Buffer(batch * length * heads * headDim)
    bench.rate("rope \(batch)x\(length)x\(heads)x\(headDim)", 8e-9 * Double(x.count), "GB/s") {
      table.rotate(x.base, into: x.base, batch: batch, start: 0, count: length, heads: heads)
    }
  }

  static func losses(_ bench: Measurement) {
    let (rows, columns) = (128, 50257)
    let (logits, gradient) = (Buffer(rows * columns), Buffer(rows * columns))
    let (maximum, sumExp, target) = (Buffer(rows), Buffer(rows), Buffer(rows))
    let labels = UnsafeMutablePointer<Int32>.allocate(capacity: rows)
    defer { labels.deallocate() }
    labels.initialize(repeating: 7, count: rows)
    let gigabytes = 4e-9 * Double(rows * columns)
    bench.rate("cross-entropy statistics \(rows)x\(columns)", 2 * gigabytes, "GB/s") {
      CrossEntropy.rowMaximum(logits.base, into: maximum.base, rows: rows, columns: columns)
      CrossEntropy.sumExpAndTarget(
        logits.base, rowMaximum: maximum.base, labels: labels, vocabulary: 0..<columns, sumExp: sumExp.base, target: target.base,
        rows: rows)
    }
    bench.rate("cross-entropy backward \(rows)x\(columns)", 2 * gigabytes, "GB/s") {
      CrossEntropy.backward(
        logits.base, rowMaximum: maximum.base, sumExp: sumExp.base, labels: labels, vocabulary: 0..<columns, scale: 1e-3,
        into: gradient.base, rows: rows)
    }
  }

  static func generators(_ bench: Measurement) {
    let y = Buffer(1 << 20)
    bench.rate("generated weights", 1e-6 * Double(y.count), "Mvalues/s") {
      ValueGenerator(seed: 1).fill(y.base, name: "w", rule: .weight, offset: 0, strides: [1024, 1], extents: [1024, 1024])
    }
  }
}
