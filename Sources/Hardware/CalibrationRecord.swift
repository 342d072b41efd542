// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// What stands behind a hardware file that was measured: on what, when, how, and how well the constants give the measurements back.
package struct CalibrationRecord: Hashable, Sendable {
  /// The processor, as the system names it, and how many of its cores the program could use.
  package var machine: String
  package var cores: Int
  /// Version and kernel of the BLAS library, and of MPI.
  package var blas: String
  package var mpi: String
  /// The day, as year-month-day.
  package var date: String
  /// Ranks that were busy at the same time.
  package var ranks: Int
  package var isQuick: Bool
  /// The system's mean number of runnable processes in the minute before; above 0, others were at work.
  package var load: Double
  /// (upper − lower quartile) / median of one measurement's repetitions: the median over all measurements.
  package var spread: Double
  /// The part of a message's time that other work hides; 1 where a transfer costs nothing while a rank computes.
  package var hidden: Double?
  package var fits: [Fit]
  package var collectives: [Collective]

  /// How well constants give back what they were fitted on: |fitted / measured − 1|.
  package struct Fit: Hashable, Sendable {
    package var name: String
    package var measurements: Int
    package var medianError: Double
    package var worstError: Double

    package init(name: String, measurements: Int, medianError: Double, worstError: Double) {
      (self.name, self.measurements, self.medianError, self.worstError) = (name, measurements, medianError, worstError)
    }
  }

  /// α and β of one kind of communication in a group of so many ranks.
  package struct Collective: Hashable, Sendable {
    package var pattern: CommunicationPattern
    package var ranks: Int
    /// Of one call with hardly any bytes.
    package var microseconds: Double
    /// The bytes that count (`CollectiveCost`) over the time of large calls.
    package var gigabytesPerSecond: Double

    package init(pattern: CommunicationPattern, ranks: Int, microseconds: Double, gigabytesPerSecond: Double) {
      (self.pattern, self.ranks, self.microseconds, self.gigabytesPerSecond) = (pattern, ranks, microseconds, gigabytesPerSecond)
    }
  }

  package init(
    machine: String, cores: Int, blas: String, mpi: String, date: String, ranks: Int, isQuick: Bool, load: Double, spread: Double, hidden: Double?,
    fits: [Fit], collectives: [Collective]
  ) {
    (self.machine, self.cores, self.blas, self.mpi, self.date) = (machine, cores, blas, mpi, date)
    (self.ranks, self.isQuick, self.load, self.spread, self.hidden) = (ranks, isQuick, load, spread, hidden)
    (self.fits, self.collectives) = (fits, collectives)
  }
}

extension CalibrationRecord {
  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: [
      "machine", "cores", "blas", "mpi", "date", "ranks", "quick", "load", "spread", "hidden_share", "fits", "collectives",
    ])
    machine = try o.string("machine")
    cores = try o.int("cores", .within(1, 1_000_000))
    blas = try o.string("blas")
    mpi = try o.string("mpi")
    let day = try o.node("date")
    date = try day.string()
    guard Self.isDate(date) else { throw day.invalid(expected: "a date such as \"2026-01-31\"") }
    ranks = try o.int("ranks", .within(1, 1_000_000))
    isQuick = try o.bool("quick")
    load = try o.double("load", .within(0, 1e6))
    spread = try o.double("spread", .within(0, 1e6))
    hidden = try o.doubleIfPresent("hidden_share", .within(0, 1))
    fits = try o.elements("fits").map { (node) throws(DocumentError) in try Fit(decoding: node) }
    collectives = try o.elements("collectives").map { (node) throws(DocumentError) in try Collective(decoding: node) }
    try o.finish()
  }

  private static func isDate(_ text: String) -> Bool {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.map(\.count) == [4, 2, 2], parts.allSatisfy({ $0.allSatisfy { ("0"..."9").contains($0) } }) else { return false }
    return 1...12 ~= Int(parts[1]) ?? 0 && 1...31 ~= Int(parts[2]) ?? 0
  }

  var json: JSON {
    var o = JSON.Object([
      ("machine", .string(machine)), ("cores", .int(cores)), ("blas", .string(blas)), ("mpi", .string(mpi)), ("date", .string(date)),
      ("ranks", .int(ranks)), ("quick", .bool(isQuick)), ("load", .double(load)), ("spread", .double(spread)),
    ])
    o["hidden_share"] = hidden.map { .double($0) }
    o["fits"] = .array(
      fits.map {
        [
          "name": .string($0.name), "measurements": .int($0.measurements), "median_error": .double($0.medianError),
          "worst_error": .double($0.worstError),
        ]
      })
    o["collectives"] = .array(
      collectives.map {
        [
          "kind": .string($0.pattern.rawValue), "ranks": .int($0.ranks), "latency_us": .double($0.microseconds),
          "bandwidth_GBps": .double($0.gigabytesPerSecond),
        ]
      })
    return .object(o)
  }
}

extension CalibrationRecord.Fit {
  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: ["name", "measurements", "median_error", "worst_error"])
    name = try o.string("name")
    measurements = try o.int("measurements", .within(1, 1_000_000))
    medianError = try o.double("median_error", .within(0, 1e6))
    worstError = try o.double("worst_error", .within(0, 1e6))
    try o.finish()
  }
}

extension CalibrationRecord.Collective {
  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: ["kind", "ranks", "latency_us", "bandwidth_GBps"])
    pattern = try o.choice("kind", of: CommunicationPattern.self)
    ranks = try o.int("ranks", .within(2, 1_000_000))
    microseconds = try o.double("latency_us", .within(0, 1e9))
    gigabytesPerSecond = try o.double("bandwidth_GBps", .within(1e-6, 1e9))
    try o.finish()
  }
}
