// SPDX-License-Identifier: GPL-3.0-or-later

/// A mixed-integer linear program as a plain value: minimise Σ cost·x with bounds on columns and rows.
struct LinearProgram: Sendable {
  enum Kind: Sendable { case continuous, binary }

  struct Column: Sendable {
    var name: String?
    var kind: Kind = .continuous
    var lower = 0.0
    /// nil: no bound.
    var upper: Double?
    var cost = 0.0
  }

  struct Row: Sendable {
    var name: String?
    /// nil: no bound.
    var lower: Double?
    var upper: Double?
    /// Distinct columns, each with its coefficient.
    var terms: [(column: Int, value: Double)]

    static func equal(_ value: Double, _ terms: [(column: Int, value: Double)], name: String? = nil) -> Row {
      Row(name: name, lower: value, upper: value, terms: terms)
    }
    static func atMost(_ value: Double, _ terms: [(column: Int, value: Double)], name: String? = nil) -> Row {
      Row(name: name, upper: value, terms: terms)
    }
  }

  var columns: [Column] = []
  var rows: [Row] = []

  mutating func add(_ column: Column) -> Int {
    columns.append(column)
    return columns.count - 1
  }
}
