// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing

@testable import Validation

/// Tables and hardware of tests.
enum Tables {
  static let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
  /// Measurements of others, which are not part of the project; nil where they do not lie beside it.
  static let shared: String? = FileManager.default.fileExists(atPath: "\(package)/../shared/validation") ? "\(package)/../shared/validation" : nil
  static let shelf = HardwareShelf(folder: "\(package)/hardware")
  static let pricer = RowPricer(shelf)
  /// A file of which nothing is fitted, with constants that stay as they are.
  static let unfittedHardware = "\(package)/Tests/Fixtures/hardware/dgx_a100_80g_hdr200x8.json"

  static func table(_ text: String, file: String = "table.json") throws -> MeasurementTable {
    try MeasurementTable(decoding: Document(file: file, parsing: text.utf8))
  }

  /// The rows' prices.
  static func prices(_ text: String, threads: Int = 1) throws -> [RowPrice] { try pricer.price(try table(text), threads: threads) }

  /// A row of a GPT model of 22 billion parameters on one node; `changes` replace members or, as nil, take them out.
  static func row(_ id: String = "row", _ changes: KeyValuePairs<String, JSON?> = [:]) -> JSON {
    var object = JSON.Object([
      ("id", .string(id)), ("hw", "dgx_a100_80g_hdr200x8"), ("gpus", 8), ("layers", 4), ("hidden", 6144), ("heads", 64), ("ffn", 24576),
      ("vocab", 51200), ("seq", 2048), ("tp", 8), ("pp", 1), ("dp", 1), ("recompute", "full"), ("gbs", 4), ("mbs", 4),
      ("precision", "fp16-mixed"),
    ])
    for (key, value) in changes { object[key] = value }
    return .object(object)
  }

  static func text(_ rows: [JSON], name: String = "test") -> String {
    JSON.object(JSON.Object([("name", .string(name)), ("rows", .array(rows))])).canonicalText
  }

  static func price(_ row: JSON, name: String = "test") throws -> RowPrice { try prices(text([row], name: name))[0] }
}
