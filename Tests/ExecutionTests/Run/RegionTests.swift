// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies
import TestSupport
import Testing

@testable import Execution

struct RegionTests {
  /// The coordinates of a region's elements in row-major order.
  private func elements(_ region: Region) -> [[Int]] {
    region.reduce([[]]) { prefixes, range in prefixes.flatMap { prefix in range.map { prefix + [$0] } } }
  }

  @Test("oracle: a run of a region's elements is cut into regions that hold them in the same order", arguments: [1, 2, 3])
  func runs(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<300 {
      let region = (0..<Int.random(in: 0...4, using: &random)).map { _ -> Range<Int> in
        let start = Int.random(in: 0...5, using: &random)
        return start..<start + Int.random(in: 1...4, using: &random)
      }
      let ends = [0, 1].map { _ in Int.random(in: 0...region.elementCount, using: &random) }.sorted()
      let parts = region.regions(ofElements: ends[0]..<ends[1])
      #expect(parts.flatMap(elements) == Array(elements(region)[ends[0]..<ends[1]]), "\(ends) of \(region)")
      // Two ends for each dimension but the last, and what is between them.
      #expect(parts.count <= max(1, 2 * region.count - 1))
    }
  }
}
