// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

@testable import ModelGraph

@Suite struct AxisTableTests {
  private func extents(_ axes: inout AxisTable, _ list: [AxisTable.Class], to target: [Int]) -> [Int]? {
    axes.regroup(list.map { [$0] }, to: target)?.map { axes.product($0) }
  }

  @Test("A reshape cuts and joins axes in order, and refuses what mixes them")
  func regroup() {
    var axes = AxisTable()
    let list = [axes.add(2), axes.add(5), axes.add(12)]
    for target in [[2, 5, 3, 4], [10, 12], [2, 60]] {
      let found = extents(&axes, list, to: target)
      #expect(found == target)
    }
    for target in [[4, 30], [2, 5, 2, 6]] {
      let found = extents(&axes, list, to: target)
      #expect(found == nil, "12 is 3 · 4")
    }
  }

  @Test("Leaves of 1 stay with what stands on their axis, axes of 1 with what they follow")
  func ones() {
    var axes = AxisTable()
    let (b, s, g, r, d) = (axes.add(1), axes.add(5), axes.add(4), axes.add(1), axes.add(3))
    let outputs = axes.regroup([[b], [g, r], [s], [d]], to: [1, 4, 5, 3])
    #expect(outputs == [[b], [g, r], [s], [d]])
    let rows = axes.regroup([[b], [s], [g, r], [d]], to: [5, 12])
    #expect(rows == [[b, s], [g, r, d]])
    // One key-value head of four query heads.
    let single = axes.regroup([[b], [s], [r, g], [d]], to: [1, 5, 12])
    #expect(single == [[b], [s], [r, g, d]])
    let trailing = axes.regroup([[s], [b], [d]], to: [5, 3])
    #expect(trailing == [[s, b], [d]])
    let apart = axes.regroup([[b], [s], [g, r, d]], to: [1, 5, 1, 12])
    #expect(apart == [[b], [s], [], [g, r, d]])
  }

  @Test("Axes that are added are one, part by part")
  func unify() {
    var axes = AxisTable()
    let (x, y) = (axes.add(12), axes.add(12))
    let parts = axes.split(x, [3, 4])
    let agree = axes.unify([x], [y])
    #expect(agree && axes.leaves([x]) == axes.leaves([y]) && axes.leaves([x]).map(axes.extent) == parts.map(axes.extent))
    let (six, four, other, two) = (axes.add(6), axes.add(4), axes.add(6), axes.add(2))
    let uneven = axes.unify([six], [four])
    let longer = axes.unify([other], [axes.add(6), two])
    #expect(!uneven && !longer)
  }

  @Test("Axes that were cut only to be joined again stand as one")
  func products() {
    var axes = AxisTable()
    let (n, h) = (axes.add(6), axes.add(4))
    let (sides, halves) = (axes.split(n, [2, 3]), axes.split(h, [2, 2]))
    let products = axes.products(in: [[n, h], [n, halves[1]]], apart: [])
    #expect(products.collapse(axes.leaves([n, h])) == [sides, [halves[0]], [halves[1]]])
    #expect(axes.products(in: [[n]], apart: Set(sides)).collapse(sides) == [[sides[0]], [sides[1]]])
  }

  @Test("differential: views of an array beside its elements picked one by one", arguments: 0..<40)
  func views(seed: Int) throws {
    var generator = SeededGenerator(seed: seed)
    var view = StridedView(whole: (0..<3).map { _ in generator.int(1...4) })
    // Elements are their numbers.
    var (shape, expected) = (view.shape, Array(0..<view.count))
    /// The elements of a new shape, each found by its index in the old one.
    func pick(_ target: [Int], _ source: ([Int]) -> [Int]) -> [Int] {
      (0..<target.reduce(1, *)).map { number in
        let index = zip(target, rowMajorStrides(target)).map { number / $1 % $0 }
        return expected[zip(source(index), rowMajorStrides(shape)).reduce(0) { $0 + $1.0 * $1.1 }]
      }
    }
    for _ in 0..<3 {
      switch generator.int(0...2) {
      case 0:
        let order = shape.indices.shuffled(using: &generator)
        let target = order.map { shape[$0] }
        expected = pick(target) { index in shape.indices.map { axis in index[order.firstIndex(of: axis) ?? 0] } }
        (view, shape) = (view.transposed(order), target)
      case 1:
        let axis = generator.int(0...shape.count - 1)
        let count = generator.int(1...shape[axis])
        let start = generator.int(0...shape[axis] - count)
        var target = shape
        target[axis] = count
        expected = pick(target) { index in index.enumerated().map { $0 == axis ? $1 + start : $1 } }
        (view, shape) = (view.sliced(axis, from: start, count: count), target)
      default:
        let target = [shape.reduce(1, *)]
        guard let flat = view.reshaped(to: target) else { continue }
        (view, shape) = (flat, target)
      }
    }
    #expect(view.shape == shape && view.indices == expected)
  }
}
