// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

/// Oracle: scalar loops.
struct ElementwiseTests {
  @Test(arguments: [1, 7, 8, 33] as [Int])
  func arithmetic(_ count: Int) {
    var samples = SeededGenerator(seed: UInt64(count))
    let (a, b, d) = (samples.floats(count), samples.floats(count), samples.floats(count))
    var y = [Float](repeating: 77, count: count + 1)
    Elementwise.add(a, b, into: &y, count: count)
    #expect(y == zip(a, b).map { $0 + $1 } + [77])
    Elementwise.multiply(a, b, into: &y, count: count)
    #expect(y == zip(a, b).map { $0 * $1 } + [77])
    Elementwise.maximum(a, b, into: &y, count: count)
    #expect(y == zip(a, b).map { max($0, $1) } + [77])
    Elementwise.scale(a, by: 3, into: &y, count: count)
    #expect(y == a.map { 3 * $0 } + [77])
    Elementwise.accumulate(b, into: &y, count: count)
    #expect(y == zip(a, b).map { 3 * $0 + $1 } + [77])
    Elementwise.fill(&y, count: count, with: 2)
    Elementwise.accumulate(b, times: 0.5, into: &y, count: count)
    #expect(y == b.map { Float(2).addingProduct(0.5, $0) } + [77])
    var (da, db) = ([Float](repeating: 77, count: count + 1), [Float](repeating: 77, count: count + 1))
    Elementwise.multiplyBackward(a: a, b: b, dy: d, da: &da, db: &db, count: count)
    #expect(da == zip(d, b).map { $0 * $1 } + [77])
    #expect(db == zip(d, a).map { $0 * $1 } + [77])
  }

  @Test(arguments: [(1, 1), (3, 5), (4, 8), (9, 19)] as [(Int, Int)])
  func bias(_ rows: Int, _ columns: Int) {
    var samples = SeededGenerator(seed: UInt64(rows))
    let (x, bias) = (samples.floats(rows * columns), samples.floats(columns))
    var y = [Float](repeating: 77, count: rows * columns + 1)
    Elementwise.addBias(x, bias, into: &y, rows: rows, columns: columns)
    #expect(y == x.indices.map { x[$0] + bias[$0 % columns] } + [77])

    var gradient = bias + [77]
    Elementwise.accumulateBiasGradient(x, into: &gradient, rows: rows, columns: columns)
    let expected = (0..<columns).map { j in (0..<rows).reduce(Double(bias[j])) { $0 + Double(x[$1 * columns + j]) } }
    // At most `rows` additions of values below 1.
    #expect(worstError(Array(gradient.dropLast()), expected) <= Double(rows * rows) * epsilon)
    #expect(gradient[columns] == 77)
  }
}
