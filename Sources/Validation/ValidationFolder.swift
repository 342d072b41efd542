// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware

/// A folder of tables of measurements.
package struct ValidationFolder: Sendable {
  package let tables: [(file: String, table: MeasurementTable)]
  /// All that were read.
  package var files: [String] { tables.map(\.file) + otherFiles }
  /// Files that hold no rows of runs.
  package let otherFiles: [String]
  package let groups: [RankingGroup]
  /// Predictions of Calculon for Korthikanti et al. (`calculon_validation.json`).
  package let calculon: PeerPredictions?

  /// - Throws: `DocumentError` where the folder, or a file in it, cannot be read.
  package init(_ path: String) throws {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(".json") }.sorted()
    } catch { throw DocumentError.unreadable(file: path, reason: "no folder of tables is there") }
    var (tables, otherFiles) = ([(file: String, table: MeasurementTable)](), [String]())
    for name in names {
      let document = try Document(readingFrom: "\(path)/\(name)")
      if Self.isOfRuns(document.value) { tables.append((name, try MeasurementTable(decoding: document))) } else { otherFiles.append(name) }
    }
    (self.tables, self.otherFiles) = (tables, otherFiles)
    groups = names.contains("ranking_groups.json") ? try RankingGroup.read("\(path)/ranking_groups.json") : []
    let peer = "calculon_validation.json"
    calculon = names.contains(peer) ? try PeerPredictions(readingFrom: "\(path)/\(peer)", name: "Calculon") : nil
  }

  /// Whether some row names a cluster and a batch.
  private static func isOfRuns(_ value: JSON) -> Bool {
    var list = value["rows"]
    if case .array = value { list = value }
    guard case .array(let rows)? = list else { return false }
    return rows.contains { $0["hw"] != nil && $0["gbs"] != nil }
  }

  /// Prices all rows and compares them with what was measured; where hardware files say that constants were fitted, rows are priced with
  /// what these are without too.
  ///
  /// - Parameters:
  ///   - price: prices a table.
  ///   - priceUnfitted: prices a table with these files.
  ///   - leaveOut: fits constants without each table, from the rows that `price` had clusters for.
  package func report(
    on shelf: HardwareShelf, _ price: (MeasurementTable) throws -> [RowPrice],
    unfitted priceUnfitted: (MeasurementTable, HardwareShelf) throws -> [RowPrice] = { _, _ in [] },
    leaveOut: ((_ tables: [MeasurementTable], _ files: [(name: String, file: HardwareFile)]) throws -> [LeftOutSet])? = nil
  ) throws -> AccuracyReport {
    let sets = try tables.map { file, table in
      let prices = try price(table)
      let named = Set(table.rows.compactMap(\.hardware))
      let files = shelf.used.filter { named.contains($0.name) }
      let isFitted = files.contains { $0.file.unfitted != nil }
      let unfitted = isFitted ? try priceUnfitted(table, HardwareShelf(files.map { ($0.name, $0.file.unfitted ?? $0.file) })) : nil
      return SetAccuracy(
        table, prices, unfitted: unfitted, groups: groups.filter { $0.file == file },
        peer: table.name.hasPrefix("korthikanti") ? calculon : nil)
    }
    return AccuracyReport(
      sets: sets, otherFiles: otherFiles, constants: shelf.used.flatMap { FittedValue.all(of: $0.file, named: $0.name) },
      leftOut: try leaveOut?(tables.map(\.table), shelf.used))
  }
}
