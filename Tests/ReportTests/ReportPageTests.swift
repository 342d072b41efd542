// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Planner
import Plans
import Search
import Strategies
import TestSupport
import Testing

@testable import Report
@testable import tpplan

@Suite struct ReportPageTests {
  /// What has to hold of the page of every plan.
  private func check(_ plan: Plan) throws -> String {
    let bytes = try ReportPage(plan).bytes
    #expect(try ReportPage(plan).bytes == bytes, "equal plans give equal bytes")
    #expect(bytes.count < 2_000_000)
    let text = String(decoding: bytes, as: UTF8.self)
    for part in ReportPage.parts {
      #expect(text.contains("<section id=\"\(part.id)\" aria-labelledby=\"\(part.id)-heading\">"), "\(part.id)")
      #expect(text.contains("href=\"#\(part.id)\""))
    }
    // Nothing is asked of a network, and nothing runs.
    for word in ["<script", "<link", "<img", "<iframe", "<object", " src=", "url(", "@import", "http-equiv", "javascript:"] {
      #expect(!text.contains(word), "\(word)")
    }
    for reference in text.matches(of: /href="([^"]*)"/) {
      let target = reference.1.dropFirst()
      #expect(reference.1.hasPrefix("#") && text.contains(" id=\"\(target)\""), "\(reference.1) leads nowhere")
    }
    try checkElements(text)
    return text
  }

  /// Elements nest; identifiers occur once; every table has a caption and rows of equal length, every picture a name; headings do not skip a level.
  private func checkElements(_ text: String) throws {
    var open: [Substring] = []
    var identifiers: Set<Substring> = []
    var (level, cells, columns, hasCaption) = (0, 0, 0, false)
    for match in text.matches(of: /<(\/?)([a-zA-Z0-9]+)((?: [^<>]*?)?)(\/?)>/) {
      let (isEnd, name, attributes, isEmpty) = (!match.1.isEmpty, match.2, match.3, !match.4.isEmpty)
      if ["meta", "br", "col"].contains(name) { continue }
      if isEnd {
        #expect(open.last == name, "</\(name)> in <\(open.last ?? "")>")
        if open.last == name { open.removeLast() }
        if name == "tr" {
          #expect(columns == 0 || cells == columns, "a row of \(cells) cells in a table of \(columns) columns")
          columns = cells
        }
        if name == "table" { #expect(hasCaption) }
        continue
      }
      if let identifier = attributes.firstMatch(of: /\ id="([^"]*)"/) { #expect(identifiers.insert(identifier.1).inserted, "\(identifier.1) twice") }
      switch name {
      case "table": (columns, hasCaption) = (0, false)
      case "caption": hasCaption = true
      case "tr": cells = 0
      case "th", "td": cells += 1
      case "h1", "h2", "h3":
        let own = Int(name.dropFirst()) ?? 0
        #expect(own <= level + 1, "<\(name)> after <h\(level)>")
        level = own
      case "svg": #expect(attributes.contains("aria-label=\"") || attributes.contains("aria-hidden=\"true\""))
      default: break
      }
      if !isEmpty { open.append(name) }
    }
    #expect(open.isEmpty)
  }

  @Test("The pages of the plans in plans/ have every part, stand alone, and are the same bytes again", arguments: committedPlans)
  func committed(name: String) throws {
    let plan = try committedPlan(name)
    let text = try check(plan)
    #expect(text.contains("<h1>\(plan.decision.graph.name) on "))
    for op in plan.decision.graph.operators.indices { #expect(text.contains(plan.decision.graph.shortName(of: op))) }
    // The plan's figures are those of this version's cost model.
    #expect(!text.contains("class=\"warning\""))
    #expect(text.contains(plan.modelSHA256) && text.contains("\(plan.prediction.step)"))
  }

  @Test("So have those of pipelines in every order, with and without recomputation", arguments: Schedule.Kind.allCases, [nil, Recompute.full])
  func pipelines(kind: Schedule.Kind, recompute: Recompute?) throws {
    let plan = try tinyPipeline(kind, recompute: recompute)
    let text = try check(plan)
    #expect(text.contains(">waiting</li>") && text.contains("stage 1") && text.contains("the batch is 8"))
    #expect(text.contains("all-gather") && text.contains("fwd ") && text.contains("bwd "))
  }

  @Test("So have those of stages with several meshes, of forward passes, and of a single device")
  func others() throws {
    let meshes = try check(try tinyStageMeshes())
    #expect(meshes.contains("Mesh axes of stage 0") && meshes.contains("Mesh axes of stage 1"))
    let forward = try check(try tinyPlan(devices: 2, mode: .forward) { $0.microBatches = 2 })
    #expect(forward.contains("Forward passes in bf16"))
    let one = try check(try tinyPlan(devices: 1) { $0.microBatches = 1 })
    #expect(one.contains("None: no rank sends anything."))
  }

  @Test("Names that are markup stay text")
  func names() throws {
    let nasty = "<script>alert(1)</script>\"'&"
    let text = try check(try tinyPlan(name: nasty, layers: 2, devices: 2) { $0.microBatches = 1 })
    #expect(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp; on 2 devices"))
  }

  @Test("The command writes the file or standard output, and says what is wrong with an exit code")
  func command() throws {
    let folder = try TemporaryFolder()
    let page = folder.file("page.html")
    let plan = "plans/mlp-dgx-a100-4.json"
    let written = try CommandLineRun(["report", plan, "-o", page])
    #expect(written.status == 0 && written.output.hasPrefix("\(page): mlp on dgx-a100, "))
    let bytes = try ReportPage(try committedPlan("mlp-dgx-a100-4"), program: Verbs.program).bytes
    #expect(try Data(contentsOf: URL(filePath: page)) == Data(bytes))
    #expect(try CommandLineRun(["report", plan, "-o", "-"]).output == String(decoding: bytes, as: UTF8.self))
    let json = try CommandLineRun(["report", plan, "-o", page, "--format", "json"])
    #expect(json.status == 0 && json.output == "{\"bytes\":\(bytes.count),\"output\":\"\(page)\"}\n")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path) == ["page.html"])
    let failures: [([String], Int32, String)] = [
      (["report", plan, "-o", folder.url.path], 73, "it is a folder"), (["report", plan, "-o", folder.file("none/page.html")], 73, "no folder"),
      (["report", folder.file("none.json"), "-o", page], 65, "none.json"), (["report", "models/mlp.json", "-o", page], 65, "models/mlp.json"),
      (["report"], 64, "<plan>"),
    ]
    for (arguments, status, message) in failures {
      let run = try CommandLineRun(arguments)
      #expect(run.status == status && run.output.contains(message), "\(arguments): \(run.status) \(run.output)")
    }
  }

  @Test("With --explain the page has what explain finds, with its memory; without, it says that nothing was re-optimised")
  func explained() throws {
    let folder = try TemporaryFolder()
    let page = folder.file("page.html")
    let file = "plans/mlp-dgx-a100-4.json"
    let run = try CommandLineRun(["report", file, "--explain", "-o", page])
    #expect(run.status == 0, "\(run.output)")
    let text = String(decoding: try Data(contentsOf: URL(filePath: page)), as: UTF8.self)
    try checkElements(text)
    let plan = try committedPlan("mlp-dgx-a100-4")
    let found = try PlanAlternatives(plan, seconds: 60, stop: StopCondition()) { _, _ in }
    #expect(found.alternatives.count > 4)
    for choice in found.chosen { #expect(text.contains("\(choice.dimension.rawValue): the plan has \(choice.value)")) }
    for item in found.alternatives {
      #expect(text.contains("<th scope=\"row\">\(item.choice.value)</th>"), "\(item.choice)")
      guard let decision = item.decision else { continue }
      let prediction = try Planner.predict(decision, on: plan.hardware.cluster(devices: decision.ranks))
      #expect(text.contains(">\(prediction.step)<") && text.contains(">\(prediction.memory)<") && text.contains(decision.splitText), "\(item.choice)")
    }
    let plain = String(decoding: try ReportPage(plan).bytes, as: UTF8.self)
    #expect(plain.contains("nothing re-optimised</h2>") && !text.contains("nothing re-optimised</h2>"))
    let mistaken = try CommandLineRun(["report", file, "--time-limit", "1s", "-o", page])
    #expect(mistaken.status == 64 && mistaken.output.contains("--explain"))
  }
}
