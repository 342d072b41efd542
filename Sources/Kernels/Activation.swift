// SPDX-License-Identifier: GPL-3.0-or-later

/// Element-wise non-linearities and their derivatives. Every result may overwrite an operand.
///
/// The derivative is taken from one saved tensor: the input x, except where `savesOutput`.
package enum Activation: Sendable, CaseIterable {
  /// x Φ(x) with Φ by tanh: ½x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 2016; `gelu_new`).
  case geluTanh
  /// x Φ(x), Φ(x) = ½ (1 + erf(x / √2)).
  case geluErf
  /// x σ(x)
  case silu
  /// x σ(1.702 x), another approximation of x Φ(x) (Hendrycks & Gimpel 2016).
  case quickGelu
  /// max(x, 0); its derivative at 0 is 0.
  case relu
  /// max(x, 0)²
  case squaredRelu
  case tanh

  /// Whether `backward` wants the forward result y, not the input x.
  package var savesOutput: Bool { self == .tanh }

  /// y[i] = f(x[i])
  package func forward(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    switch self {
    case .geluTanh: mapLanes(x, into: y, count: count) { $0 * $0.geluGate() }
    case .geluErf: mapLanes(x, into: y, count: count) { $0 * $0.normalDistribution() }
    case .silu: mapLanes(x, into: y, count: count) { $0 * $0.sigmoid() }
    case .quickGelu: mapLanes(x, into: y, count: count) { $0 * (1.702 * $0).sigmoid() }
    case .relu: mapLanes(x, into: y, count: count) { $0.replacing(with: 0, where: $0 .< 0) }
    case .squaredRelu:
      mapLanes(x, into: y, count: count) { x in
        let positive = x.replacing(with: 0, where: x .< 0)
        return positive * positive
      }
    case .tanh: mapLanes(x, into: y, count: count) { $0.tanh() }
    }
  }

  /// dx[i] = dy[i] f′(x[i]); `saved` is x, or y where `savesOutput`.
  package func backward(
    saved: UnsafePointer<Float>, dy: UnsafePointer<Float>, dx: UnsafeMutablePointer<Float>, count: Int
  ) {
    switch self {
    case .geluTanh:
      mapLanes(saved, dy, into: dx, count: count) { x, dy in
        // y = x σ(2u), u = c (x + a x³): y′ = σ + x σ (1 - σ) 2u′.
        let gate = x.geluGate()
        let slope = Lanes.geluLinear.addingProduct(3 * .geluCubic * x, x)
        return dy * gate.addingProduct(x * gate * (1 - gate), slope)
      }
    case .geluErf:
      mapLanes(saved, dy, into: dx, count: count) { x, dy in
        let density = 0.398_942_28 * (-0.5 * x * x).exp()
        return dy * x.normalDistribution().addingProduct(x, density)
      }
    case .silu:
      mapLanes(saved, dy, into: dx, count: count) { x, dy in
        let gate = x.sigmoid()
        return dy * gate.addingProduct(x * gate, 1 - gate)
      }
    case .quickGelu:
      mapLanes(saved, dy, into: dx, count: count) { x, dy in
        let gate = (1.702 * x).sigmoid()
        return dy * gate.addingProduct(1.702 * x * gate, 1 - gate)
      }
    case .relu: mapLanes(saved, dy, into: dx, count: count) { x, dy in dy.replacing(with: 0, where: x .<= 0) }
    case .squaredRelu: mapLanes(saved, dy, into: dx, count: count) { x, dy in dy * 2 * x.replacing(with: 0, where: x .< 0) }
    case .tanh: mapLanes(saved, dy, into: dx, count: count) { y, dy in dy.addingProduct(dy * -y, y) }
    }
  }
}

extension SIMD8<Float> {
  /// 2 √(2/π)
  @inline(__always)
  fileprivate static var geluLinear: Self { Self(repeating: 1.595_769_12) }
  /// 2 √(2/π) × 0.044715
  @inline(__always)
  fileprivate static var geluCubic: Self { Self(repeating: 0.071_354_816) }

  /// ½ (1 + tanh u) = σ(2u), u = √(2/π) (x + 0.044715 x³): no cancellation for negative x.
  @inline(__always)
  fileprivate func geluGate() -> Self {
    (self * .geluLinear.addingProduct(.geluCubic * self, self)).sigmoid()
  }

  /// Φ(x) = ½ (1 + erf(x / √2))
  @inline(__always)
  fileprivate func normalDistribution() -> Self {
    Self(repeating: 0.5).addingProduct(Self(repeating: 0.5), (self * 0.707_106_78).erf())
  }
}
