// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import Synchronization

/// A constant that a fit may move: one of all clusters' devices together, or one of a level of one cluster.
package struct FitConstant: Sendable {
  /// `attention`, `nvlink.startup_us`; with several clusters the latter has the cluster's name before it.
  package let name: String
  package let constant: FittableConstant
  /// The file, by its number, and the place in it.
  package let places: [(file: Int, place: ConstantPlace)]
  /// What the files say: the geometric mean, where they differ.
  package let value: Double
  /// What they say it is without a fit, or `value`, in its range: what a fit stays near to.
  package let prior: Double
  /// Whether the files say that it was fitted.
  package let wasFitted: Bool

  package var isOfDevice: Bool {
    if case .device? = places.first?.place.owner { true } else { false }
  }

  /// All constants of clusters that may be fitted.
  package static func all(of files: [(name: String, file: HardwareFile)]) -> [FitConstant] {
    var groups: [(name: String, places: [(file: Int, place: ConstantPlace)])] = []
    for (i, file) in files.enumerated() {
      for place in file.file.constantPlaces {
        var name = place.name
        if case .level = place.owner, files.count > 1 { name = "\(file.name):\(name)" }
        if let known = groups.firstIndex(where: { $0.name == name }) {
          groups[known].places.append((i, place))
        } else {
          groups.append((name, [(i, place)]))
        }
      }
    }
    return groups.map { name, places in
      let constant = places[0].place.constant
      func mean(_ values: [Double]) -> Double {
        if values.allSatisfy({ $0 == values[0] }) { return values[0] }
        return exp(values.reduce(0) { $0 + log(constant.clamped($1)) } / Double(values.count))
      }
      let known = places.map { files[$0.file].file.value($0.place) }
      let unfitted = places.map { files[$0.file].file.unfittedValue($0.place) }
      let before = mean(zip(unfitted, known).map { $0 ?? $1 })
      return FitConstant(
        name: name, constant: constant, places: places, value: mean(known),
        prior: before == 0 ? constant.start ?? constant.low : constant.clamped(before),
        wasFitted: unfitted.contains { $0 != nil })
    }
  }
}

/// Measured steps on clusters of one kind of device, and what is predicted of them with other constants.
package final class FitProblem: Sendable {
  package let files: [(name: String, file: HardwareFile)]
  package let constants: [FitConstant]
  package let samples: [FitSample]
  private let threads: Int
  /// Called with the number of evaluations begun and of rows priced; no more are priced once it says false.
  private let goesOn: @Sendable (_ evaluation: Int, _ row: Int) -> Bool

  /// Errors by the file of the row's own cluster: what is changed in another one's does not price it again.
  private struct Known {
    struct Price: Hashable {
      let row: Int
      /// Whether what the row leaves open of its split was searched with that file.
      let isSearched: Bool
    }
    var errors: [HardwareFile: [Price: Double]] = [:]
    var evaluations = 0
  }
  /// The file of each row, by number.
  private let fileOfRow: [Int]
  private let known = Mutex(Known())

  /// - Precondition: each row's `hardware` is the name of one of the files.
  package init(
    _ files: [(name: String, file: HardwareFile)], _ samples: [FitSample], threads: Int,
    goesOn: @escaping @Sendable (_ evaluation: Int, _ row: Int) -> Bool = { _, _ in true }
  ) {
    (self.files, self.samples, self.threads, self.goesOn) = (files, samples, threads, goesOn)
    constants = FitConstant.all(of: files)
    fileOfRow = samples.map { sample in
      guard let file = files.firstIndex(where: { $0.name == sample.row.hardware }) else { preconditionFailure("a row of no cluster that is given") }
      return file
    }
  }

  /// How often rows were priced so far.
  package var evaluations: Int { known.withLock(\.evaluations) }

  /// The files with values of some constants, by number; all others are as the files say.
  package func files(with values: [(constant: Int, value: Double)]) throws -> [HardwareFile] {
    try files.indices.map { file in
      try files[file].file.setting(
        values.flatMap { change in
          constants[change.constant].places.filter { $0.file == file }.map { (place: $0.place, value: change.value) }
        })
    }
  }

  /// ln(predicted / measured) of some rows.
  ///
  /// - Throws: `CancellationError`; `FitError.rowLost`; as `RowPricer.price`.
  package func logErrors(of rows: [Int], with values: [(constant: Int, value: Double)]) throws -> [Double] {
    try logErrors(of: rows, on: try files(with: values))
  }

  /// - Parameter searches: whether what rows leave open of their split is searched with these files.
  package func logErrors(of rows: [Int], on files: [HardwareFile], searches: Bool = false) throws -> [Double] {
    let wanted = rows.map { Known.Price(row: $0, isSearched: searches && samples[$0].open != samples[$0].row) }
    let (missing, evaluation) = known.withLock { known in
      let missing = wanted.filter { known.errors[files[fileOfRow[$0.row]]]?[$0] == nil }
      if !missing.isEmpty { known.evaluations += 1 }
      return (missing, known.evaluations)
    }
    if !missing.isEmpty {
      let pricer = RowPricer(HardwareShelf(zip(self.files, files).map { ($0.name, $1) }))
      let goesOn = goesOn
      let prices = try pricer.price(
        missing.map { ($0.isSearched ? samples[$0.row].open : samples[$0.row].row, samples[$0.row].convention) }, threads: threads
      ) {
        goesOn(evaluation, $0)
      }
      let errors = try zip(missing, prices).map { one, price in
        guard let step = price.step else { throw FitError.rowLost(samples[one.row].row.id) }
        return log(step.value / samples[one.row].seconds)
      }
      known.withLock { known in
        for (one, error) in zip(missing, errors) { known.errors[files[fileOfRow[one.row]], default: [:]][one] = error }
      }
    }
    return known.withLock { known in wanted.map { known.errors[files[fileOfRow[$0.row]]]![$0]! } }
  }

  /// The figures of rows' errors, as `validate` has them.
  package func figures(of rows: [Int], on files: [HardwareFile], searches: Bool = false) throws -> ErrorFigures? {
    ErrorFigures(zip(rows, try logErrors(of: rows, on: files, searches: searches)).map { (samples[$0].row.id, exp($1) - 1) })
  }

  /// How much predictions move, in the mean over rows, when a constant moves from its prior value by 10 %.
  package func movement(of constant: Int, on rows: [Int]) throws -> Double {
    let (range, prior) = (constants[constant].constant, constants[constant].prior)
    let moved = exp(RobustFit.moved(log(prior), log(range.high)))
    let before = try logErrors(of: rows, with: [(constant, prior)])
    let after = try logErrors(of: rows, with: [(constant, moved)])
    return zip(before, after).reduce(0) { $0 + abs($1.1 - $1.0) } / Double(max(1, rows.count)) * log(1.1) / RobustFit.difference
  }

  /// A movement below this, 0.2 %, is lost in what measurements differ among themselves.
  package static let leastMovement = 0.002
  /// The most constants that are fitted.
  package static let mostConstants = 8

  /// The constants that rows can tell, those that move predictions most first kept, in their own order.
  package func telling(_ candidates: [Int], on rows: [Int]) throws -> [Int] {
    let movements = try candidates.map { (constant: $0, movement: try movement(of: $0, on: rows)) }
    let telling = movements.filter { $0.movement >= Self.leastMovement }.sorted { ($1.movement, $0.constant) < ($0.movement, $1.constant) }
    return telling.prefix(Self.mostConstants).map(\.constant).sorted()
  }

  package struct Solution: Sendable {
    /// Of each constant that was fitted, rounded to three digits.
    package let values: [(constant: Int, value: Double)]
    package let objective: Double
  }

  /// Fits constants on rows.
  package func fit(_ active: [Int], on rows: [Int]) throws -> Solution {
    let ranges = active.map { constants[$0].constant }
    let search = RobustFit(
      low: ranges.map { log($0.low) }, high: ranges.map { log($0.high) }, prior: active.map { log(constants[$0].prior) })
    func values(_ point: [Double]) -> [(constant: Int, value: Double)] {
      zip(active, point).map { constant, u in
        // At the prior itself what the file says, not the exponential of its logarithm.
        let own = constants[constant]
        return (constant, u == log(own.prior) ? own.prior : own.constant.clamped(exp(u)))
      }
    }
    let result = try search.minimise { try self.logErrors(of: rows, with: values($0)) }
    let rounded = values(result.point).map { (constant: $0.constant, value: constants[$0.constant].constant.clamped(Self.rounded($0.value))) }
    return Solution(values: rounded, objective: result.objective)
  }

  /// Three significant digits: rows tell no more.
  static func rounded(_ value: Double) -> Double { Double(String(format: "%.3g", value)) ?? value }
}

/// Why constants cannot be fitted.
package enum FitError: Error, Hashable, Sendable, CustomStringConvertible {
  /// A row that had a price has none with other constants, which never decide whether a split is possible.
  case rowLost(String)

  package var description: String {
    switch self {
    case .rowLost(let id): "internal error: the row \(id) has no price with other constants"
    }
  }
}
