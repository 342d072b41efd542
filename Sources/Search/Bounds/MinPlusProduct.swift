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
    let along = bucket.factors.indices.filter { !(bucket.factors[$0].offsets.last ?? []).isEmpty }
    let across = bucket.factors.indices.filter { (bucket.factors[$0].offsets.last ?? []).isEmpty }
    var rows = across.map(row)
    // The node's own costs are added to the smallest table.
    if let smallest = rows.indices.min(by: { rows[$0].count < rows[$1].count }) {
      for index in rows[smallest].indices { rows[smallest][index] &+= nodeCosts[nodeCosts.startIndex + index % count] }
    } else {
      rows = [Array(nodeCosts)]
    }
    var blocks = along.map { Blocks(bucket.factors[$0], sources[$0], count: count, inner: inner, width: width) }
    var message = [Int64](repeating: Problem.forbidden, count: bucket.combinations)
    message.withUnsafeMutableBufferPointer { message in
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: count) { sums in
        withUnsafeTemporaryAllocation(of: Int64.self, capacity: count * width) { table in
          withUnsafeTemporaryAllocation(of: Int64.self, capacity: width) { least in
            bucket.forEachLeadingCombination { combination, outer in
              rows[0].withUnsafeBufferPointer { row in
                let start = across.isEmpty ? 0 : outer[across[0]] * count
                for q in 0..<count { sums[q] = row[start + q] }
              }
              for number in across.indices.dropFirst() {
                rows[number].withUnsafeBufferPointer { row in
                  let start = outer[across[number]] * count
                  for q in 0..<count { sums[q] &+= row[start + q] }
                }
              }
              switch along.count {
              case 0:
                let smallest = sums.min() ?? Problem.forbidden
                for index in 0..<width { least[index] = smallest }
              case 1: Self.minimise(sums.baseAddress!, blocks[0].block(outer[along[0]]), count, width, least.baseAddress!)
              default:
                let first = blocks[0].block(outer[along[0]])
                for entry in 0..<count * width { table[entry] = first[entry] }
                for number in 1..<along.count {
                  let next = blocks[number].block(outer[along[number]])
                  for entry in 0..<count * width { table[entry] &+= next[entry] }
                }
                Self.minimise(sums.baseAddress!, table.baseAddress!, count, width, least.baseAddress!)
              }
              for index in 0..<inner where least[index] < Problem.blocked { message[combination * inner + index] = least[index] }
            }
          }
        }
      }
    }
    return message
  }

  /// A table without the last neighbour: for each of its outer indices the node's strategies.
  private func row(_ number: Int) -> [Int64] {
    let factor = bucket.factors[number]
    return [Int64](unsafeUninitializedCapacity: factor.outerCount * count) { row, filled in
      sources[number].withUnsafeBufferPointer { source in
        for start in factor.outerStarts {
          for offset in factor.ownOffsets {
            row[filled] = source[start + offset]
            filled += 1
          }
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
  private struct Blocks {
    private let factor: EliminationPlan.Factor
    private let source: [Int64]
    private let count: Int
    private let steps: [Int]
    private let width: Int
    /// By the outer index with the last neighbour's first class, where a block starts; −1 where it is not yet laid out.
    private var starts: [Int]
    private let storage: Storage

    private final class Storage {
      let entries: UnsafeMutablePointer<Int64>
      var used = 0
      init(capacity: Int) { entries = .allocate(capacity: capacity) }
      deinit { entries.deallocate() }
    }

    init(_ factor: EliminationPlan.Factor, _ source: [Int64], count: Int, inner: Int, width: Int) {
      (self.factor, self.source, self.count, self.width) = (factor, source, count, width)
      let offsets = factor.offsets[factor.offsets.count - 1]
      steps = offsets.map { $0 - offsets[0] }
      starts = [Int](repeating: -1, count: factor.outerCount)
      storage = Storage(capacity: factor.outerCount / Set(offsets).count * count * width)
    }

    mutating func block(_ outer: Int) -> UnsafePointer<Int64> {
      if starts[outer] < 0 {
        starts[outer] = storage.used
        var entry = storage.entries + storage.used
        storage.used += count * width
        let columns = steps.map { factor.outerStarts[outer + $0] }
        source.withUnsafeBufferPointer { source in
          for offset in factor.ownOffsets {
            for j in 0..<columns.count { entry[j] = source[columns[j] + offset] }
            for j in columns.count..<width { entry[j] = Problem.forbidden }
            entry += width
          }
        }
      }
      return UnsafePointer(storage.entries + starts[outer])
    }
  }
}
