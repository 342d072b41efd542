// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import Lowering
import Planner
import Plans
import TestSupport
import Testing
import Traces

@testable import Execution
@testable import tpplan

/// `tpplan run --trace` as a person starts it.
extension MPIRuns {
  @Suite final class RunTraceTests {
    private let folder: URL

    init() throws {
      folder = FileManager.default.temporaryDirectory.appending(path: "tpplan-\(UUID().uuidString)")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    private func file(_ name: String) -> String { folder.appending(path: name).path }

    private func tpplan(_ arguments: [String]) throws -> CommandLineRun { try CommandLineRun(arguments) }

    /// A plan of a tiny GPT-2 or Mixtral on two ranks.
    private func plan(_ degrees: [String], model: String = "torch/gpt2") throws -> String {
      let plan = file("plan.json")
      let made = try tpplan(
        ["estimate", "Tests/Fixtures/\(model)", "hardware/local.json", "--batch", "4", "--seq", "16", "-o", plan] + degrees)
      try #require(made.status == 0, "\(made.output)")
      return plan
    }

    /// An event of the file: times in whole nanoseconds.
    private struct Event {
      let phase: String
      let name: String
      let categories: [String]
      let process: Int
      let track: Int
      let start: Int
      let end: Int
      let arguments: [String: Any]

      init(_ object: [String: Any]) {
        func nanoseconds(_ key: String) -> Int { Int((1000 * ((object[key] as? Double) ?? 0)).rounded()) }
        phase = object["ph"] as? String ?? ""
        name = object["name"] as? String ?? ""
        categories = (object["cat"] as? String ?? "").split(separator: ",").map(String.init)
        (process, track) = (object["pid"] as? Int ?? 0, object["tid"] as? Int ?? -1)
        (start, end) = (nanoseconds("ts"), nanoseconds("ts") + nanoseconds("dur"))
        arguments = object["args"] as? [String: Any] ?? [:]
      }
    }

    private func read(_ path: String) throws -> (events: [Event], remarks: [String: Any]) {
      let object = try #require(try JSONSerialization.jsonObject(with: Data(contentsOf: URL(filePath: path))) as? [String: Any])
      let events = try #require(object["traceEvents"] as? [[String: Any]])
      return (events.map(Event.init), try #require(object["otherData"] as? [String: Any]))
    }

    private func traffic(_ event: Event) -> [String: Int] { event.arguments["calls"] as? [String: Int] ?? [:] }

    @Test(
      "Every instruction of every rank shows up once, one after the other and within the step; collectives are the program's; passes are both measured and predicted",
      arguments: [
        ["--tp", "2"], ["--dp", "2", "--zero", "3"], ["--pp", "2", "--micro-batch", "1"], ["--cp", "2", "--cp-way", "ring"],
        ["--pp", "2", "--micro-batch", "2", "--recompute", "full"],
      ])
    func instructions(degrees: [String]) throws {
      let (plan, trace) = (try plan(degrees), file("trace.json"))
      let ran = try tpplan(["run", plan, "--steps", "2", "--trace", trace])
      try #require(ran.status == 0, "\(ran.output)")
      #expect(ran.output.contains("\n  trace        \(trace)   communication "))
      let decision = try PlanFile.read(plan).decision
      let (events, remarks) = try read(trace)
      let names = events.filter { $0.name == "thread_name" }.compactMap { $0.arguments["name"] as? String }
      #expect(names.count == 4 && names.allSatisfy { $0.hasPrefix("rank ") } && Set(names).count == 2)
      #expect(remarks["step"] as? Int == 1)
      let step = Int((1e9 * (remarks["measured_step_seconds"] as? Double ?? 0)).rounded())
      for rank in 0..<2 {
        let program = Lowering.program(for: decision, rank: rank)
        let own = events.filter { $0.process == RunTrace.measured && $0.track == rank }
        let complete = own.filter { $0.phase == "X" && $0.categories != ["pass"] }
        #expect(complete.compactMap { $0.arguments["instruction"] as? Int } == program.timedInstructions)
        #expect(complete.count == program.timedInstructions.count + 1 && complete.last?.name == TraceLabel.lastWait.name)
        for (event, next) in zip(complete, complete.dropFirst()) { #expect(event.end <= next.start, "\(event) \(next)") }
        // A step's time is that of the rank that takes longest, each from the moment in which it leaves the barrier.
        let (start, end) = (complete.first?.start ?? -1, complete.last?.end ?? 0)
        #expect(start >= 0 && end - start <= step, "\(end - start) of \(step) ns")
        for event in own where event.phase != "M" { #expect(start <= event.start && event.start <= event.end && event.end <= end, "\(event)") }
        // As many collectives, and as many messages, as the program says.
        let expected = program.expectedTraffic()
        for kind in Traffic.Kind.allCases {
          #expect(complete.reduce(0) { $0 + (traffic($1)[kind.name] ?? 0) } == expected[kind].count)
        }
        let bytes = complete.filter { !traffic($0).isEmpty }.reduce(0) { $0 + ($1.arguments["bytes"] as? Int ?? 0) }
        #expect(bytes == Traffic.Kind.allCases.reduce(0) { $0 + expected[$1].bytes })
        let begun = own.filter { $0.phase == "b" }
        #expect(begun.count == expected[.sendReceive].count && own.count { $0.phase == "e" } == begun.count)
        let other = events.filter { $0.process == RunTrace.predicted && $0.track == rank && $0.phase == "X" }
        #expect(passes(own) == passes(other) && passes(own).count == program.passes.count + 1)
        // What has a price stands under the same name in both.
        let measuredNames = Dictionary(complete.compactMap { event in (event.arguments["instruction"] as? Int).map { ($0, event.name) } }) { $1 }
        let pricedOnes = other.compactMap { event in (event.arguments["instruction"] as? Int).map { ($0, event.name) } }
        #expect(!pricedOnes.isEmpty && pricedOnes.allSatisfy { measuredNames[$0.0] == $0.1 })
        let last = other.map(\.end).max() ?? 0
        #expect(abs(Double(last) - 1e9 * (remarks["predicted_step_seconds"] as? Double ?? 0)) <= 1)
      }
    }

    private func passes(_ events: [Event]) -> [String] { events.filter { $0.categories == ["pass"] }.map(\.name) }

    @Test("JSON says how much communication there was, and what share of it was hidden: none of collectives that wait, some around a ring")
    func overlap() throws {
      for (degrees, hides) in [(["--tp", "2"], false), (["--cp", "2", "--cp-way", "ring"], true)] {
        let (plan, trace) = (try plan(degrees), file("trace.json"))
        let ran = try tpplan(["run", plan, "--trace", trace, "--format", "json"])
        try #require(ran.status == 0, "\(ran.output)")
        let line = try #require(ran.output.split(separator: "\n").first { $0.hasPrefix("{") })
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        let told = try #require(object["trace"] as? [String: Any])
        let (seconds, share) = (told["communication_seconds"] as? Double ?? -1, told["hidden_share"] as? Double ?? -1)
        #expect(told["file"] as? String == trace && seconds > 0 && 0 <= share && share < 1 && (share > 0) == hides, "\(told)")
      }
    }

    @Test("One rank has a trace too, of an expert model and of a forward run")
    func single() throws {
      let (plan, trace) = (try plan([], model: "transformers/mixtral"), file("trace.json"))
      let ran = try tpplan(["run", plan, "--mode", "forward", "--trace", trace])
      try #require(ran.status == 0, "\(ran.output)")
      #expect(ran.output.contains("\(trace)   no communication"))
      #expect(passes(try read(trace).events.filter { $0.process == RunTrace.measured }) == ["forward m0"])
    }

    @Test("Where the file cannot be written, or a run fails, that is said with the exit code of outputs, and a file that is there stays")
    func refusals() throws {
      let plan = try plan(["--tp", "2"])
      let missing = try tpplan(["run", plan, "--trace", file("nowhere/trace.json")])
      #expect(missing.status == Failure.cannotWrite && missing.output.contains("no folder"), "\(missing.output)")
      #expect(try tpplan(["run", plan, "--trace", folder.path]).status == Failure.cannotWrite)
      #expect(try tpplan(["run", plan, "--trace", "-"]).status == Failure.usage)
      #expect(try tpplan(["run", plan, "--trace", plan]).status == Failure.usage)
      let trace = file("trace.json")
      try Data("before".utf8).write(to: URL(filePath: trace))
      // The second step's loss is no number.
      let failed = try tpplan(["run", plan, "--steps", "3", "--lr", "1e38", "--trace", trace])
      #expect(failed.status == 1, "\(failed.output)")
      #expect(try String(contentsOfFile: trace, encoding: .utf8) == "before")
    }
  }
}
