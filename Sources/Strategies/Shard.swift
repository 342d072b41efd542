// SPDX-License-Identifier: GPL-3.0-or-later

/// The part of an extent that one rank holds, and the arithmetic of cutting extents that need not divide.
package enum Shard {
  /// Part `index` of `range` cut in `parts`: [⌊i·n/p⌋, ⌊(i+1)·n/p⌋).
  package static func part(of range: Range<Int>, index: Int, parts: Int) -> Range<Int> {
    let n = range.count
    return range.lowerBound + index * n / parts..<range.lowerBound + (index + 1) * n / parts
  }

  /// The extent of the largest part after cutting by each of `parts` in turn.
  package static func largest(_ extent: Int, parts: some Sequence<Int>) -> Int {
    parts.reduce(extent) { ($0 + $1 - 1) / $1 }
  }

  /// The ranges of a tensor's dimensions that the rank at `coordinates` holds.
  package static func region(shape: [Int], layout: Layout, mesh: [Int], coordinates: [Int]) -> [Range<Int>] {
    var region = shape.map { 0..<$0 }
    for axis in 0..<layout.axes {
      if case .split(let dimension) = layout[axis] {
        region[dimension] = part(of: region[dimension], index: coordinates[axis], parts: mesh[axis])
      }
    }
    return region
  }

  /// The shape of a tensor's largest shard.
  package static func largestShape(_ shape: [Int], layout: Layout, mesh: [Int]) -> [Int] {
    var local = shape
    for axis in 0..<layout.axes {
      if case .split(let dimension) = layout[axis] { local[dimension] = (local[dimension] + mesh[axis] - 1) / mesh[axis] }
    }
    return local
  }

  /// The number of elements of a tensor's largest shard.
  package static func largestCount(_ shape: [Int], layout: Layout, mesh: [Int]) -> Int {
    var count = 1
    for (dimension, extent) in shape.enumerated() {
      // Cut by one after the other as by their product: ⌈⌈n/p⌉/q⌉ = ⌈n/(p·q)⌉.
      var parts = 1
      for axis in 0..<layout.axes where layout.splits(dimension, on: axis) { parts *= mesh[axis] }
      count *= (extent + parts - 1) / parts
    }
    return count
  }
}
