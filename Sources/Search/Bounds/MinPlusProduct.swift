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

  private let bucket: EliminationPlan.Bucket
  private let nodeCosts: ArraySlice<Int64>
  /// For each factor, its table.
  private let sources: [[Int64]]
  /// The node's strategies.
  private let count: Int
  /// The classes of the last neighbour, and the same rounded up to whole vectors.
  private let inner: Int
  private let width: Int

  /// - Parameter bucket: with so few factors that as many forbidden entries add up within 64 bits.
  init(_ bucket: EliminationPlan.Bucket, nodeCosts: ArraySlice<Int64>, sources: [[Int64]]) {
    (self.bucket, self.nodeCosts, self.sources) = (bucket, nodeCosts, sources)
    count = nodeCosts.count
    inner = bucket.classes.last?.count ?? 1
    width = (inner + Self.lanes - 1) / Self.lanes * Self.lanes
  }

  /// One entry for each combination of the neighbours' classes.
  func message() -> [Int64] {
    let (count, inner, width) = (count, inner, width)
    let along = bucket.factors.indices.filter { !(bucket.factors[$0].offsets.last ?? []).isEmpty }
    let across = bucket.factors.indices.filter { (bucket.factors[$0].offsets.last ?? []).isEmpty }
    let rowCounts = across.map { bucket.factors[$0].outerCount * count }
    let rowStarts = rowCounts.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1) }
    // The node's own costs are added to the smallest table.
    let smallest = rowCounts.indices.min { rowCounts[$0] < rowCounts[$1] }
    let blocks = along.map { Blocks(bucket.factors[$0], sources[$0], count: count, width: width) }
    return [Int64](unsafeUninitializedCapacity: bucket.combinations) { message, filled in
      filled = bucket.combinations
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: max(rowStarts[across.count], count) + count + count * width + width) { buffer in
        let rows = buffer.baseAddress!
        let sums = rows + max(rowStarts[across.count], count)
        let table = sums + count
        let least = table + count * width
        nodeCosts.withUnsafeBufferPointer { own in
          for (number, factor) in across.enumerated() { writeRows(factor, adding: number == smallest ? own : nil, to: rows + rowStarts[number]) }
          if across.isEmpty { rows.update(from: own.baseAddress!, count: count) }
        }
        bucket.forEachLeadingCombination { combination, outer in
          sums.update(from: rows + (across.isEmpty ? 0 : outer[across[0]] * count), count: count)
          for number in 1..<max(1, across.count) {
            let row = rows + rowStarts[number] + outer[across[number]] * count
            for q in 0..<count { sums[q] &+= row[q] }
          }
          switch along.count {
          case 0: least.update(repeating: UnsafeBufferPointer(start: sums, count: count).min() ?? Problem.forbidden, count: width)
          case 1: Self.minimise(sums, blocks[0].block(outer[along[0]]), count, width, least)
          default:
            table.update(from: blocks[0].block(outer[along[0]]), count: count * width)
            for number in 1..<along.count {
              let next = blocks[number].block(outer[along[number]])
              for entry in 0..<count * width { table[entry] &+= next[entry] }
            }
            Self.minimise(sums, table, count, width, least)
          }
          for index in 0..<inner {
            (message.baseAddress! + combination * inner + index).initialize(to: least[index] < Problem.blocked ? least[index] : Problem.forbidden)
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

  /// A table with the last neighbour, laid out by the node's strategies and then the last neighbour's classes, for one combination of the others
  /// after the other as they are asked for.
  private final class Blocks {
    private let factor: EliminationPlan.Factor
    private let source: [Int64]
    private let count: Int
    private let steps: [Int]
    private let width: Int
    /// By the outer index with the last neighbour's first class, where a block starts; −1 where it is not yet laid out.
    private var starts: [Int]
    private let entries: UnsafeMutablePointer<Int64>
    private var used = 0

    init(_ factor: EliminationPlan.Factor, _ source: [Int64], count: Int, width: Int) {
      (self.factor, self.source, self.count, self.width) = (factor, source, count, width)
      let offsets = factor.offsets[factor.offsets.count - 1]
      steps = offsets.map { $0 - offsets[0] }
      starts = [Int](repeating: -1, count: factor.outerCount)
      entries = .allocate(capacity: factor.outerCount / Set(offsets).count * count * width)
    }

    deinit { entries.deallocate() }

    func block(_ outer: Int) -> UnsafePointer<Int64> {
      if starts[outer] < 0 { layOut(outer) }
      return UnsafePointer(entries + starts[outer])
    }

    private func layOut(_ outer: Int) {
      starts[outer] = used
      var entry = entries + used
      used += count * width
      let columns = steps.map { factor.outerStarts[outer + $0] }
      source.withUnsafeBufferPointer { source in
        columns.withUnsafeBufferPointer { columns in
          for offset in factor.ownOffsets {
            for j in 0..<columns.count { entry[j] = source[columns[j] + offset] }
            for j in columns.count..<width { entry[j] = Problem.forbidden }
            entry += width
          }
        }
      }
    }
  }
}
