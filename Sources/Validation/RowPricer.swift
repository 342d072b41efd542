// SPDX-License-Identifier: GPL-3.0-or-later
import Dispatch
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies
import Synchronization

/// Prices the rows of tables: each as the plan that `tpplan estimate` makes of its degrees.
package struct RowPricer: Sendable {
  private let shelf: HardwareShelf

  package init(_ shelf: HardwareShelf) { self.shelf = shelf }

  /// - Parameters:
  ///   - threads: rows are priced so many at a time; what they take does not depend on it.
  ///   - goesOn: called with the number of rows that are done; no more are begun once it says false.
  /// - Throws: what is no row's fault: a malformed hardware file, an internal error; `CancellationError` where rows are left.
  package func price(_ table: MeasurementTable, threads: Int = 1, goesOn: @Sendable (Int) -> Bool = { _ in true }) throws -> [RowPrice] {
    try price(table.rows.map { ($0, table.convention(of: $0)) }, threads: threads, goesOn: goesOn)
  }

  /// The prices of rows that may be of several tables.
  ///
  /// - Parameter givenSplitsOnly: rows that leave some of their split open are skipped.
  package func price(
    _ rows: [(row: TableRow, convention: Convention)], givenSplitsOnly: Bool = false, threads: Int = 1,
    goesOn: @Sendable (Int) -> Bool = { _ in true }
  ) throws -> [RowPrice] {
    let results = Mutex([Result<RowPrice, any Error>?](repeating: nil, count: rows.count))
    let next = Mutex((row: 0, done: 0))
    withoutActuallyEscaping(goesOn) { goesOn in
      DispatchQueue.concurrentPerform(iterations: max(1, min(threads, rows.count))) { _ in
        while true {
          let row = next.withLock { next in
            defer { next.row += 1 }
            return next.row
          }
          guard row < rows.count else { return }
          let result = Result { try price(rows[row].row, rows[row].convention, givenSplitsOnly: givenSplitsOnly) }
          results.withLock { $0[row] = result }
          let done = next.withLock { next in
            next.done += 1
            return next.done
          }
          if !goesOn(done) { next.withLock { $0.row = rows.count } }
        }
      }
    }
    return try results.withLock {
      try $0.map { result in
        guard let result else { throw CancellationError() }
        return try result.get()
      }
    }
  }

  /// - Throws: as for a table.
  package func price(_ row: TableRow, _ convention: Convention, givenSplitsOnly: Bool = false) throws -> RowPrice {
    do {
      return try priced(row, convention, givenSplitsOnly)
    } catch let skipped as SkippedRow {
      return RowPrice(id: row.id, status: .skipped, reason: skipped.reason)
    }
  }

  private func priced(_ row: TableRow, _ convention: Convention, _ givenSplitsOnly: Bool) throws -> RowPrice {
    guard let name = row.hardware else { throw SkippedRow("no cluster is named: no hw") }
    guard let batch = row.batch else { throw SkippedRow("the global batch is not published: no gbs") }
    guard batch <= 1_000_000_000 else { throw SkippedRow("a size beyond 1000000000: gbs \(batch)") }
    var assumptions: [String] = []
    let model = try RowModel(row, convention, assumptions: &assumptions)
    let splits = try RowSplits(row, convention, model, assumptions: &assumptions)
    if givenSplitsOnly, !splits.isGiven { throw SkippedRow("its split is not published in full") }
    let cluster = try shelf.cluster(name, devices: splits.devices, devicesPerNode: row.devicesPerNode)
    let precision = try precision(row, convention, cluster, &assumptions)
    var request = SearchRequest(
      graph: try model.graph(vocabularyMultiple: convention.vocabularyMultiple(tensor: 1)), cluster: cluster, batch: batch, sequence: model.sequence,
      precision: precision, mode: .train, optimizer: .adamw)
    request.software = convention.software
    if precision == .fp16, let gradients = convention.gradientsOfHalf { request.software.gradients = gradients }
    if convention.overlapsReplicas, row.zero ?? 0 == 0 { request.software.overlap = .weights }
    assumptions += convention.remarks(request.software)
    let given = splits.isGiven
    var best: (degrees: MegatronDegrees, prediction: Prediction)?
    var (compared, obstacle) = (0, nil as String?)
    var multiple = convention.vocabularyMultiple(tensor: 1)
    for degrees in splits.candidates {
      if convention.vocabularyMultiple(tensor: degrees.tensor) != multiple {
        multiple = convention.vocabularyMultiple(tensor: degrees.tensor)
        request.graph = try model.graph(vocabularyMultiple: multiple)
      }
      do {
        guard let prediction = try degrees.plan(request)?.prediction else { continue }
        compared += 1
        if let best, !Self.isBetter(prediction, best.prediction) { continue }
        best = (degrees, prediction)
      } catch PlannerError.usage(let text) {
        obstacle = obstacle ?? text
      } catch let error as HardwareError where error.exitCode == 64 {
        throw SkippedRow("\(error)")
      }
    }
    guard let best else {
      throw SkippedRow(obstacle ?? (given ? "no split of all operators has these degrees" : "no split of the devices is possible"))
    }
    var price = RowPrice(id: row.id, status: given ? .priced : .searched)
    (price.prediction, price.compared) = (best.prediction, compared)
    price.split = best.degrees.split(batch: batch)
    (price.style, price.assumptions) = (model.style, assumptions)
    price.naive = model.naive(best.degrees, batch: batch)
    return price
  }

  /// What fits comes before what does not; of that the fastest, of this what is least too large.
  private static func isBetter(_ a: Prediction, _ b: Prediction) -> Bool {
    switch (a.memory <= a.memoryLimit, b.memory <= b.memoryLimit) {
    case (true, true): a.step < b.step
    case (false, false): a.memory < b.memory
    case (let fits, _): fits
    }
  }

  private func precision(_ row: TableRow, _ convention: Convention, _ cluster: Cluster, _ assumptions: inout [String]) throws -> Precision {
    if row.precision == nil, let usual = convention.precision { assumptions.append("precision \(usual)") }
    guard let word = row.precision ?? convention.precision else {
      let usual = cluster.kind(of: 0).defaultPrecision
      assumptions.append("precision \(usual.rawValue), the device's usual one")
      return usual
    }
    guard let precision = TableWords.precision(word) else {
      throw SkippedRow(
        "precision that is not priced: \"\(word)\"; known are \(TableWords.precisions.map { $0.words.joined(separator: ", ") }.joined(separator: ", "))"
      )
    }
    return precision
  }
}

extension MegatronDegrees {
  /// The plan of these degrees, as it fits, else as if memory had no end; nil where no split has them.
  ///
  /// - Throws: `PlannerError.usage` where they do not go with the batch or the model.
  fileprivate func plan(_ request: SearchRequest) throws -> PlanOutcome.Planned? {
    var fixed = try fix(request)
    fixed.ignoresMemoryLimit = true
    guard case .planned(let planned) = try Planner.search(fixed) else { return nil }
    // What is best of all plans and fits is best of those that fit.
    if planned.prediction.memory <= planned.prediction.memoryLimit { return planned }
    fixed.ignoresMemoryLimit = false
    if case .planned(let fitting) = try Planner.search(fixed) { return fitting }
    return planned
  }

  fileprivate func split(batch: Int) -> [(key: String, value: Int)] {
    let size = microBatchSize(batch: batch)
    return [
      ("tp", tensor), ("pp", pipeline), ("dp", data), ("cp", context), ("ep", expert), ("vpp", chunks), ("zero", zero.rawValue), ("mbs", size),
      ("nmicro", batch / (size * data)),
    ]
  }
}

extension RowModel {
  /// Operations of one step: two for each multiply-add of the layers' products, of whole score matrices and of the head, three times over, and
  /// those of the layers once more where backward computes them again.
  func naive(_ degrees: MegatronDegrees, batch: Int) -> NaiveStep {
    let tokens = Double(batch) * Double(sequence)
    var visited = self
    // Of the experts each token meets a few.
    if let perToken = expertsPerToken { visited.experts = perToken }
    let layers = tokens * (2 * visited.parameterCount + 4 * Double(self.layers) * Double(sequence) * Double(hidden))
    let head = tokens * 2 * Double(hidden) * Double(vocabulary)
    let microBatches = batch / max(1, degrees.microBatchSize(batch: batch) * degrees.data)
    return NaiveStep(
      work: FLOPs(layers * (degrees.recompute == .full ? 4 : 3) + head * 3), devices: degrees.devices,
      bubble: Double(degrees.pipeline - 1) / Double(max(1, microBatches * degrees.chunks)))
  }
}
