// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// A block of attention: some queries with some keys, all of whose scores are computed.
struct AttentionBlock {
  let work: FLOPs
  /// Operands and result.
  let moving: Bytes
  let result: Bytes

  /// - Parameter share: the part of the scores that a causal mask leaves.
  func forward(_ rates: DeviceRates, share: Double) -> Seconds { rates.attention(work * share, moving: moving) }

  /// Two products forward (QKᵀ, PV), five backward (QKᵀ again, dV, dP, dQ, dK): Dao 2023, FlashAttention-2, §3.
  func backward(_ rates: DeviceRates, share: Double) -> Seconds {
    rates.attention(work * share * 2.5, isBackward: true, moving: (moving + result) * 2)
  }
}

/// Attention that writes its scores: every kernel passes over the whole matrix, also over what a causal mask hides.
///
/// Forward: QKᵀ; scale, mask and softmax in one kernel; dropout; PV. Backward: dP = dO·Vᵀ, dV = Pᵀ·dO, dropout, softmax, dQ = dS·K, dK = dSᵀ·Q. Kept
/// are the probabilities, the dropout's mask of one byte each, and what it leaves: with 2-byte elements 5·a·b·s² (Korthikanti et al. 2022, "Reducing
/// Activation Recomputation in Large Transformer Models", §4.1).
struct ScoreMatrix {
  /// Elements.
  let count: Double
  let bytesPerElement: Int
  let drops: Bool
  /// Query, key, value and result. Each product moves two of them, which are taken for half.
  let moving: Bytes
  let extents: (queries: Double, keys: Double, depth: Double)

  var bytes: Bytes { Bytes(count * Double(bytesPerElement)) }
  private var work: FLOPs { FLOPs(2 * count * extents.depth) }
  /// Read, written, and the mask.
  private var dropping: Bytes { bytes * 2 + Bytes(count) }

  private func product(_ rates: DeviceRates, over depth: Double) -> Seconds {
    rates.product(work, depth: depth, moving: bytes + moving * 0.5)
  }

  /// Without dropout's.
  static let (forwardKernels, backwardKernels) = (3, 5)

  func forward(_ rates: DeviceRates) -> Seconds {
    var time = product(rates, over: extents.depth) + rates.stream(bytes * 2) + product(rates, over: extents.keys)
    if drops { time += rates.stream(dropping) }
    return time
  }

  func backward(_ rates: DeviceRates) -> Seconds {
    // Softmax reads the probabilities and their gradient, and writes the scores'.
    var time = product(rates, over: extents.depth) + rates.stream(bytes * 3) + product(rates, over: extents.queries) * 2
    time += product(rates, over: extents.keys)
    if drops { time += rates.stream(dropping) }
    return time
  }

  /// Probabilities; where some are dropped also the mask and what is left.
  var kept: Bytes { drops ? dropping : bytes }
}

extension Pricing {
  func price(_ scores: ScoreMatrix, trains: Bool, into cost: inout OperatorCost) {
    cost.forward = scores.forward(rates)
    // One matrix is read while the next is written.
    cost.transient += scores.bytes * 2
    guard trains else { return }
    cost.backward = scores.backward(rates)
    cost.extras += scores.kept
  }
}
