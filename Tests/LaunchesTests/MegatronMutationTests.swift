// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import TestSupport
import Testing

@testable import Launches

/// Scripts in which something was changed by chance.
@Suite struct MegatronMutationTests {
  /// As seeds there are scripts.
  static let seeds = 300

  private func mutated(_ source: String, seed: Int) -> String {
    var random = SeededGenerator(seed: seed)
    var text = Array(source)
    for _ in 0..<random.int(1...6) {
      guard text.count > 2 else { break }
      let place = random.int(0...text.count - 2)
      switch random.int(0...5) {
      case 0: text.remove(at: place)
      case 1: text.insert(random.pick(Array("\"'()$\\`{}[]#;&|<>=*-+ \n\t0é")), at: place)
      case 2: text.removeSubrange(place..<min(text.count, place + random.int(1...40)))
      case 3: text.swapAt(place, random.int(0...text.count - 1))
      case 4: text.insert(contentsOf: text[place..<min(text.count, place + random.int(1...30))], at: random.int(0...text.count - 1))
      default:
        text.insert(
          contentsOf: random.pick(["-1", "99999999999999999999", "0", "nan", "$((1/0))", "${A[@]}", "--", "-9223372036854775808"]), at: place)
      }
    }
    return String(text)
  }

  @Test("No script crashes the reader: each is a launch, or is refused with its name")
  func scripts() throws {
    let written = (0..<20).lazy.map { try? (plan: ExportTests.plan(seed: $0), script: MegatronLaunch.exporting(ExportTests.plan(seed: $0))) }.first {
      $0 != nil
    }
    let (plan, script) = try #require(written ?? nil)
    let sources = [Samples.gpt3, script]
    var read = 0
    for seed in 0..<Self.seeds {
      do {
        let launch = try MegatronLaunch.reading(mutated(sources[seed % 2], seed: seed), file: "script")
        #expect(launch.findings.allSatisfy { !$0.place.isEmpty && !$0.text.isEmpty })
        read += 1
        // What is read can be filled in and priced, or is refused with why.
        guard let graph = launch.graph, seed % 10 == 1 else { continue }
        _ = try? LaunchJob(launch, graph: graph, on: plan.hardware, devices: min(launch.devices ?? 8, 64)).planned()
      } catch let error as LaunchError {
        #expect(error.file == "script" && !error.problem.isEmpty)
      }
    }
    // Most changes leave something to read.
    #expect(read > Self.seeds / 2)
  }

  @Test("Any bytes are a launch or are refused")
  func bytes() {
    for seed in 0..<100 {
      var random = SeededGenerator(seed: seed)
      let text = String(decoding: (0..<random.int(0...400)).map { _ in UInt8(random.int(0...255)) }, as: UTF8.self)
      _ = try? MegatronLaunch.reading("--num-layers " + text, file: "script")
      _ = LaunchFormat(recognising: text)
    }
  }
}
