// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Quantities
import Testing

@testable import Validation
@testable import tpplan

/// `validate`: its statistics, worked by hand, and what it prints.
@Suite struct AccuracyTests {
  @Test("Mean, 95th percentile, bias and worst of errors")
  func errors() throws {
    let rows = (1...20).map { (row: Int) -> (id: String, error: Double) in ("r\(row)", Double(row % 2 == 0 ? row : -row) / 100) }
    let errors = try #require(ErrorFigures(rows))
    #expect(errors.rows == 20 && abs(errors.mean - 0.105) < 1e-12 && errors.p95 == 0.19)
    #expect(abs(errors.bias - 0.005) < 1e-12 && errors.worst == ("r20", 0.2))
    #expect(ErrorFigures([]) == nil)
  }

  @Test("Spearman's coefficient, with ties, and regret")
  func ranks() throws {
    #expect(RankFigures.ranks([3, 1, 3, 2]) == [3.5, 1, 3.5, 2])
    let same = try #require(RankFigures(predicted: [1, 2, 3], measured: [10, 20, 40]))
    #expect(same.spearman == 1 && same.regret == 0)
    let reversed = try #require(RankFigures(predicted: [3, 2, 1], measured: [10, 20, 40]))
    #expect(reversed.spearman == -1 && reversed.regret == 3)
    // Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 · 4 / (4 · 15).
    #expect(abs(try #require(RankFigures(predicted: [1, 2, 3, 4], measured: [2, 1, 4, 3])?.spearman) - 0.6) < 1e-12)
    let equal = try #require(RankFigures(predicted: [5, 5], measured: [2, 1]))
    #expect(equal.spearman == nil && equal.regret == 0.5)
    // What does not fit comes last.
    #expect(RankFigures(predicted: [1, 2, 3], measured: [30, 10, 20], fits: [false, true, true])?.spearman == 1)
    // The favourite is one that fits, where one does.
    #expect(RankFigures(predicted: [1, 2, 3], measured: [30, 20, 10], fits: [false, true, true])?.regret == 1)
    #expect(RankFigures(predicted: [1, 2, 3], measured: [30, 20, 10], fits: [false, false, false])?.regret == 2)
    #expect(RankFigures(predicted: [1], measured: [1]) == nil)
  }

  @Test("The naive rate has the least mean error of all")
  func naive() throws {
    let pairs: [(Double, Double)] = [(1, 2), (3, 2), (4, 5), (2, 7)]
    let rows = pairs.map { (step: NaiveStep(work: FLOPs($0.0), devices: 1, bubble: 0), measured: $0.1) }
    let rate = try #require(NaiveBaseline(rows)).rate
    func error(_ rate: Double) -> Double { rows.reduce(0) { $0 + abs($1.step.seconds(at: rate) / $1.measured - 1) } }
    for other in stride(from: 0.1, to: 5, by: 0.01) { #expect(error(rate) <= error(other) + 1e-12) }
    #expect(abs(NaiveStep(work: FLOPs(80), devices: 4, bubble: 0.25).seconds(at: 10) - 2.5) < 1e-12)
  }

  /// GPT-3 with 1536 sequences of 2048 tokens on 1024 devices at 140 TFLOP/s: section 5.1 of SC'21 says 34 days for 300 billion tokens, which is
  /// 95367 such steps of 30.8 s. That is 8 operations for each token and parameter; the formula's terms of attention and head add 2 %.
  @Test("Oracle: a time from a rate by the paper's formula is the paper's own")
  func timeFromRate() throws {
    let table = try Tables.table(
      """
      {"rows": [{"id": "a", "gpus": 1024, "layers": 96, "hidden": 12288, "heads": 96, "vocab": 51200, "seq": 2048, "gbs": 1536,
      "tflops_gpu": 140, "tflops_kind": "hardware"}]}
      """)
    let time = try #require(MeasuredTime(table.rows[0], table.published[0], style: .gpt))
    #expect(time.source == .hardwareRate && abs(time.seconds / (34 * 86400 / (300e9 / (1536 * 2048))) - 1) < 0.025)
    #expect(MeasuredTime(table.rows[0], table.published[0], style: .llama) == nil)
  }

  /// Korthikanti et al. 2022, table 4: one layer of the 22B model on 8 devices, in ms.
  @Test(
    "Oracle: a layer's time, forward and backward, as measured",
    arguments: [
      ("none", false, 7.7, 11.9), ("none", true, 7.2, 11.8), ("full", false, 7.7, 19.5), ("selective", false, 7.7, 13.2),
      ("selective", true, 7.2, 13.1),
    ])
  func layerTimes(_ recompute: String, _ isSequenceParallel: Bool, _ forward: Double, _ backward: Double) throws {
    let stages = try [3, 4].map { layers in
      let row = Tables.row("r", ["layers": .int(layers), "recompute": .string(recompute), "sp": .bool(isSequenceParallel)])
      return try #require(try Tables.price(row, name: "korthikanti2022").prediction).stages[0]
    }
    let (found, back) = ((stages[1].forward - stages[0].forward).value * 1e3, (stages[1].backward - stages[0].backward).value * 1e3)
    let error = (found + back) / (forward + backward) - 1
    #expect(abs(error) < 0.08, "forward \(found) for \(forward), backward \(back) for \(backward): \(error)")
  }

  @Test("Groups, memory, failures and what is skipped are counted each by itself")
  func report() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let rows = [
      Tables.row("a", ["iter_s": 0.2, "mem_gb": 30]), Tables.row("b", ["mbs": 1, "iter_s": 0.1]),
      Tables.row("open", ["mbs": nil, "iter_s": 0.1]), Tables.row("full", ["oom": true, "layers": 200]), Tables.row("small", ["oom": true]),
      Tables.row("untimed", [:]), Tables.row("fp8", ["precision": "fp8"]), Tables.row("fp8 too", ["precision": "fp8"]),
    ]
    try Data(Tables.text(rows).utf8).write(to: folder.appendingPathComponent("test.json"))
    try Data(#"{"groups": [{"group": "g", "file": "test.json", "ids": ["a", "b", "open", "gone"]}]}"#.utf8)
      .write(to: folder.appendingPathComponent("ranking_groups.json"))
    try Data("{}".utf8).write(to: folder.appendingPathComponent("other.json"))
    let report = try ValidationFolder(folder.path).report(on: Tables.shelf) { try Tables.pricer.price($0) }
    let set = try #require(report.sets.first)
    #expect(set.priced?.model.rows == 2 && set.searched?.model.rows == 1 && set.withoutTime == 1)
    #expect(set.memory?.decimal.rows == 1 && set.outOfMemory == (2, 1) && set.ran == (3, 0))
    #expect(set.groups.map(\.model.rows) == [2] && set.groups[0].name == "g")
    #expect(set.skipped.map(\.ids) == [["fp8", "fp8 too"]] && report.otherFiles == ["other.json", "ranking_groups.json"])
    #expect(report.json["total"]?["rows"] == 8)
    #expect(report.json["sets"]?.summary == "an array of 1")
  }

  @Test("Golden: what validate prints of the project's own tables")
  func golden() throws {
    // Files that other tests read are no part of the report.
    let shelf = HardwareShelf(folder: "\(Tables.package)/hardware")
    let report = try ValidationFolder("\(Tables.package)/validation").report(on: shelf) { try RowPricer(shelf).price($0) }
    let text = AccuracyText(report).lines.joined(separator: "\n") + "\n"
    let path = "\(Tables.package)/Tests/ValidationTests/Golden/validate.txt"
    if ProcessInfo.processInfo.environment["TPPLAN_RECORD"] == "1" { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
    #expect(text == (try String(contentsOfFile: path, encoding: .utf8)))
  }
}
