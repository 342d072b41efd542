// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware

/// A measured step that constants are fitted on, or judged by.
package struct FitSample: Sendable {
  /// With what it leaves open of its split as it is fastest by the files as they are, so that a fit prices one split.
  package let row: TableRow
  /// As its table has it.
  let open: TableRow
  let convention: Convention
  package let seconds: Double
  package let table: String

  /// Rows of one group have one model on as many devices.
  var job: String {
    let sizes = [row.layers, row.hidden, row.heads, row.ffn, row.experts].map { $0.map(String.init) ?? "" }
    return sizes.joined(separator: "/") + "@\(row.devices ?? 0)"
  }
}

/// The rows of tables that constants of some clusters can be fitted on.
package struct FitSamples: Sendable {
  package let samples: [FitSample]
  /// Rows that are not, by reason, in the order in which they were met.
  package private(set) var leftOut: [(reason: String, rows: Int)] = []

  /// - Parameters:
  ///   - clusters: what `hw` of rows may be; nil: whatever the pricer knows.
  ///   - cluster: all rows count as being of this one.
  ///   - searches: whether rows count that leave some of their split open.
  /// - Throws: as `RowPricer.price`.
  package init(
    _ tables: [MeasurementTable], clusters: Set<String>?, allOn cluster: String? = nil, searches: Bool = false, _ pricer: RowPricer, threads: Int,
    goesOn: @Sendable (Int) -> Bool = { _ in true }
  ) throws {
    var left = Counts()
    var candidates: [(sample: (row: TableRow, convention: Convention), table: String, published: PublishedFigures)] = []
    for table in tables {
      for (row, published) in zip(table.rows, table.published) {
        let convention = table.convention(of: row)
        var row = row
        if let cluster { row.hardware = cluster }
        if let clusters, !clusters.contains(row.hardware ?? "") {
          left.add(row.hardware.map { "of another cluster: hw \($0)" } ?? "of no named cluster: no hw")
        } else if published.ranOutOfMemory {
          left.add("ran out of memory")
        } else {
          candidates.append(((row, convention), table.name, published))
        }
      }
    }
    let prices = try pricer.price(candidates.map(\.sample), givenSplitsOnly: !searches, threads: threads, goesOn: goesOn)
    var samples: [FitSample] = []
    for (candidate, price) in zip(candidates, prices) {
      let row = candidate.sample.row
      guard price.status != .skipped, price.step != nil else {
        left.add("skipped: \(price.reason.map { $0.prefix { $0 != ":" } }.map(String.init) ?? "no price")")
        continue
      }
      guard let time = MeasuredTime(row, candidate.published, style: price.style) else {
        left.add("no measured time")
        continue
      }
      samples.append(
        FitSample(
          row: price.status == .searched ? row.settled(as: price) : row, open: row, convention: candidate.sample.convention, seconds: time.seconds,
          table: candidate.table))
    }
    (self.samples, leftOut) = (samples, left.list)
  }

  private struct Counts {
    var list: [(reason: String, rows: Int)] = []
    mutating func add(_ reason: String) {
      if let known = list.firstIndex(where: { $0.reason == reason }) { list[known].rows += 1 } else { list.append((reason, 1)) }
    }
  }

  /// At most so many of some rows, that a fit takes no longer than it must: as many of each table, or all of it, and of one table those at even
  /// distances in its order.
  ///
  /// - Returns: indices, rising.
  package static func sampled(_ samples: [FitSample], atMost limit: Int, among indices: [Int]) -> [Int] {
    var byTable: [(table: String, indices: [Int])] = []
    for i in indices {
      if let known = byTable.firstIndex(where: { $0.table == samples[i].table }) {
        byTable[known].indices.append(i)
      } else {
        byTable.append((samples[i].table, [i]))
      }
    }
    var (result, rest) = ([Int](), limit)
    // Small tables first: what they do not need is for the larger ones.
    let order = byTable.indices.sorted { (byTable[$0].indices.count, $0) < (byTable[$1].indices.count, $1) }
    for (place, table) in order.enumerated() {
      let all = byTable[table].indices
      let count = min(all.count, rest / (order.count - place))
      result += (0..<count).map { all[$0 * all.count / count] }
      rest -= count
    }
    return result.sorted()
  }

  /// Rows in at most `limit` groups: those of a table where there are several, else those of a model on as many devices; of more groups than
  /// `limit` some are put together, each with what has the fewest rows so far.
  package static func groups(_ samples: [FitSample], atMost limit: Int) -> [(name: String, indices: [Int])] {
    let isByTable = Set(samples.map(\.table)).count > 1
    var groups: [(name: String, indices: [Int])] = []
    var place: [String: Int] = [:]
    for (i, sample) in samples.enumerated() {
      let key = isByTable ? sample.table : sample.job
      if let known = place[key] {
        groups[known].indices.append(i)
      } else {
        place[key] = groups.count
        groups.append((isByTable ? sample.table : "\(sample.row.id) and alike", [i]))
      }
    }
    guard groups.count > limit, limit > 0 else { return groups }
    var folds = [(name: String, indices: [Int])](repeating: ("", []), count: limit)
    for group in groups.enumerated().sorted(by: { ($1.element.indices.count, $0.offset) < ($0.element.indices.count, $1.offset) }).map(\.element) {
      let fold = folds.indices.min { (folds[$0].indices.count, $0) < (folds[$1].indices.count, $1) }!
      folds[fold].name = folds[fold].name.isEmpty ? group.name : folds[fold].name.replacing(" and alike", with: "") + ", \(group.name)"
      folds[fold].indices += group.indices
    }
    return folds.map { ($0.name, $0.indices.sorted()) }
  }
}

extension TableRow {
  /// The row with the split of a price.
  fileprivate func settled(as price: RowPrice) -> TableRow {
    var row = self
    func degree(_ key: String) -> Int? { price.split.first { $0.key == key }?.value }
    (row.tensor, row.pipeline, row.data, row.microBatchSize) = (degree("tp"), degree("pp"), degree("dp"), degree("mbs"))
    return row
  }
}
