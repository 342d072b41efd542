// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import Quantities
import Validation

/// What `fit` was given: tables and hardware files, told apart by what they say of themselves.
struct FitFiles {
  struct Cluster {
    let path: String
    let document: Document
    let file: HardwareFile
    var name: String { file.name }
  }

  private(set) var tables: [MeasurementTable] = []
  private(set) var clusters: [Cluster] = []
  /// What was read.
  private(set) var paths: [String] = []

  /// - Throws: `UsageError` where there is no table or no hardware file, or the latter are not of one kind of device; `DocumentError`, `HardwareError`.
  init(_ inputs: [String], allRows: Bool) throws {
    for path in inputs {
      var isDirectory: ObjCBool = false
      if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
        let folder = try ValidationFolder(path)
        tables += folder.tables.map(\.table)
        paths += folder.files.map { "\(path)/\($0)" }
        continue
      }
      paths.append(path)
      let document = try Document(readingFrom: path)
      if DocumentKind(of: document.value) == .hardware {
        clusters.append(Cluster(path: path, document: document, file: try HardwareFile(decoding: document)))
      } else {
        tables.append(try MeasurementTable(decoding: document))
      }
    }
    guard !tables.isEmpty else { throw UsageError("fit takes ROWS HW: no table of measured steps is among the files") }
    guard !clusters.isEmpty else { throw UsageError("fit takes ROWS HW: no hardware file is among the files") }
    let first = clusters[0]
    for cluster in clusters {
      guard let family = cluster.file.family else {
        throw UsageError("\(cluster.path): a cluster of several kinds of device; rows do not tell the constants of one from another's")
      }
      guard family == first.file.family else {
        throw UsageError(
          "\(cluster.path) has devices of another kind, \(family), than \(first.path), \(first.file.family ?? ""); fit each kind by itself")
      }
      guard clusters.count(where: { $0.name == cluster.name }) == 1 else { throw UsageError("two hardware files have the name \"\(cluster.name)\"") }
    }
    if allRows, clusters.count > 1 { throw UsageError("--all-rows: with several hardware files it is open of which cluster a row is") }
  }

  /// Where a cluster's file goes; nil: nowhere.
  func output(_ output: String?, of cluster: Int) -> String? {
    guard let output, clusters.count > 1 else { return output }
    return "\(output)/\(URL(fileURLWithPath: clusters[cluster].path).lastPathComponent)"
  }

  /// That nothing can be fitted, and why.
  func noRows(_ rows: FitSamples) -> String {
    let names = clusters.map { "\"\($0.name)\"" }.joined(separator: ", ")
    let reasons = rows.leftOut.map { "\(counted($0.rows, "row")): \($0.reason)" }
    return "no row can be used for a fit of \(names): " + (reasons.isEmpty ? "the tables are empty" : reasons.joined(separator: "; "))
      + (rows.leftOut.contains { $0.reason.contains("hw") } ? ". With --all-rows rows of other names count too" : "")
  }
}

extension FitFiles.Cluster {
  /// The file's JSON with the fitted constants, and what they were before in this file.
  func written(_ report: FitReport, file number: Int, record: String) -> JSON {
    let fitted = report.constants.filter(\.isFitted).flatMap { constant in
      constant.constant.places.filter { $0.file == number }.map { (place: $0.place, after: constant.after, before: file.value($0.place)) }
    }
    if fitted.isEmpty { return document.value }
    var json = document.value.setting(fitted.map { ($0.place, $0.after) } + implied(fitted.map(\.place)))
    var owners: [ConstantPlace.Owner] = []
    for place in fitted.map(\.place) where !owners.contains(place.owner) { owners.append(place.owner) }
    for owner in owners { json = json.recording(unfitted: fitted.map { ($0.place, $0.before) }, rows: record, of: owner) }
    return json
  }

  /// Attention's rate where the file does not give it: it is that of products, which the fit may have changed.
  private func implied(_ fitted: [ConstantPlace]) -> [(place: ConstantPlace, value: Double)] {
    let owners = Set(fitted.map(\.owner))
    return file.constantPlaces.filter { place in
      guard place.constant.key == "attention", owners.contains(place.owner), !fitted.contains(place), case .device(let name) = place.owner else {
        return false
      }
      return document.value["devices"]?[name]?["efficiency"]?["attention"] == nil
    }.map { ($0, file.value($0)) }
  }
}
