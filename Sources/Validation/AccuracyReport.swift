// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

/// What the predictions of one table are worth.
package struct SetAccuracy: Sendable {
  package let name: String
  /// Rows of the table.
  package let rows: Int
  package struct Times: Sendable {
    package let model: ErrorFigures
    package let naive: ErrorFigures
  }
  /// Of rows that give their split.
  package let priced: Times?
  /// Of the rows that give their split, and of those that do not, with what constants of the hardware files are without any fit; nil where none
  /// of them was fitted.
  package let unfitted: ErrorFigures?
  package let unfittedSearched: ErrorFigures?
  /// Of rows that leave some of it open.
  package let searched: Times?
  /// Where the measured times are from, and of how many rows.
  package let sources: [(source: MeasuredTime.Source, rows: Int)]
  package struct Group: Sendable {
    package let name: String
    package let model: RankFigures
    package let naive: RankFigures
  }
  package let groups: [Group]
  /// Memory as it is published, taken for units of 10⁹ bytes and of 2³⁰.
  package let memory: (decimal: ErrorFigures, binary: ErrorFigures)?
  /// Rows that ran out of memory, and those of them of which that is predicted; rows that ran, and those of them that are said not to fit.
  package let outOfMemory: (rows: Int, caught: Int)
  package let ran: (rows: Int, falseAlarms: Int)
  /// A published prediction of the same rows by another program.
  package let peer: (name: String, figures: ErrorFigures)?
  /// Rows with a price, and nothing to compare it with.
  package let withoutTime: Int
  package let skipped: [(reason: String, ids: [String])]
  /// What prices assume that no row states, and for how many rows.
  package let assumptions: [(text: String, rows: Int)]

  package struct Compared: Sendable {
    package let id: String
    package let predicted: Double
    package let measured: Double
    let naive: NaiveStep
    /// Whether it is predicted to fit.
    let fits: Bool
  }
  /// The rows with a split of their own and a time.
  package let compared: [Compared]
  /// The rows with a time whose splits were searched.
  package let comparedSearched: [Compared]

  /// - Parameters:
  ///   - prices: of all rows.
  ///   - unfitted: prices of all rows with what constants are without a fit.
  package init(_ table: MeasurementTable, _ prices: [RowPrice], unfitted: [RowPrice]? = nil, groups: [RankingGroup], peer: PeerPredictions?) {
    (name, rows) = (table.name, table.rows.count)
    var byStatus: [[Compared]] = [[], []]
    var sources: [MeasuredTime.Source: Int] = [:]
    var (memoryErrors, withoutTime) = ([(id: String, error: Double)](), 0)
    var (failed, caught, ran, alarms) = (0, 0, 0, 0)
    var skipped: [(reason: String, ids: [String])] = []
    var assumptions: [(text: String, rows: Int)] = []
    for (row, (published, price)) in zip(table.rows, zip(table.published, prices)) {
      if price.status == .skipped {
        // What follows the colon is of one row.
        let reason = price.reason.map { $0.prefix { $0 != ":" } }.map(String.init) ?? ""
        if let known = skipped.firstIndex(where: { $0.reason == reason }) {
          skipped[known].ids.append(row.id)
        } else {
          skipped.append((reason, [row.id]))
        }
        continue
      }
      for text in price.assumptions {
        if let known = assumptions.firstIndex(where: { $0.text == text }) { assumptions[known].rows += 1 } else { assumptions.append((text, 1)) }
      }
      guard let step = price.step, let memory = price.memory, let fits = price.fits, let naive = price.naive else { continue }
      if published.ranOutOfMemory {
        failed += 1
        if !fits { caught += 1 }
        continue
      }
      if let known = published.memoryGB { memoryErrors.append((row.id, memory.value / 1e9 / known - 1)) }
      guard let measured = MeasuredTime(row, published, style: price.style) else {
        withoutTime += 1
        continue
      }
      ran += 1
      if !fits { alarms += 1 }
      sources[measured.source, default: 0] += 1
      byStatus[price.status == .priced ? 0 : 1].append(
        Compared(id: row.id, predicted: step.value, measured: measured.seconds, naive: naive, fits: fits))
    }
    (compared, comparedSearched) = (byStatus[0], byStatus[1])
    priced = Self.times(byStatus[0])
    self.unfitted = Self.errors(unfitted ?? [], byStatus[0])
    unfittedSearched = Self.errors(unfitted ?? [], byStatus[1])
    searched = Self.times(byStatus[1])
    self.sources = MeasuredTime.Source.allCases.compactMap { source in sources[source].map { (source, $0) } }
    self.groups = Self.ranks(byStatus[0], groups)
    let factor = 1e9 / 1_073_741_824
    memory = ErrorFigures(memoryErrors).flatMap { decimal in
      ErrorFigures(memoryErrors.map { ($0.id, ($0.error + 1) * factor - 1) }).map { (decimal, $0) }
    }
    (outOfMemory, self.ran, self.withoutTime) = ((failed, caught), (ran, alarms), withoutTime)
    self.peer = peer.flatMap { peer in
      ErrorFigures(byStatus[0].compactMap { row in peer.seconds(row.id).map { (row.id, $0 / row.measured - 1) } }).map { (peer.name, $0) }
    }
    (self.skipped, self.assumptions) = (skipped, assumptions)
  }

  /// Errors of other prices of the same rows. Not part of `init`: Swift 6.3.1's optimiser fails on its closures there.
  @inline(never)
  private static func errors(_ prices: [RowPrice], _ rows: [Compared]) -> ErrorFigures? {
    var steps: [String: Double] = [:]
    for price in prices { steps[price.id] = price.step?.value }
    return ErrorFigures(rows.compactMap { row in steps[row.id].map { (row.id, $0 / row.measured - 1) } })
  }

  private static func times(_ rows: [Compared]) -> Times? {
    guard let model = ErrorFigures(rows.map { ($0.id, $0.predicted / $0.measured - 1) }),
      let baseline = NaiveBaseline(rows.map { ($0.naive, $0.measured) }),
      let naive = ErrorFigures(rows.map { ($0.id, $0.naive.seconds(at: baseline.rate) / $0.measured - 1) })
    else { return nil }
    return Times(model: model, naive: naive)
  }

  private static func ranks(_ rows: [Compared], _ groups: [RankingGroup]) -> [Group] {
    let byID = Dictionary(rows.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    return groups.compactMap { group in
      let members = group.ids.compactMap { byID[$0] }
      let measured = members.map(\.measured)
      // One rate for all splits of a job changes no order.
      guard let model = RankFigures(predicted: members.map(\.predicted), measured: measured, fits: members.map(\.fits)),
        let naive = RankFigures(predicted: members.map { $0.naive.seconds(at: 1) }, measured: measured)
      else { return nil }
      return Group(name: group.name, model: model, naive: naive)
    }
  }
}

/// Rows that do the same job on as many devices, and differ in how they are split.
package struct RankingGroup: Hashable, Sendable {
  package let name: String
  package let file: String
  package let ids: [String]

  /// - Throws: `DocumentError`.
  package static func read(_ path: String) throws(DocumentError) -> [RankingGroup] {
    var groups: [RankingGroup] = []
    for node in try Document(readingFrom: path).root.object().elements("groups") {
      let o = try node.object()
      var ids: [String] = []
      for id in try o.elements("ids") { ids.append(try id.string()) }
      groups.append(RankingGroup(name: try o.string("group"), file: try o.string("file"), ids: ids))
    }
    return groups
  }
}

/// What another program predicts of a table's rows: rows with `model`, `variant` and `predicted_s`, which are named `…_<model>_<variant>` there.
package struct PeerPredictions: Sendable {
  package let name: String
  private let times: [(suffix: String, seconds: Double)]

  /// - Throws: `DocumentError`.
  package init(readingFrom path: String, name: String) throws(DocumentError) {
    var times: [(suffix: String, seconds: Double)] = []
    for node in try Document(readingFrom: path).root.object().elements("rows") {
      let o = try node.object()
      times.append(("_\(try o.string("model"))_\(try o.string("variant"))", try o.double("predicted_s", .positive)))
    }
    (self.name, self.times) = (name, times)
  }

  func seconds(_ id: String) -> Double? { times.first { id.hasSuffix($0.suffix) }?.seconds }
}

/// All sets of a folder.
package struct AccuracyReport: Sendable {
  package let sets: [SetAccuracy]
  /// Files of the folder that are no tables of runs.
  package let otherFiles: [String]
  /// Constants of the hardware files that the sets' rows name which the files say were fitted.
  package let constants: [FittedValue]
  /// Tables with constants that were fitted without them; nil where this was not asked for.
  package let leftOut: [LeftOutSet]?

  package struct Totals: Sendable {
    package let rows: Int
    package let priced: ErrorFigures?
    package let groups: Int
    package let spearman: Double?
    package let regret: Double?
  }

  package init(sets: [SetAccuracy], otherFiles: [String], constants: [FittedValue] = [], leftOut: [LeftOutSet]? = nil) {
    (self.sets, self.otherFiles, self.constants, self.leftOut) = (sets, otherFiles, constants, leftOut)
  }

  /// The mean error of all rows with what constants are without a fit; nil where no set has fitted constants.
  package var unfittedMean: Double? {
    guard sets.contains(where: { $0.unfitted != nil }) else { return nil }
    let figures = sets.compactMap { $0.unfitted ?? $0.priced?.model }
    let rows = figures.reduce(0) { $0 + $1.rows }
    return rows > 0 ? figures.reduce(0) { $0 + $1.mean * Double($1.rows) } / Double(rows) : nil
  }

  package var totals: Totals {
    let groups = sets.flatMap(\.groups).map(\.model)
    return Totals(
      rows: sets.reduce(0) { $0 + $1.rows },
      priced: ErrorFigures(sets.flatMap(\.compared).map { ($0.id, $0.predicted / $0.measured - 1) }), groups: groups.count,
      spearman: Self.mean(groups.compactMap(\.spearman)), regret: Self.mean(groups.map(\.regret)))
  }

  package static func mean(_ values: [Double]) -> Double? { values.isEmpty ? nil : values.reduce(0, +) / Double(values.count) }
}
