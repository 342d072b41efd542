// SPDX-License-Identifier: GPL-3.0-or-later

/// What stands for something in pictures, the same everywhere on a page. What is told apart in one picture differs in lightness, so that it is told apart in
/// grey and by who sees fewer colours too.
package enum Hue: Hashable, Sendable, CustomStringConvertible {
  /// Where time goes. Passes have a second shade for every other chunk or micro-batch; collectives are neutral, with their kind in words.
  case computing, forward, laterForward, backward, laterBackward, recompute, collective, sync, update
  /// What is in memory: what stays in one family, what comes and goes in another.
  case weights, gradients, optimizerState, activations, recomputed, activationGradients, scratch, gathered
  /// How operators are split (`Hue.ofWord`), and whatever else is told apart by words beside it.
  case blue, orange, purple, teal, pink, ochre, green, grey, red, brown
  /// Of a ramp from dark to light.
  case step(Int)

  /// Of a stage among so many: stages follow each other from dark to light, and labels have their numbers.
  static func ofStage(_ stage: Int, of count: Int) -> Hue {
    .step(count <= steps.count ? stage * (steps.count - 1) / max(1, count - 1) : stage * steps.count / count)
  }

  package static let allCases: [Hue] = named.map(\.hue) + steps.indices.map { .step($0) }

  /// A word for it in a style sheet.
  package var description: String {
    if case .step(let number) = self { return "step-\(number)" }
    return Self.named.first { $0.hue == self }!.name
  }

  /// On a light or on a dark page.
  func colour(isLight: Bool) -> Colour {
    if case .step(let number) = self { return Colour(isLight ? Self.steps[number].light : Self.steps[number].dark) }
    let codes = Self.named.first { $0.hue == self }!
    return Colour(isLight ? codes.light : codes.dark)
  }

  private static let named: [(hue: Hue, name: String, light: UInt32, dark: UInt32)] = [
    (.computing, "computing", 0x004a78, 0x3887c3),
    (.forward, "forward", 0x123780, 0x4c76c4),
    (.laterForward, "later-forward", 0x2a54a5, 0x6492ea),
    (.backward, "backward", 0xbd821b, 0xfed7a1),
    (.laterBackward, "later-backward", 0xaa6c18, 0xf6b469),
    (.recompute, "recompute", 0x097696, 0x41acd1),
    (.collective, "collective", 0x828a92, 0xb2bac2),
    (.sync, "sync", 0x8e3489, 0xde7ed6),
    (.update, "update", 0x469f5e, 0x91eba5),
    (.weights, "weights", 0x074245, 0x2d8387),
    (.gradients, "gradients", 0x096f6c, 0x53b2ae),
    (.optimizerState, "optimizer-state", 0x2f9e8f, 0x82e9d8),
    (.activations, "activations", 0x6a2176, 0xaa5fb6),
    (.recomputed, "recomputed", 0xb65e93, 0xfc9ed4),
    (.activationGradients, "activation-gradients", 0xa53558, 0xec7595),
    (.scratch, "scratch", 0xd17465, 0xfdd3cc),
    (.gathered, "gathered", 0x9e6134, 0xe5a274),
    (.blue, "blue", 0x2176a8, 0x64b3e8),
    (.orange, "orange", 0xc7672f, 0xfea679),
    (.purple, "purple", 0x6b3aa9, 0xac7ff3),
    (.teal, "teal", 0x1f8782, 0x7edcd5),
    (.pink, "pink", 0xbb3d78, 0xfd7ab2),
    (.ochre, "ochre", 0xa58c25, 0xf5dc7c),
    (.green, "green", 0x256c2c, 0x65ab68),
    (.grey, "grey", 0x6d7379, 0x9ba1a8),
    (.red, "red", 0xba3535, 0xed655f),
    (.brown, "brown", 0x654429, 0x9e7a5e),
  ]

  private static let steps: [(light: UInt32, dark: UInt32)] = [
    (0x342972, 0x6c66b5), (0x2a337a, 0x6272bf), (0x183d7f, 0x557ec6), (0x00477c, 0x468acb),
    (0x035073, 0x3396cc), (0x035870, 0x1da2ca), (0x085f6e, 0x02adc7), (0x0e676c, 0x08b8c0),
    (0x026f69, 0x29c1b9), (0x097664, 0x47cab0), (0x0b7e5b, 0x64d2a6), (0x2a854e, 0x82d99d),
    (0x4c8943, 0x9fdf94), (0x688c38, 0xbce48e), (0x818f2f, 0xd8e88a), (0x98912b, 0xf3ec8a),
  ]
}
