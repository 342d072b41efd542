// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware

/// What the rows of one table on one kind of device are predicted to take with constants that were fitted on the other tables alone.
package struct LeftOutSet: Sendable {
  /// The family of devices, such as `a100`.
  package let family: String
  package let set: String
  package let rows: Int
  /// Tables that the constants were fitted on, and their rows.
  package let others: [(set: String, rows: Int)]
  package let constants: [(name: String, value: Double, prior: Double)]
  /// With the files as they are.
  package let ordinary: ErrorFigures
  /// With the constants fitted on the others.
  package let leftOut: ErrorFigures
  /// With what constants are without any fit.
  package let unfitted: ErrorFigures

  /// Leaves out each table in turn, of all kinds of device that at least two of them have rows of.
  ///
  /// Constants are those that the hardware files say were fitted (`unfitted`), and start from what they are without; where files of a kind say
  /// this of none, those of its devices that the rows tell, starting from what the files say. Rows that leave some of their split open are fitted
  /// on with the split that is fastest by the files as they are, and priced with the one that is fastest by the constants found.
  ///
  /// - Parameter family: of a row's cluster; nil where it has several or is not known.
  package static func all(
    _ samples: [FitSample], _ files: [(name: String, file: HardwareFile)], rowsAtMost limit: Int, threads: Int,
    goesOn: @escaping @Sendable (_ family: String, _ evaluation: Int) -> Bool = { _, _ in true }
  ) throws -> [LeftOutSet] {
    let families = Set(files.compactMap(\.file.family)).sorted()
    return try families.flatMap { family -> [LeftOutSet] in
      let own = files.filter { $0.file.family == family }
      let names = Set(own.map(\.name))
      let rows = samples.filter { names.contains($0.row.hardware ?? "") }
      guard Set(rows.map(\.table)).count > 1 else { return [] }
      let used = Set(rows.compactMap(\.row.hardware))
      let problem = FitProblem(own.filter { used.contains($0.name) }, rows, threads: threads) { evaluation, _ in goesOn(family, evaluation) }
      return try sets(problem, family, rowsAtMost: limit)
    }
  }

  private static func sets(_ problem: FitProblem, _ family: String, rowsAtMost limit: Int) throws -> [LeftOutSet] {
    let constants = problem.constants
    let files = problem.files.map(\.file)
    let unfitted = files.map { $0.unfitted ?? $0 }
    let declared = constants.indices.filter { constants[$0].wasFitted }
    var result: [LeftOutSet] = []
    for (name, out) in FitSamples.groups(problem.samples, atMost: .max) {
      let inside = Set(out)
      let rest = problem.samples.indices.filter { !inside.contains($0) }
      let rows = FitSamples.sampled(problem.samples, atMost: limit, among: rest)
      let active =
        declared.isEmpty ? try problem.telling(constants.indices.filter { constants[$0].isOfDevice }, on: rows) : declared
      let values = try problem.fit(active, on: rows).values
      let tables = FitSamples.groups(problem.samples, atMost: .max).filter { $0.name != name }
      guard let ordinary = try problem.figures(of: out, on: files, searches: true),
        let plain = try problem.figures(of: out, on: unfitted, searches: true),
        let leftOut = try problem.figures(of: out, on: try problem.files(with: values), searches: true)
      else { continue }
      let chosen = Set(rows)
      result.append(
        LeftOutSet(
          family: family, set: name, rows: out.count,
          others: tables.map { table in (table.name, table.indices.count { chosen.contains($0) }) },
          constants: values.map { (constants[$0.constant].name, $0.value, constants[$0.constant].prior) }, ordinary: ordinary, leftOut: leftOut,
          unfitted: plain))
    }
    return result
  }
}
