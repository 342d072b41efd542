// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Matrix products, as a linear layer of x [rows, inputs] and a weight needs them.
extension CalibrationRun {
  struct ProductCase {
    enum Role: CaseIterable {
      /// y = x W, the weight as GPT-2 stores it, inputs first; and as Llama does.
      case inputFirst, outputFirst
      /// dx = dy Wᵀ
      case gradient
      /// dW = xᵀ dy
      case weightGradient
    }

    let role: Role
    let rows: Int
    let inputs: Int
    let outputs: Int
  }

  /// Rows and widths of layers and of their parts on several ranks.
  static func productCases(_ isQuick: Bool) -> [ProductCase] {
    let rows = isQuick ? [64, 256, 1024] : [32, 128, 256, 512, 1024]
    let layers =
      isQuick
      ? [(768, 768), (768, 1536), (1536, 384)]
      : [(768, 768), (768, 3072), (3072, 768), (384, 768), (768, 384), (1024, 4096), (2048, 1024), (1024, 256), (768, 8192)]
    return layers.enumerated().flatMap { number, layer in
      rows.flatMap { rows in
        [number % 2 == 0 ? ProductCase.Role.inputFirst : .outputFirst, .gradient, .weightGradient].map {
          ProductCase(role: $0, rows: rows, inputs: layer.0, outputs: layer.1)
        }
      }
    }
  }

  mutating func measureProducts() throws(ExecutionError) {
    for product in Self.productCases(isQuick) {
      let (m, i, o) = (product.rows, product.inputs, product.outputs)
      let arena = arena
      let timing = try timer.alone { (repetition) throws(ExecutionError) in
        let places = arena.arrays([m * i, i * o, m * o], repetition)
        let (x, w, y) = (places[0], places[1], places[2])
        switch product.role {
        case .inputFirst: BLAS.gemm(.no, .no, m: m, n: o, k: i, a: x, lda: i, b: w, ldb: o, c: y, ldc: o)
        case .outputFirst: BLAS.gemm(.no, .yes, m: m, n: o, k: i, a: x, lda: i, b: w, ldb: i, c: y, ldc: o)
        case .gradient: BLAS.gemm(.no, .yes, m: m, n: i, k: o, a: y, lda: o, b: w, ldb: o, c: x, ldc: i)
        case .weightGradient: BLAS.gemm(.yes, .no, m: i, n: o, k: m, a: x, lda: i, b: y, ldb: o, c: w, ldc: o)
        }
      }
      let (rows, columns, depth) =
        switch product.role {
        case .inputFirst, .outputFirst: (m, o, i)
        case .gradient: (m, i, o)
        case .weightGradient: (i, o, m)
        }
      result.products.append(.init(rows: rows, columns: columns, depth: depth, seconds: note(timing)))
    }
    // One multiply-add is nothing beside the call.
    let places = arena.arrays([16, 16, 16], 0)
    let calls = 200
    let timing = try timer.alone { (_) throws(ExecutionError) in
      for _ in 0..<calls { BLAS.gemm(.no, .no, m: 1, n: 1, k: 1, a: places[0], lda: 1, b: places[1], ldb: 1, c: places[2], ldc: 1) }
    }
    result.callSeconds = timing.seconds / Double(calls)
  }
}
