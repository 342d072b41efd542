// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies
import Testing

@testable import Validation
@testable import tpplan

/// `estimate --rows`: which rows get a price, which one, and why others get none.
@Suite struct RowTests {
  @Test("Differential: a row costs what the planner makes of its degrees on the model's file")
  func asEstimated() throws {
    let price = try Tables.price(Tables.row("r", ["layers": 48, "sp": true, "recompute": "selective"]), name: "korthikanti2022")
    let cluster = try HardwareFile(readingFrom: "\(Tables.package)/hardware/dgx_a100_80g_hdr200x8.json").cluster(devices: 8)
    var request = SearchRequest(
      graph: try ModelReader.read("\(Tables.package)/models/megatron-22b.json").graph, cluster: cluster, batch: 4, sequence: 2048, precision: .fp16,
      mode: .train, optimizer: .adamw)
    var degrees = MegatronDegrees()
    (request.software.attention, request.software.crossEntropy) = (.unfused, .unfused)
    (request.software.gradients, request.software.boundaries) = (.working, .scattered)
    (degrees.tensor, degrees.isSequenceParallel, degrees.recompute, degrees.microBatchSize) = (8, true, .selectiveGathered, 4)
    guard case .planned(let planned) = try Planner.search(try degrees.fix(request)) else {
      Issue.record("nothing fits")
      return
    }
    #expect(price.status == .priced && price.step == planned.prediction.step && price.memory == planned.prediction.memory)
    #expect(price.fits == true)
  }

  @Test("No price reads a result: without results the predictions are the same bytes")
  func withoutResults() throws {
    let results: KeyValuePairs<String, JSON?> = [
      "iter_s": 1.5, "tflops_gpu": 120, "tok_s_gpu": 99, "mem_gb": 60, "oom": true, "mfu_pct": 40, "hfu_pct": 41, "x_likely_tp": 4,
      "x_derived_iter_s": 3,
    ]
    var rows = ["a", "b"].map { Tables.row($0, results) } + [Tables.row("open", ["tp": nil, "dp": nil, "mbs": nil])]
    rows.append(Tables.row("skipped", ["x_experts": 16, "precision": "fp8"]))
    try compare(Tables.text(rows), priced: 3)
  }

  @Test("Of published tables too", arguments: ["korthikanti2022", "megatron_sc21_table1", "megatron_readme_2020_2021"])
  func withoutPublishedResults(_ name: String) throws {
    try compare(try String(contentsOfFile: "\(Tables.package)/validation/\(name).json", encoding: .utf8), priced: 8)
  }

  private func compare(_ text: String, priced least: Int) throws {
    let document = try JSON(parsing: Array(text.utf8), file: "table.json")
    guard case .object(var object) = document, case .array(let rows)? = object["rows"] else {
      Issue.record("no rows")
      return
    }
    object["rows"] = .array(
      rows.map { row in
        guard case .object(let object) = row else { return row }
        return .object(JSON.Object(object.members.filter { !PublishedFigures.isResult($0.key) }.map { ($0.key, $0.value) }))
      })
    let nothing = try PublishedFigures(decoding: Document(file: "", value: .object(JSON.Object())).root)
    func printed(_ text: String) throws -> [String] { try Tables.prices(text).map { $0.json(beside: nothing).canonicalText } }
    let all = try printed(text)
    #expect(try printed(JSON.object(object).canonicalText) == all)
    #expect(all.count { !$0.contains("\"status\":\"skipped\"") } >= least)
  }

  @Test("A prediction stands beside what was published, and on several threads as on one")
  func output() throws {
    let rows = (1...4).map { Tables.row("r\($0)", ["iter_s": .int($0), "mbs": .int($0 % 2 == 0 ? 2 : 1)]) }
    let table = try Tables.table(Tables.text(rows))
    let prices = try Tables.pricer.price(table)
    let json = prices[2].json(beside: table.published[2])
    #expect(json["id"] == "r3" && json["iter_s"] == 3 && json["status"] == "priced" && json["fits"] == true)
    #expect(json["predicted_iter_s"] == .double(prices[2].step!.value))
    let others = try Tables.pricer.price(table, threads: 3)
    #expect(zip(prices, others).allSatisfy { $0.json(beside: table.published[0]) == $1.json(beside: table.published[0]) })
  }

  @Test("What is open is searched: no price of what it may be is below, and it fits")
  func searched() throws {
    let open = try Tables.price(Tables.row("open", ["tp": nil, "pp": nil, "dp": nil, "mbs": nil, "layers": 8, "gbs": 16]))
    #expect(open.status == .searched && open.fits == true)
    var (least, count) = (Double.infinity, 0)
    for tp in [1, 2, 4, 8] {
      for pp in [1, 2, 4, 8] where tp * pp <= 8 {
        for mbs in [1, 2, 4, 8, 16] where 16 % (mbs * 8 / (tp * pp)) == 0 {
          let one = try Tables.price(
            Tables.row("one", ["tp": .int(tp), "pp": .int(pp), "dp": .int(8 / (tp * pp)), "mbs": .int(mbs), "layers": 8, "gbs": 16]))
          #expect(one.status == .priced)
          count += 1
          if one.fits == true { least = min(least, one.step!.value) }
        }
      }
    }
    #expect(open.step?.value == least && open.compared == count)
  }

  @Test("A degree that follows from the others is not searched")
  func derived() throws {
    let row = try Tables.price(Tables.row("r", ["dp": nil, "tp": 2, "gbs": 8, "mbs": 1]))
    #expect(row.status == .priced && row.split.first { $0.key == "dp" }?.value == 4)
  }

  @Test("Whatever is not known is skipped with the reason, not guessed")
  func skipped() throws {
    func reason(_ changes: KeyValuePairs<String, JSON?>) throws -> String? {
      let price = try Tables.price(Tables.row("r", changes))
      #expect(price.status == .skipped && price.step == nil && price.fits == nil)
      return price.reason
    }
    #expect(try reason(["hw": "dgx-k9"])?.hasPrefix("no hardware file of this name") == true)
    #expect(try reason(["hw": "../hardware/dgx_a100"])?.hasPrefix("no hardware file of this name") == true)
    #expect(try reason(["hw": nil]) == "no cluster is named: no hw")
    #expect(try reason(["gbs": nil]) == "the global batch is not published: no gbs")
    #expect(try reason(["layers": nil, "heads": nil]) == "the model's dimensions are not published: no layers, heads")
    #expect(try reason(["precision": "MXFP8"])?.hasPrefix("precision that is not priced: \"MXFP8\"; known are fp16") == true)
    #expect(try reason(["recompute": "selective(op)"])?.hasPrefix("recompute that is not priced: \"selective(op)\"; known are none") == true)
    #expect(try reason(["tp": 4]) == "degrees that do not make the devices: tp 4 x pp 1 x dp 1, gpus 8")
    #expect(try reason(["mbs": 3]) == "no whole number of micro-batches: gbs 4, mbs 3 x dp 1")
    #expect(try reason(["tp": 1, "pp": 8]) == "more stages and chunks than layers: 8 x 1, layers 4")
    #expect(try reason(["heads": 7]) == "heads are not of one size: hidden 6144, heads 7")
    #expect(try reason(["hw": "aws_p3.16xlarge_v100_16g", "precision": "bf16"])?.contains("no peak rate for bf16") == true)
    #expect(try reason(["params_B": 100.0])?.contains("a mixture of experts without its experts") == true)
    #expect(try reason(["ffn": nil]) == "the MLP's width is not published: no ffn")
    #expect(try reason(["ep": 2]) == "expert parallelism without experts: ep 2")
  }

  @Test("How a model is made: by its words, its key-value heads, its parameters, its width")
  func styles() throws {
    func style(_ changes: KeyValuePairs<String, JSON?>, name: String = "test") throws -> ModelStyle? {
      var row = Tables.row("r", changes)
      // The usual one's convention has a style.
      if case .object(var object) = row {
        object["hw"] = "DGX-H100"
        row = .object(object)
      }
      return try Tables.price(row, name: name).style
    }
    #expect(try style([:]) == .gpt)
    #expect(try Tables.price(Tables.row("us_1B"), name: "some rows").style == .llama)
    #expect(try style([:], name: "ultrascale") == .llama)
    #expect(try style(["style": "llama"]) == .llama)
    #expect(try style(["kv_heads": 8]) == .llama)
    #expect(try style(["ffn": 16384]) == .llama)
    // 4 layers of 4h² + 3h · 24576, and two tables.
    #expect(try style(["params_B": 3.05]) == .llama)
    #expect(try style(["params_B": 1.81]) == .gpt)
    // A source's style gives way to what the parameters, or the width, say.
    #expect(try style(["params_B": 3.05], name: "megatron") == .llama && style(["params_B": 1.81], name: "megatron") == .gpt)
    #expect(try style(["ffn": 16384], name: "megatron") == .llama)
    let experts = try Tables.price(
      Tables.row("r", ["experts": 8, "experts_per_token": 2, "ep": 4, "dp": 8, "tp": 1, "gbs": 8, "mbs": 1, "layers": 1]))
    #expect(experts.status == .priced && experts.style == .llama)
  }

  @Test(
    "A malformed table is refused: where, what was found, what was expected",
    arguments: [
      ("[1]", "table.json: $[0]: found the number 1, expected an object"),
      ("{}", "table.json: $: the key \"rows\" is missing"),
      ("{\"rows\": 3}", "table.json: $.rows: found the number 3, expected an array"),
      ("{\"rows\": [{\"layers\": 2}]}", "table.json: $.rows[0]: the key \"id\" is missing"),
      (
        "{\"rows\": [{\"id\": \"a\", \"layers\": \"many\"}]}",
        "table.json: $.rows[0].layers: found the string \"many\", expected a whole number from 1"
      ),
      ("{\"rows\": [{\"id\": \"a\", \"zero\": 7}]}", "table.json: $.rows[0].zero: found the number 7, expected a whole number from 0 to 3"),
      ("{\"rows\": [{\"id\": \"a\"}, {\"id\": \"a\"}]}", "$.rows[1].id: found the string \"a\", expected an id of its own; $.rows[0] has the same"),
      ("{\"rows\": [{\"id\": \"a\", \"iter_s\": \"soon\"}]}", "$.rows[0].iter_s: found the string \"soon\", expected a number"),
      ("{\"format\": \"tpplan/hardware/1\"}", "not a hardware file"),
      ("{\"rows\"", "not valid JSON"),
    ])
  func malformed(_ text: String, _ message: String) throws {
    let error = #expect(throws: DocumentError.self) { _ = try Tables.table(text) }
    #expect("\(try #require(error))".contains(message), "\(error!)")
    #expect(error?.exitCode == 65)
  }
}

/// The command line of `estimate --rows` and `validate`: exit codes that scripts rely on.
@Suite struct RowCommandTests {
  private func failure(_ run: () throws -> Void) -> Failure? {
    do {
      try run()
    } catch { return error as? Failure ?? Failure(error) }
    return nil
  }

  private let rows = "\(Tables.package)/validation/korthikanti2022.json"

  @Test("What does not go together is a usage error, a bad table bad input")
  func exitCodes() throws {
    let model = "\(Tables.package)/models/gpt2.json"
    #expect(failure { try EstimateCommand.parse([]).run() }?.code == Failure.usage)
    #expect(failure { try EstimateCommand.parse([model]).run() }?.message.contains("the hardware file is missing") == true)
    #expect(failure { try EstimateCommand.parse([model, "--rows", rows]).run() }?.code == Failure.usage)
    #expect(failure { try EstimateCommand.parse(["--rows", rows, "-o", "plan.json"]).run() }?.code == Failure.usage)
    #expect(failure { try EstimateCommand.parse(["--rows", rows, "--hardware-folder", "/nowhere"]).run() }?.code == Failure.usage)
    #expect(failure { try EstimateCommand.parse(["--rows", "/nowhere.json"]).run() }?.code == Failure.badInput)
    #expect(failure { try EstimateCommand.parse(["--rows", model]).run() }?.code == Failure.badInput)
    #expect(failure { try ValidateCommand.parse(["/nowhere"]).run() }?.code == Failure.usage)
  }

  @Test("A malformed hardware file is bad input, not a skipped row")
  func brokenHardware() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data("{}".utf8).write(to: folder.appendingPathComponent("dgx_a100_80g_hdr200x8.json"))
    let failure = failure { try EstimateCommand.parse(["--rows", rows, "--hardware-folder", folder.path]).run() }
    #expect(failure?.code == Failure.badInput && failure?.message.contains("dgx_a100_80g_hdr200x8.json") == true)
  }

  @Test(
    "The large sweeps are priced as the small tables: bars of the accuracy that was reached", .enabled(if: Tables.shared != nil, "needs ../shared"))
  func sweeps() throws {
    let folder = try #require(Tables.shared)
    for (name, mean, spearman) in [("vtrain_single", 0.14, 0.85), ("ultrascale_h100_sweep", 0.15, 0.7)] {
      // All splits of every twelfth job.
      let all = try RankingGroup.read("\(folder)/ranking_groups.json").filter { $0.file == "\(name).json" }
      let groups = all.enumerated().filter { $0.offset % 12 == 0 }.map(\.element)
      let ids = Set(groups.flatMap(\.ids))
      let document = try Document(readingFrom: "\(folder)/\(name).json")
      guard case .object(var object) = document.value, case .array(let rows)? = object["rows"] else { continue }
      object["rows"] = .array(rows.filter { row in row["id"].map { if case .string(let id) = $0 { ids.contains(id) } else { false } } ?? false })
      let table = try MeasurementTable(decoding: Document(file: name, value: .object(object)))
      let set = SetAccuracy(table, try Tables.pricer.price(table, threads: 2), groups: groups, peer: nil)
      #expect(try #require(set.priced).model.mean <= mean)
      #expect(try #require(AccuracyReport.mean(set.groups.compactMap(\.model.spearman))) >= spearman)
    }
  }
}
