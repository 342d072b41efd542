// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import TestSupport
import Testing

@testable import Launches

/// Damaged launches give findings or an error, and never anything else.
@Suite struct FormatMutationTests {
  private static let files: [(String, LaunchFormat)] = [
    ("deepspeed-zero3.json", .deepspeed), ("deepspeed-gpt2-accumulating.json", .deepspeed), ("torchtitan-llama3_405b.toml", .torchtitan),
    ("torchtitan-debug_model.toml", .torchtitan), ("tp-plan-llama.json", .huggingFace), ("tp-plan-qwen3.json", .huggingFace),
  ]

  /// Bytes changed, lines doubled or dropped, numbers and words exchanged.
  private func damaged(_ text: String, _ random: inout SeededGenerator) -> [UInt8] {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    var bytes: [UInt8] = []
    for _ in 0..<random.int(1...4) {
      let place = random.int(0...lines.count - 1)
      switch random.int(0...5) {
      case 0: lines.remove(at: place)
      case 1: lines.insert(lines[random.int(0...lines.count - 1)], at: place)
      case 2:
        lines[place] = lines[place].replacing(
          #/[0-9]+/#, with: random.pick(["0", "-1", "3", "1e9", "99999999999999999999", "4611686018427387904", "\"auto\"", "null"]))
      case 3: lines[place] = lines[place].replacing(#/true|false/#, with: random.pick(["1", "\"yes\"", "[]", "{}"]))
      case 4: lines[place] = lines[place].replacing(#/wise|_proj|layers/#, with: random.pick(["", "*", "x", "."]))
      default: lines[place] = lines[place].replacing("_", with: random.pick(["", "__", "."]))
      }
      if lines.isEmpty { lines = [""] }
    }
    bytes = Array(lines.joined(separator: "\n").utf8)
    if random.chance(0.3), !bytes.isEmpty { bytes[random.int(0...bytes.count - 1)] = UInt8(truncatingIfNeeded: random.int(0...255)) }
    return bytes
  }

  @Test("mutation: 150 damaged copies of each of six files", arguments: files)
  func mutations(name: String, format: LaunchFormat) throws {
    let text = try LaunchFixtures.text(name)
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4)
    var readings = 0
    for seed in 0..<150 {
      var random = SeededGenerator(seed: seed)
      do {
        let launch = try format.read(damaged(text, &random), file: "damaged", model: graph)
        readings += 1
        #expect(launch.findings.allSatisfy { !$0.place.isEmpty && !$0.text.isEmpty })
        for devices in [1, 2, 8] { _ = launch.degrees.devices <= devices ? launch.degrees.findings(graph, launch.styles, format.matching) : [] }
        _ = try? LaunchJob(launch, graph: graph, on: Samples.hardware("dgx-a100"), devices: 8, batch: 8, sequence: 32)
      } catch is DocumentError {
      } catch is LaunchError {
      } catch is ModelError {
      } catch is PlannerError {
      } catch {
        Issue.record("seed \(seed): \(error)")
      }
    }
    #expect(readings > 10)
  }
}
