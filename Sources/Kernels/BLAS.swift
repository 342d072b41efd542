// SPDX-License-Identifier: GPL-3.0-or-later
import COpenBLAS
import Foundation

/// The matrix products of OpenBLAS, and what it says of itself. The only file that knows the library.
package enum BLAS {
  package enum Transpose: Sendable {
    case no
    case yes

    fileprivate var cblas: CBLAS_TRANSPOSE { self == .yes ? CblasTrans : CblasNoTrans }
  }

  /// C = alpha op(A) op(B) + beta C, row-major (`cblas_sgemm`).
  ///
  /// op(A) is [m, k], op(B) is [k, n], C is [m, n]; `lda`, `ldb`, `ldc` are the floats from one stored row to the next.
  /// With `beta` 0, C is only written. Extents of 0 are allowed; with k = 0, C = beta C.
  package static func gemm(
    _ transA: Transpose, _ transB: Transpose, m: Int, n: Int, k: Int, alpha: Float = 1, a: UnsafePointer<Float>, lda: Int,
    b: UnsafePointer<Float>, ldb: Int, beta: Float = 0, c: UnsafeMutablePointer<Float>, ldc: Int
  ) {
    for start in stride(from: 0, to: m, by: mostRows) {
      cblas_sgemm(
        CblasRowMajor, transA.cblas, transB.cblas, blasint(min(mostRows, m - start)), blasint(n), blasint(k), alpha,
        a + (transA == .yes ? start : start * lda), blasint(lda), b, blasint(ldb), beta, c + start * ldc, blasint(ldc))
    }
  }

  /// Rows of C in one call. OpenBLAS packs a few hundred columns of all rows of op(A) at once: 62 MiB for the gradient of a table of 50257 rows, which
  /// stay resident, 10 MiB for so many rows. Each call packs op(B) again, which made that product 2 % slower.
  private static let mostRows = 8192

  /// The processor that OpenBLAS took this one for, for example `Haswell` or `SkylakeX` (`openblas_get_corename`). It decides
  /// the kernel and so the speed; `OPENBLAS_CORETYPE` overrides it before the process starts.
  package static func kernelName() -> String { String(cString: openblas_get_corename()) }

  /// Version and build options of the library (`openblas_get_config`).
  package static func configuration() -> String { String(cString: openblas_get_config()) }

  /// Has OpenBLAS take the memory that it works in, before the first product. Where there is none, a product looks for it for ever.
  /// - Returns: the bytes that could not be had; nil where all is well.
  package static func reserveMemory(threads: Int) -> Int? {
    // A buffer of each thread, of at most this size in all its builds for such processors.
    let bytes = threads * ((128 << 20) + (1 << 16))
    let probe = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if probe == MAP_FAILED { return bytes }
    munmap(probe, bytes)
    // Smaller products do without a buffer.
    let n = 160
    let ones = [Float](repeating: 1, count: n * n)
    var product = ones
    gemm(.no, .no, m: n, n: n, k: n, a: ones, lda: n, b: ones, ldb: n, c: &product, ldc: n)
    return nil
  }

  /// How many threads a product uses (`openblas_set_num_threads`).
  package static func setThreads(_ count: Int) { openblas_set_num_threads(Int32(count)) }
}
