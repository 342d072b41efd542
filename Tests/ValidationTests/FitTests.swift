// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import Quantities
import TestSupport
import Testing

@testable import Validation
@testable import tpplan

/// `fit` and sets left out: on rows that the planner itself priced with other constants.
@Suite struct FitTests {
  private static let name = "dgx_a100_80g_hdr200x8"

  private func file(_ values: [String: Double] = [:]) throws -> HardwareFile {
    let file = try HardwareFile(readingFrom: Tables.unfittedHardware)
    return try file.setting(file.constantPlaces.compactMap { place in values[place.name].map { (place, $0) } })
  }

  /// Small models on one node, that differ in what their steps are made of.
  private func rows(_ count: Int, seed: UInt64, prefix: String = "r", tensor degrees: [Int] = [1]) -> [JSON] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { i in
      let hidden = generator.pick([512, 1024, 2048, 4096])
      let tensor = generator.pick(degrees)
      let size = generator.pick([1, 2, 4])
      return Tables.row(
        "\(prefix)\(i)",
        [
          "layers": 1, "hidden": .int(hidden), "heads": .int(hidden / 64), "ffn": .int(4 * hidden), "vocab": 1024, "gpus": .int(tensor),
          "seq": .int(generator.pick([512, 2048, 8192])), "tp": .int(tensor), "mbs": .int(size), "gbs": .int(2 * size),
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
    let truth = ["gemm": 0.5, "memory": 0.5, "dispatch_us": 12.0]
    let own = try file()
    let problem = try problem([table(rows(16, seed: 1, tensor: [1, 2]), file(truth))], own)
    let names = ["gemm", "memory", "dispatch_us", "infiniband.startup_us"]
    let chosen = names.map { name in problem.constants.firstIndex { $0.name == name }! }
    let report = try FitReport(problem, chosen: chosen, rowsAtMost: 16, folds: 0)
    #expect(report.unfitted == nil && report.folds.isEmpty && report.rows.count == 16)
    // With 16 rows the prior counts as one. The true constants cost their distance from it alone: so much the rows may cost in all. ρ is convex, so that the mean of |r| is no
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
      // More than half of the way, in logarithms.
      #expect(abs(log(found.after / value)) < abs(log(found.constant.value / value)) / 2, "\(name) \(found.after) for \(value)")
    }
    // No row reaches over a node.
    let outer = try #require(report.constants.first { $0.constant.name == "infiniband.startup_us" })
    #expect(outer.isFitted && outer.after == outer.constant.value && outer.movement == 0 && !outer.isTold)
    #expect(try problem.telling(Array(problem.constants.indices), on: report.rows).allSatisfy { !problem.constants[$0].name.hasPrefix("infiniband") })
  }

  /// The file with constants that it says were fitted, from what `unfitted` has.
  private func file(_ values: [String: Double], unfitted: [String: Double]) throws -> HardwareFile {
    let own = try file()
    let device = ConstantPlace.Owner.device("a100-80")
    func changes(_ values: [String: Double]) -> [(place: ConstantPlace, value: Double)] {
      FittableConstant.ofDevices.compactMap { constant in values[constant.key].map { (ConstantPlace(device, constant), $0) } }
    }
    let json = own.json.setting(changes(values)).recording(unfitted: changes(unfitted), rows: "rows r0", of: device)
    return try HardwareFile(decoding: Document(file: "h.json", value: json))
  }

  private func leaveOut(_ tables: [MeasurementTable], _ file: HardwareFile) throws -> [LeftOutSet] {
    let samples = try FitSamples(tables, clusters: nil, RowPricer(HardwareShelf([(Self.name, file)])), threads: 2)
    return try LeftOutSet.all(samples.samples, [(Self.name, file)], rowsAtMost: 12, threads: 2)
  }

  @Test("A set that is left out has no part in its constants, but in those of others; they start from what they are unfitted")
  func leftOut() throws {
    let fitted = try file(["attention": 0.2, "dispatch_us": 12], unfitted: ["attention": 0.08, "dispatch_us": 42])
    #expect(try fitted.unfitted == file(["attention": 0.08, "dispatch_us": 42], unfitted: ["attention": 0.08, "dispatch_us": 42]))
    let sets = try ["a", "b", "c"].enumerated().map { i, name in
      try table(rows(3, seed: UInt64(i + 10), prefix: name), fitted, name: name)
    }
    let plain = try leaveOut(sets, fitted)
    #expect(plain.map(\.set) == ["a", "b", "c"] && plain.allSatisfy { $0.family == "a100" && $0.rows == 3 && $0.others.map(\.rows) == [3, 3] })
    #expect(plain.allSatisfy { $0.constants.map(\.name) == ["attention", "dispatch_us"] && $0.constants.map(\.prior) == [0.08, 42] })
    // The rows are of the fitted constants, with which they have no error; without they have, and the other sets' constants are better.
    #expect(plain.allSatisfy { $0.ordinary.mean < 1e-12 && $0.unfitted.mean > $0.leftOut.mean })
    let poisoned = try leaveOut([sets[0], sets[1], try table(rows(3, seed: 12, prefix: "c"), fitted, name: "c", factor: 2)], fitted)
    func constants(_ set: LeftOutSet) -> [String] { set.constants.map { "\($0.name) \($0.value)" } }
    #expect(constants(poisoned[2]) == constants(plain[2]))
    #expect(constants(poisoned[0]) != constants(plain[0]) && constants(poisoned[1]) != constants(plain[1]))
    // The errors are of the set itself, whose times are twice as long.
    #expect(abs((1 + poisoned[2].leftOut.bias) * 2 - (1 + plain[2].leftOut.bias)) < 1e-9)
    // One set alone has no others.
    #expect(try leaveOut([sets[0]], fitted).isEmpty)
  }

  @Test("Where files do not say what was fitted, it is what the rows tell of the device")
  func undeclared() throws {
    let own = try file()
    let tables = try ["a", "b"].enumerated().map { i, name in
      try table(rows(2, seed: UInt64(i + 20), prefix: name), file(["gemm": 0.5]), name: name)
    }
    let left = try leaveOut(tables, own)
    #expect(left.count == 2 && own.unfitted == nil)
    for set in left {
      #expect(set.constants.contains { $0.name == "gemm" && $0.prior == 0.868 } && set.constants.allSatisfy { !$0.name.contains(".") })
      #expect(set.unfitted.mean == set.ordinary.mean && set.leftOut.mean < set.ordinary.mean)
    }
  }

  @Test("validate prices with what constants are unfitted too, also rows whose splits are searched")
  func unfittedFigures() throws {
    let fitted = try file(["dispatch_us": 12], unfitted: ["dispatch_us": 42])
    var rows = rows(2, seed: 40) + [Tables.row("open", ["layers": 1, "mbs": nil, "gbs": 2])]
    rows[0] = Tables.row("own", ["layers": 1, "hidden": 512, "heads": 8, "ffn": 2048])
    let timed = try table(rows, fitted)
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let members = zip(rows, timed.published).map { row, published -> JSON in
      guard case .object(var object) = row else { return row }
      object["iter_s"] = published.seconds.map { .double($0) }
      return .object(object)
    }
    try Data(Tables.text(members).utf8).write(to: folder.appendingPathComponent("test.json"))
    func report(_ file: HardwareFile) throws -> SetAccuracy {
      let shelf = HardwareShelf([(Self.name, file)])
      let report = try ValidationFolder(folder.path).report(
        on: shelf, { try RowPricer(shelf).price($0) }, unfitted: { try RowPricer($1).price($0) })
      #expect(report.constants.map(\.name) == (file.unfitted == nil ? [] : ["dispatch_us"]))
      return report.sets[0]
    }
    let (set, plain) = (try report(fitted), try report(try file(["dispatch_us": 42])))
    #expect(set.priced?.model.rows == 2 && set.searched?.model.rows == 1 && set.priced!.model.mean < 1e-12)
    #expect(set.unfitted == plain.priced?.model && set.unfittedSearched == plain.searched?.model && set.unfitted!.mean > 0)
    #expect(plain.unfitted == nil && plain.unfittedSearched == nil)
  }

  @Test("Files of one kind of device share its constants, each level has its own")
  func shared() throws {
    let (one, other) = (try file(), try file(["attention": 0.32, "nvlink.startup_us": 10]))
    let constants = FitConstant.all(of: [("one", one), ("other", other)])
    let attention = try #require(constants.first { $0.name == "attention" })
    #expect(attention.places.map(\.file) == [0, 1] && attention.isOfDevice && !attention.wasFitted)
    // The geometric mean of 0.08 and 0.32.
    #expect(abs(attention.value - 0.16) < 1e-12 && attention.prior == attention.value)
    #expect(constants.first { $0.name == "memory" }?.value == 0.85)
    #expect(
      constants.filter { $0.constant.key == "startup_us" && $0.name.contains("nvlink") }.map(\.name) == [
        "one:nvlink.startup_us", "other:nvlink.startup_us",
      ])
    #expect(constants.filter { $0.name.hasSuffix("nvlink.startup_us") }.map(\.value) == [39, 10])
    let problem = FitProblem([("one", one), ("other", other)], [], threads: 1)
    let index = try #require(constants.firstIndex { $0.name == "other:nvlink.startup_us" })
    let changed = try problem.files(with: [(constants.firstIndex { $0.name == "attention" }!, 0.5), (index, 20)])
    #expect(
      changed.map { $0.devices[0].efficiency.attention } == [0.5, 0.5]
        && changed.map { $0.levels[0].startup } == [.microseconds(39), .microseconds(20)])
    // What a file says without a fit is what a fit stays near to.
    let fitted = FitConstant.all(of: [("one", try file(["attention": 0.2], unfitted: ["attention": 0.1]))])
    #expect(fitted.first { $0.name == "attention" }?.prior == 0.1 && fitted.filter(\.wasFitted).map(\.name) == ["attention"])
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
