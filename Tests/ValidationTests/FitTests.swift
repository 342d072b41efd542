// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import TestSupport
import Testing

@testable import Validation
@testable import tpplan

/// `fit` and sets left out: on rows that the planner itself priced with other constants.
@Suite struct FitTests {
  private static let name = "dgx_a100_80g_hdr200x8"

  private func file(_ values: [String: Double] = [:]) throws -> HardwareFile {
    let file = try HardwareFile(readingFrom: "\(Tables.package)/hardware/\(Self.name).json")
    return try file.setting(file.constantPlaces.compactMap { place in values[place.name].map { (place, $0) } })
  }

  /// Small models on one node, that differ in what their steps are made of.
  private func rows(_ count: Int, seed: UInt64, prefix: String = "r") -> [JSON] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { i in
      let hidden = generator.pick([512, 1024, 2048, 4096])
      let tensor = generator.pick([1, 2, 4])
      let size = generator.pick([1, 2, 4])
      return Tables.row(
        "\(prefix)\(i)",
        [
          "layers": 2, "hidden": .int(hidden), "heads": .int(hidden / 64), "ffn": .int(4 * hidden), "vocab": 1024, "gpus": .int(tensor),
          "seq": .int(generator.pick([256, 1024, 2048])), "tp": .int(tensor), "mbs": .int(size), "gbs": .int(2 * size),
          "recompute": "none",
        ])
    }
  }

  /// The rows with the times that other constants predict, times `factor`.
  private func table(_ rows: [JSON], _ file: HardwareFile, name: String = "test", factor: Double = 1) throws -> MeasurementTable {
    let pricer = RowPricer(HardwareShelf([(Self.name, file)]))
    let timed = try zip(rows, pricer.price(try Tables.table(Tables.text(rows, name: name)))).map { row, price -> JSON in
      guard case .object(var object) = row else { return row }
      object["iter_s"] = .double(try #require(price.step).value * factor)
      return .object(object)
    }
    return try Tables.table(Tables.text(timed, name: name))
  }

  private func problem(_ tables: [MeasurementTable], _ file: HardwareFile) throws -> FitProblem {
    let pricer = RowPricer(HardwareShelf([(Self.name, file)]))
    let rows = try FitSamples(tables, clusters: [Self.name], pricer, threads: 2)
    return FitProblem([(Self.name, file)], rows.samples, threads: 2)
  }

  @Test("Constants that rows were priced with are found again, what rows do not tell stays as it is")
  func recovers() throws {
    let truth = ["attention": 0.2, "memory": 0.6, "dispatch_us": 25.0]
    let own = try file()
    let problem = try problem([table(rows(16, seed: 1), file(truth))], own)
    let names = ["attention", "memory", "dispatch_us", "infiniband.startup_us"]
    let chosen = names.map { name in problem.constants.firstIndex { $0.name == name }! }
    let report = try FitReport(problem, chosen: chosen, rowsAtMost: 16, folds: 0)
    #expect(report.unfitted == nil && report.folds.isEmpty && report.rows.count == 16)
    // The true constants cost their distance from the prior alone: so much the rows may cost in all. ρ is convex, so that the mean of |r| is no
    // more than what has the mean cost; rounding to three digits adds at most 0.5 %.
    let prior = chosen.dropLast().reduce(0.0) { sum, i in
      let scaled = RobustFit.delta / RobustFit.spread * log(truth[problem.constants[i].name]! / problem.constants[i].prior)
      return sum + scaled * scaled
    }
    let cost = 1 + prior / 16 / (2 * RobustFit.delta * RobustFit.delta)
    let bound = exp(RobustFit.delta * (cost * cost - 1).squareRoot()) - 1 + 0.005
    #expect(report.after.mean <= bound, "\(report.after.mean) for \(bound)")
    #expect(report.after.mean < report.before.mean / 3)
    for (name, value) in truth {
      let found = try #require(report.constants.first { $0.constant.name == name })
      #expect(found.isFitted && found.isTold && found.rise > 0)
      // More than three quarters of the way, in logarithms.
      #expect(abs(log(found.after / value)) < abs(log(found.constant.value / value)) / 4, "\(name) \(found.after) for \(value)")
    }
    // No row reaches over a node.
    let outer = try #require(report.constants.first { $0.constant.name == "infiniband.startup_us" })
    #expect(outer.isFitted && outer.after == outer.constant.value && outer.movement == 0 && !outer.isTold)
    #expect(try problem.telling(Array(problem.constants.indices), on: report.rows).allSatisfy { !problem.constants[$0].name.hasPrefix("infiniband") })
  }

  @Test("A set that is left out has no part in its constants, but in those of others")
  func leftOut() throws {
    let own = try file()
    let truth = try file(["attention": 0.2, "dispatch_us": 25])
    let sets = try ["a", "b", "c"].enumerated().map { i, name in
      (name, try table(rows(4, seed: UInt64(i + 10), prefix: name), truth, name: name))
    }
    func leaveOut(_ tables: [MeasurementTable]) throws -> [LeftOutSet] {
      let samples = try FitSamples(tables, clusters: nil, RowPricer(HardwareShelf([(Self.name, own)])), threads: 2)
      return try LeftOutSet.all(samples.samples, [(Self.name, own)], rowsAtMost: 12, threads: 2)
    }
    let plain = try leaveOut(sets.map(\.1))
    #expect(plain.map(\.set) == ["a", "b", "c"] && plain.allSatisfy { $0.family == "a100" && $0.rows == 4 && $0.others.map(\.rows) == [4, 4] })
    let poisoned = try leaveOut([sets[0].1, sets[1].1, try table(rows(4, seed: 12, prefix: "c"), truth, name: "c", factor: 2)])
    func constants(_ set: LeftOutSet) -> [String] { set.constants.map { "\($0.name) \($0.value)" } }
    #expect(constants(poisoned[2]) == constants(plain[2]) && !plain[2].constants.isEmpty)
    #expect(constants(poisoned[0]) != constants(plain[0]) && constants(poisoned[1]) != constants(plain[1]))
    // The errors are of the set itself.
    #expect(abs((1 + poisoned[2].leftOut.bias) * 2 - (1 + plain[2].leftOut.bias)) < 1e-9)
    #expect(plain[2].leftOut.mean < plain[2].ordinary.mean)
    // One set alone has no others.
    #expect(try leaveOut([sets[0].1]).isEmpty)
  }

  @Test("Where files say what was fitted, that is left out, and starts from what it is unfitted")
  func declared() throws {
    let own = try file()
    let device = ConstantPlace.Owner.device("a100-80")
    let place = ConstantPlace(device, FittableConstant.ofDevices.first { $0.key == "attention" }!)
    let json = own.json.setting([(place, 0.2)]).recording(unfitted: [(place, 0.08)], rows: "rows r0", of: device)
    let fitted = try HardwareFile(decoding: Document(file: "h.json", value: json))
    #expect(fitted.unfitted?.value(place) == 0.08 && fitted.value(place) == 0.2 && own.unfitted == nil)
    let tables = try ["a", "b"].enumerated().map { i, name in try table(rows(3, seed: UInt64(i + 20), prefix: name), fitted, name: name) }
    let pricer = RowPricer(HardwareShelf([(Self.name, fitted)]))
    let samples = try FitSamples(tables, clusters: nil, pricer, threads: 2)
    let left = try LeftOutSet.all(samples.samples, [(Self.name, fitted)], rowsAtMost: 12, threads: 2)
    #expect(left.map { $0.constants.map(\.name) } == [["attention"], ["attention"]] && left.allSatisfy { $0.constants[0].prior == 0.08 })
    // The rows are of the fitted constants, with which they have no error; without, they have.
    #expect(left.allSatisfy { $0.ordinary.mean < 1e-12 && $0.unfitted.mean > $0.leftOut.mean })
  }

  @Test("Rows are taken evenly from all tables, and groups are put together evenly")
  func samples() throws {
    let own = try file()
    let large = try table(rows(9, seed: 30, prefix: "x"), own, name: "large")
    let small = try table(rows(2, seed: 31, prefix: "y"), own, name: "small")
    let samples = try FitSamples([large, small], clusters: nil, RowPricer(HardwareShelf([(Self.name, own)])), threads: 2).samples
    #expect(samples.count == 11)
    #expect(FitSamples.sampled(samples, atMost: 5, among: Array(0..<11)) == [0, 3, 6, 9, 10])
    #expect(FitSamples.sampled(samples, atMost: 50, among: Array(0..<11)) == Array(0..<11))
    #expect(FitSamples.groups(samples, atMost: 8).map(\.name) == ["large", "small"])
    let jobs = FitSamples.groups(Array(samples[..<9]), atMost: 100)
    #expect(jobs.count == Set(samples[..<9].map(\.job)).count && jobs.flatMap(\.indices).sorted() == Array(0..<9))
    let folds = FitSamples.groups(Array(samples[..<9]), atMost: 2)
    #expect(folds.count == 2 && folds.flatMap(\.indices).sorted() == Array(0..<9) && folds.allSatisfy { !$0.indices.isEmpty })
  }
}
