// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Strategies

extension Placement {
  /// `R` replicated, `P` partial, `S1` split on dimension 1.
  package var notation: String {
    switch self {
    case .replicated: "R"
    case .partial: "P"
    case .split(let dimension): "S\(dimension)"
    }
  }
}

extension Layout {
  /// One placement per mesh axis, outermost first: `S0,R`.
  package var notation: String { placements.map(\.notation).joined(separator: ",") }

  /// Reads `notation` for a tensor of `rank` dimensions on a mesh of `axes` axes.
  /// - Throws: `DocumentError.invalid`.
  init(reading node: Node, rank: Int, axes: Int) throws(DocumentError) {
    let text = try node.string()
    let words = text.split(separator: ",", omittingEmptySubsequences: false)
    // The same text for every value, so that a plan has one spelling: no "S01".
    let known: [Placement] = [.replicated, .partial] + (0..<rank).map { .split($0) }
    let placements = words.compactMap { word in known.first { $0.notation == word } }
    guard words.count == axes, placements.count == axes else {
      throw node.invalid(
        expected: "a layout on \(axes) mesh axes of a tensor of \(rank) dimensions: \(axes) of \(known.map(\.notation).joined(separator: " "))"
          + ", separated by commas")
    }
    self.init(placements)
  }
}

extension ReshardingStep {
  /// The step's name in plans: its collective's, or `slice`.
  package var kindName: String { collective?.rawValue ?? Self.sliceName }

  static let sliceName = "slice"
  static let kindNames = CollectiveKind.allCases.map(\.rawValue) + [sliceName]
}
