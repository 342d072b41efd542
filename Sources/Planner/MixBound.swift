// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph

/// What the least of a chain with all layers alike says about the chain with layers of two kinds.
///
/// A chain weighs the layers of all stages W, and those of the first kind, c on each stage, W_A. On a cut into equal stages W_A is a share
/// a = c/n of W, so that any mix is a · W·x_A + (1 − a) · W·x_B for two choices x_A and x_B, and no less than the least W·x. On an uneven
/// cut W_A = a·W + D⁺ − D⁻, where a is the share on the stage that counts most and D what other stages have more or less of. As D⁺ ≤ κ⁺·W
/// and D⁻ ≤ κ⁻·W, and all costs are positive,
///
///     W_A·x_A + W_B·x_B + R ≥ (1 − κ⁺ − κ⁻) · min (W·x + R) + min D⁺·x + min D⁻·x
///
/// where R is everything else, which kinds share (they agree on what passes between layers).
struct MixBound {
  private let cut: [Int]
  private let path: PipelineTimeline.Path
  /// The stage that counts most, whose memory has the price.
  private let reference: Int
  private let whole: (forward: Double, backward: Double, once: Double)
  /// The least of a layer of any kind.
  private let forward: Double
  private let backward: Double

  init(_ cut: [Int], _ path: PipelineTimeline.Path, reference: Int, forward: Int64, backward: Int64) {
    (self.cut, self.path, self.reference) = (cut, path, reference)
    (self.forward, self.backward) = (Double(forward), Double(backward))
    func sum(_ weights: [Int64]) -> Double { zip(cut, weights).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
    whole = (sum(path.forward), sum(path.backward), sum(path.once))
  }

  /// - Parameter alike: the least with all layers alike, bytes below the limit not counted.
  /// - Returns: a lower bound for every number of layers of the first kind.
  func least(alike: Int64) -> Int64 {
    // A stage without layers says nothing of those of others.
    guard cut[reference] > 0 else { return 0 }
    var least = Double.infinity
    for count in 1..<max(2, cut.max() ?? 2) {
      let share = Double(min(count, cut[reference])) / Double(cut[reference])
      var more = (forward: 0.0, backward: 0.0, once: 0.0)
      var less = more
      for (s, layers) in cut.enumerated() {
        let difference = Double(min(count, layers)) - share * Double(layers)
        let (f, b, o) = (Double(path.forward[s]), Double(path.backward[s]), Double(path.once[s]))
        if difference > 0 {
          more = (more.forward + difference * f, more.backward + difference * b, more.once + difference * o)
        } else {
          less = (less.forward - difference * f, less.backward - difference * b, less.once - difference * o)
        }
      }
      func part(_ of: (forward: Double, backward: Double, once: Double)) -> Double {
        func ratio(_ a: Double, _ b: Double) -> Double { a <= 0 ? 0 : a / b }
        return max(ratio(of.forward, whole.forward), ratio(of.backward, whole.backward), ratio(of.once, whole.once))
      }
      let extra = (more.forward + less.forward) * forward + (more.backward + less.backward) * backward
      least = min(least, Double(alike) * (1 - part(more) - part(less)) + extra)
    }
    // Sums of doubles are off by less than a part in 10¹².
    return Int64((least * (1 - 1e-12)).rounded(.down)) - 1
  }
}
