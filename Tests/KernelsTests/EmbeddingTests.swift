// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

struct EmbeddingTests {
  /// Differential: the sum of the shards' look-ups is the whole table's.
  @Test(arguments: [1, 2, 3] as [Int])
  func shardsSumToTheWhole(parts: Int) {
    let (vocabulary, columns) = (11, 9)
    var samples = SeededGenerator(seed: UInt64(parts))
    let table = samples.floats(vocabulary * columns)
    let ids = (0..<20).map { _ in Int32(samples.int(0...vocabulary - 1)) }
    let dy = samples.floats(ids.count * columns)
    var sum = [Float](repeating: 0, count: ids.count * columns)
    var gradient = [Float](repeating: 1, count: table.count)
    for part in 0..<parts {
      let rows = part * vocabulary / parts..<(part + 1) * vocabulary / parts
      let cells = rows.lowerBound * columns..<rows.upperBound * columns
      var y = [Float](repeating: 77, count: sum.count)
      Embedding.forward(ids: ids, table: Array(table[cells]), rows: rows, into: &y, count: ids.count, columns: columns)
      Elementwise.accumulate(y, into: &sum, count: sum.count)
      var shard = Array(gradient[cells])
      Embedding.accumulateGradient(ids: ids, dy: dy, into: &shard, rows: rows, count: ids.count, columns: columns)
      gradient.replaceSubrange(cells, with: shard)
    }
    #expect(sum == ids.flatMap { table[Int($0) * columns..<(Int($0) + 1) * columns] })
    var expected = [Float](repeating: 1, count: table.count)
    for (i, id) in ids.enumerated() { for j in 0..<columns { expected[Int(id) * columns + j] += dy[i * columns + j] } }
    #expect(gradient == expected)
  }

  @Test func positions() {
    let (columns, count, pitch) = (3, 2, 4)
    let table = (0..<18).map(Float.init)
    var y = [Float](repeating: 77, count: 2 * pitch * columns)
    Embedding.positions(table: table, start: 2, into: &y, batch: 2, count: count, columns: columns, pitch: pitch)
    let sample: [Float] = [6, 7, 8, 9, 10, 11, 77, 77, 77, 77, 77, 77]
    #expect(y == sample + sample)
    var gradient = [Float](repeating: 1, count: 18)
    Embedding.accumulatePositionGradient(
      dy: y, into: &gradient, start: 2, batch: 2, count: count, columns: columns, pitch: pitch)
    var expected = [Float](repeating: 1, count: 18)
    for cell in 6..<12 { expected[cell] += 2 * table[cell] }
    #expect(gradient == expected)
  }
}
