// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

/// Oracle: three loops in double precision.
struct BLASTests {
  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func productOfSubmatrices(seed: UInt64) {
    var samples = SeededGenerator(seed: seed)
    let (m, n, k) = (samples.int(1...20), samples.int(1...20), samples.int(1...20))
    let transA: BLAS.Transpose = seed % 2 == 0 ? .no : .yes
    let transB: BLAS.Transpose = seed % 3 == 0 ? .no : .yes
    let lda = (transA == .no ? k : m) + samples.int(0...3)
    let ldb = (transB == .no ? n : k) + samples.int(0...3)
    let ldc = n + samples.int(0...3)
    let a = samples.floats(max(m, k) * lda)
    let b = samples.floats(max(n, k) * ldb)
    let before = samples.floats(m * ldc)
    var c = before
    BLAS.gemm(transA, transB, m: m, n: n, k: k, alpha: 0.5, a: a, lda: lda, b: b, ldb: ldb, beta: 2, c: &c, ldc: ldc)
    var expected = before.doubles
    for i in 0..<m {
      for j in 0..<n {
        var sum = 0.0
        for l in 0..<k {
          sum += Double(transA == .no ? a[i * lda + l] : a[l * lda + i]) * Double(transB == .no ? b[l * ldb + j] : b[j * ldb + l])
        }
        expected[i * ldc + j] = 0.5 * sum + 2 * expected[i * ldc + j]
      }
    }
    // k + 2 roundings of sums of at most k + 2.
    #expect(worstError(c, expected) <= Double((k + 2) * (k + 2)) * epsilon / 2)
  }

  /// Rows of C are multiplied in several calls where they are many.
  @Test(arguments: [BLAS.Transpose.no, .yes]) func productOfManyRows(transA: BLAS.Transpose) {
    let (m, n, k) = (20_001, 3, 2)
    let a = (0..<m * k).map { Float($0 % 97) }
    let b: [Float] = [1, 2, 3, 4, 5, 6]
    var c = [Float](repeating: 1, count: m * n)
    BLAS.gemm(transA, .no, m: m, n: n, k: k, a: a, lda: transA == .no ? k : m, b: b, ldb: n, beta: 1, c: &c, ldc: n)
    for i in stride(from: 0, to: m, by: 1) {
      let (x, y) = transA == .no ? (a[i * k], a[i * k + 1]) : (a[i], a[m + i])
      for j in 0..<n where c[i * n + j] != 1 + x * b[j] + y * b[n + j] { return #expect(Bool(false), "row \(i), column \(j)") }
    }
  }

  @Test func libraryDescribesItself() {
    #expect(!BLAS.kernelName().isEmpty)
    #expect(BLAS.configuration().contains("OpenBLAS"))
  }
}
