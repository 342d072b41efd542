// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Search
import Strategies

/// What a configuration needs at least, whatever time it takes.
extension PlanSearch {
  /// Whether no choice keeps to the memory, as tables tell at once, so that no complete problem need be solved; where nothing was found yet, the
  /// closest such configuration is remembered.
  ///
  /// - Parameter first: the memory row that is looked at first.
  mutating func exceedsMemory(_ model: FrameModel, _ rows: [(load: Configuration.Load, op: Int)], first: Int) throws -> Bool {
    guard let tables = model.minimum.tables else { return false }
    var least = Int64(0)
    var row = first
    var seen = Set<Int>()
    while seen.insert(row).inserted, seen.count <= Self.mostRows {
      guard let (bytes, choice) = try Self.least(tables, rows[row].load.row(rows[row].op), limit: limit) else { return false }
      least = max(least, bytes)
      // What does not come closer than another configuration needs no closer look.
      if least > limit, case .memory(let known, _) = shortfall, known <= least { break }
      let uses = rows.map { tables.memory(choice, $0.load.row($0.op)) }
      guard let fullest = uses.indices.max(by: { (uses[$0], $1) < (uses[$1], $0) }), uses[fullest] > least else { break }
      if least <= limit, uses[fullest] <= limit { return false }
      row = fullest
    }
    guard least > limit else { return false }
    infeasible += 1
    note(.memory(row: row, least: least, limit: limit))
    return true
  }

  private static let mostRows = 8

  /// The least that the fullest stage of a frame holds, whatever the cut and whatever its layers compute again; less than `known` may be a bound of
  /// some kinds only.
  mutating func leastMemoryOfFullest(_ bounds: FrameBounds, _ frame: Space.Frame, atLeast known: Int64) throws -> Int64 {
    var least = bounds.leastMemoryOfFullest
    for recompute in space.recomputes.dropFirst() where least >= known {
      if let other = try self.bounds(frame.recomputing(recompute)) { least = min(least, other.leastMemoryOfFullest) }
    }
    return least
  }

  /// The least that a row can hold, and a choice with which it does; nil without a choice, or where sums would be out of range.
  private static func least(_ tables: BlockTables, _ row: BlockTables.MemoryRow, limit: Int64) throws -> (bytes: Int64, choice: [Int])? {
    var objective = BlockTables.Objective(segments: row.copies.map { _ in Configuration.Weights() }) { _ in Configuration.Weights() }
    // A tick for each byte, so that nothing is rounded.
    objective.price = BlockTables.Price(row: row, limit: limit, ticksPerByte: 1)
    do {
      return try tables.least(objective).map { ($0.sum + limit, $0.choice) }
    } catch SearchError.sumOutOfRange {
      return nil
    }
  }
}
