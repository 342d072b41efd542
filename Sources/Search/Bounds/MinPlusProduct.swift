// SPDX-License-Identifier: GPL-3.0-or-later

/// What taking one node out of its tables leaves over its neighbours:
///
///     m(n₁, …, n_k) = min_q  cost(q) + Σ_t table_t(q, n₁, …, n_k)
///
/// a product of matrices in which sums stand for products and minima for sums. Tables without the last neighbour are added up once for each
/// combination of the others; then all classes of the last one are minimised side by side.
struct MinPlusProduct {
  private typealias Lanes = SIMD4<Int64>
  private static let lanes = 4

  /// What a product needs beside the costs.
  final class Layout: Sendable {
    /// The node's strategies.
    fileprivate let count: Int
    /// The classes of the last neighbour, and the same rounded up to whole vectors.
    fileprivate let inner: Int
    fileprivate let width: Int
    /// The factors with the last neighbour, and those without it.
    fileprivate let along: [Int]
    fileprivate let across: [Int]
    /// Where the rows of each factor without it begin, and their end.
    fileprivate let rowStarts: [Int]
    /// Of these factors the smallest: the node's own costs are added to it.
    fileprivate let smallest: Int?
    /// For each factor with it, the way from the last neighbour's first class to each in the outer index.
    fileprivate let steps: [[Int]]
    /// Where the blocks of each factor with it begin among all blocks, and their end.
    fileprivate let blockStarts: [Int]
    /// Where the outer indices of each factor with it begin among all of them, and their end.
    fileprivate let outerStarts: [Int]

    init(_ factors: [EliminationPlan.Factor], inner: Int, count: Int) {
      (self.inner, self.count) = (inner, count)
      let width = (inner + MinPlusProduct.lanes - 1) / MinPlusProduct.lanes * MinPlusProduct.lanes
      self.width = width
      along = factors.indices.filter { !(factors[$0].offsets.last ?? []).isEmpty }
      across = factors.indices.filter { (factors[$0].offsets.last ?? []).isEmpty }
      let rows = across.map { factors[$0].outerCount * count }
      rowStarts = rows.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
      smallest = rows.indices.min { rows[$0] < rows[$1] }
      let offsets = along.map { factors[$0].offsets[factors[$0].offsets.count - 1] }
      steps = offsets.map { offsets in offsets.map { $0 - offsets[0] } }
      let blocks = zip(along, offsets).map { factors[$0].outerCount / Set($1).count * count * width }
      blockStarts = blocks.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
      outerStarts = along.reduce(into: [0]) { $0.append($0[$0.count - 1] + factors[$1].outerCount) }
    }

    /// The room that a product takes.
    fileprivate var scratch: Int { max(rowStarts[rowStarts.count - 1], count) + count + count * width + width + blockStarts[blockStarts.count - 1] }
    fileprivate var outerCount: Int { outerStarts[outerStarts.count - 1] }
  }

  private let bucket: EliminationPlan.Bucket
  private let nodeCosts: ArraySlice<Int64>
  /// For each factor, its table.
  private let sources: [[Int64]]

  /// - Parameter bucket: with so few factors that as many forbidden entries add up within 64 bits.
  init(_ bucket: EliminationPlan.Bucket, nodeCosts: ArraySlice<Int64>, sources: [[Int64]]) {
    (self.bucket, self.nodeCosts, self.sources) = (bucket, nodeCosts, sources)
  }

  /// One entry for each combination of the neighbours' classes.
  func message() -> [Int64] {
    let layout = bucket.product
    let (count, inner, width) = (layout.count, layout.inner, layout.width)
    let (along, across, rowStarts) = (layout.along, layout.across, layout.rowStarts)
    return [Int64](unsafeUninitializedCapacity: bucket.combinations) { message, filled in
      filled = bucket.combinations
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: layout.scratch) { buffer in
        // Where a block starts, by the outer index with the last neighbour's first class; −1 where it is not yet laid out.
        withUnsafeTemporaryAllocation(of: Int.self, capacity: layout.outerCount + along.count + 1) { laidOut in
          let rows = buffer.baseAddress!
          let sums = rows + max(rowStarts[across.count], count)
          let table = sums + count
          let least = table + count * width
          let blocks = least + width
          let starts = laidOut.baseAddress!
          let used = starts + layout.outerCount
          starts.initialize(repeating: -1, count: layout.outerCount)
          for number in along.indices { (used + number).initialize(to: layout.blockStarts[number]) }
          nodeCosts.withUnsafeBufferPointer { own in
            for (number, factor) in across.enumerated() {
              writeRows(factor, adding: number == layout.smallest ? own : nil, to: rows + rowStarts[number])
            }
            if across.isEmpty { rows.update(from: own.baseAddress!, count: count) }
          }
          func block(_ number: Int, _ outer: Int) -> UnsafePointer<Int64> {
            let place = layout.outerStarts[number] + outer
            if starts[place] < 0 {
              starts[place] = used[number]
              layOut(along[number], layout.steps[number], outer, width, to: blocks + used[number])
              used[number] += count * width
            }
            return UnsafePointer(blocks + starts[place])
          }
          bucket.forEachLeadingCombination { combination, outer in
            sums.update(from: rows + (across.isEmpty ? 0 : outer[across[0]] * count), count: count)
            for number in 1..<max(1, across.count) {
              let row = rows + rowStarts[number] + outer[across[number]] * count
              for q in 0..<count { sums[q] &+= row[q] }
            }
            switch along.count {
            case 0: least.update(repeating: UnsafeBufferPointer(start: sums, count: count).min() ?? Problem.forbidden, count: width)
            case 1: Self.minimise(sums, block(0, outer[along[0]]), count, width, least)
            default:
              table.update(from: block(0, outer[along[0]]), count: count * width)
              for number in 1..<along.count {
                let next = block(number, outer[along[number]])
                for entry in 0..<count * width { table[entry] &+= next[entry] }
              }
              Self.minimise(sums, table, count, width, least)
            }
            let target = message.baseAddress! + combination * inner
            for index in 0..<inner { (target + index).initialize(to: least[index] < Problem.blocked ? least[index] : Problem.forbidden) }
          }
        }
      }
    }
  }

  /// A table without the last neighbour: for each of its outer indices the node's strategies, perhaps with their own costs.
  private func writeRows(_ number: Int, adding own: UnsafeBufferPointer<Int64>?, to rows: UnsafeMutablePointer<Int64>) {
    let factor = bucket.factors[number]
    sources[number].withUnsafeBufferPointer { source in
      factor.ownOffsets.withUnsafeBufferPointer { offsets in
        var row = rows
        for start in factor.outerStarts {
          for q in 0..<offsets.count { row[q] = source[start + offsets[q]] &+ (own?[q] ?? 0) }
          row += offsets.count
        }
      }
    }
  }

  /// least_j = min_q sums_q + block_qj
  @inline(__always)
  private static func minimise(
    _ sums: UnsafePointer<Int64>, _ block: UnsafePointer<Int64>, _ count: Int, _ width: Int, _ least: UnsafeMutablePointer<Int64>
  ) {
    @inline(__always)
    func load(_ q: Int, _ j: Int) -> Lanes { UnsafeRawPointer(block + q * width + j).loadUnaligned(as: Lanes.self) }
    @inline(__always)
    func store(_ lanes: Lanes, _ j: Int) { UnsafeMutableRawPointer(least + j).storeBytes(of: lanes, as: Lanes.self) }
    @inline(__always)
    func smaller(_ a: Lanes, _ b: Lanes) -> Lanes { a.replacing(with: b, where: b .< a) }
    let start = Lanes(repeating: .max)
    var j = 0
    while j + 4 * lanes <= width {
      var (a, b, c, d) = (start, start, start, start)
      for q in 0..<count {
        let sum = Lanes(repeating: sums[q])
        a = smaller(a, sum &+ load(q, j))
        b = smaller(b, sum &+ load(q, j + lanes))
        c = smaller(c, sum &+ load(q, j + 2 * lanes))
        d = smaller(d, sum &+ load(q, j + 3 * lanes))
      }
      store(a, j)
      store(b, j + lanes)
      store(c, j + 2 * lanes)
      store(d, j + 3 * lanes)
      j += 4 * lanes
    }
    while j + 2 * lanes <= width {
      var (a, b) = (start, start)
      for q in 0..<count {
        let sum = Lanes(repeating: sums[q])
        a = smaller(a, sum &+ load(q, j))
        b = smaller(b, sum &+ load(q, j + lanes))
      }
      store(a, j)
      store(b, j + lanes)
      j += 2 * lanes
    }
    if j < width {
      var a = start
      for q in 0..<count { a = smaller(a, Lanes(repeating: sums[q]) &+ load(q, j)) }
      store(a, j)
    }
  }

  /// A table with the last neighbour for one combination of the others, by the node's strategies and then the last neighbour's classes.
  private func layOut(_ number: Int, _ steps: [Int], _ outer: Int, _ width: Int, to block: UnsafeMutablePointer<Int64>) {
    let factor = bucket.factors[number]
    withUnsafeTemporaryAllocation(of: Int.self, capacity: steps.count) { columns in
      for (j, step) in steps.enumerated() { columns[j] = factor.outerStarts[outer + step] }
      sources[number].withUnsafeBufferPointer { source in
        var entry = block
        for offset in factor.ownOffsets {
          for j in 0..<columns.count { entry[j] = source[columns[j] + offset] }
          for j in columns.count..<width { entry[j] = Problem.forbidden }
          entry += width
        }
      }
    }
  }
}
