// SPDX-License-Identifier: GPL-3.0-or-later

/// How a tensor stands on one axis of a mesh.
package enum Placement: Hashable, Sendable {
  /// Every rank along the mesh axis holds the same values.
  case replicated
  /// Each rank along the mesh axis holds one part of this dimension.
  case split(Int)
  /// Each rank along the mesh axis holds one addend of the values.
  case partial
}

/// How a tensor stands on a mesh: one placement per mesh axis, outermost axis first.
///
/// Several mesh axes that split one dimension nest in mesh order: the outermost cuts first. Held in 32 bits, four per mesh axis, so that
/// layouts are cheap to compare, hash and count.
package struct Layout: Hashable, Sendable, Comparable {
  @usableFromInline var bits: UInt32

  /// The most mesh axes, and one less than the most dimensions, that a layout can hold.
  package static let maximumAxes = 6

  private init(bits: UInt32) { self.bits = bits }

  /// Replicated on every one of `axes` mesh axes.
  package init(replicatedOn axes: Int) {
    precondition(axes <= Layout.maximumAxes)
    bits = UInt32(axes) << 28
  }

  package init(_ placements: [Placement]) {
    self.init(replicatedOn: placements.count)
    for (axis, placement) in placements.enumerated() { self[axis] = placement }
  }

  /// The number of mesh axes.
  @inlinable package var axes: Int { Int(bits >> 28) }

  package subscript(axis: Int) -> Placement {
    @inlinable get {
      switch bits >> UInt32(4 * axis) & 15 {
      case 0: .replicated
      case 1: .partial
      case let code: .split(Int(code) - 2)
      }
    }
    set {
      let code: UInt32 =
        switch newValue {
        case .replicated: 0
        case .partial: 1
        case .split(let dimension): UInt32(dimension) + 2
        }
      bits = bits & ~(15 << UInt32(4 * axis)) | code << UInt32(4 * axis)
    }
  }

  /// Whether a mesh axis splits a dimension.
  @inlinable package func splits(_ dimension: Int, on axis: Int) -> Bool { bits >> UInt32(4 * axis) & 15 == UInt32(dimension) + 2 }

  package var placements: [Placement] { (0..<axes).map { self[$0] } }
  package var isReplicated: Bool { bits & 0x0FFF_FFFF == 0 }
  package var hasPartial: Bool { (0..<axes).contains { isPartial(on: $0) } }
  @inlinable package func isPartial(on axis: Int) -> Bool { bits >> UInt32(4 * axis) & 15 == 1 }

  /// The mesh axes that split a dimension, in mesh order.
  package func axesSplitting(_ dimension: Int) -> [Int] { (0..<axes).filter { splits(dimension, on: $0) } }

  /// The mesh axes on which the tensor is partial.
  package var partialAxes: [Int] { (0..<axes).filter { isPartial(on: $0) } }

  /// Whether it takes all-gathers alone to come here from another layout: it has whole what that one splits, and is else the same.
  package func isGathered(from source: Layout) -> Bool {
    if self == source || axes != source.axes { return false }
    return (0..<axes).allSatisfy { axis in
      if self[axis] == source[axis] { return true }
      if case .split = source[axis] { return self[axis] == .replicated }
      return false
    }
  }

  /// Into how many parts a layout can split what this one has whole.
  package func parts(gatheredOn mesh: [Int]) -> Double {
    (0..<axes).reduce(1) { self[$1] == .replicated ? $0 * Double(mesh[$1]) : $0 }
  }

  package func with(_ placement: Placement, on axis: Int) -> Layout {
    var copy = self
    copy[axis] = placement
    return copy
  }

  @inlinable package static func < (a: Layout, b: Layout) -> Bool { a.bits < b.bits }
  @inlinable package static func == (a: Layout, b: Layout) -> Bool { a.bits == b.bits }
}
