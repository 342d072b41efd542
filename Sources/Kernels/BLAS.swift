// SPDX-License-Identifier: GPL-3.0-or-later
import COpenBLAS

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
    cblas_sgemm(
      CblasRowMajor, transA.cblas, transB.cblas, blasint(m), blasint(n), blasint(k), alpha, a, blasint(lda), b, blasint(ldb),
      beta, c, blasint(ldc))
  }

  /// The processor that OpenBLAS took this one for, for example `Haswell` or `SkylakeX` (`openblas_get_corename`). It decides
  /// the kernel and so the speed; `OPENBLAS_CORETYPE` overrides it before the process starts.
  package static func kernelName() -> String { String(cString: openblas_get_corename()) }

  /// Version and build options of the library (`openblas_get_config`).
  package static func configuration() -> String { String(cString: openblas_get_config()) }

  /// How many threads a product uses (`openblas_set_num_threads`).
  package static func setThreads(_ count: Int) { openblas_set_num_threads(Int32(count)) }
}
