// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import TestSupport
import Testing

@testable import Launches

/// Launches that were cut off, or in which characters or lines were changed or lost, are read or refused with a message that says where.
@Suite struct DamagedLaunchTests {
  /// Of each launch.
  private static let seeds = 0..<40

  private static let names = [
    "deepspeed-gpt2-offload.json", "deepspeed-gpt2-zero2.json", "deepspeed-zero3.json", "transformers-zero3.json", "torchtitan-llama3_70b.toml",
    "torchtitan-llama3_70b-2024.toml", "tp-plan-mixtral.json", "tp-plan-gpt_neox.json", "script.sh", "options.yaml", "plan.py",
  ]

  private func text(_ name: String) throws -> String {
    switch name {
    case "script.sh": return Samples.gpt3
    case "options.yaml":
      return """
        MODEL_ARGS:
          --num-layers: 4
          --hidden-size: 64
          --bf16: true
          --cp-comm-type: [p2p, a2a]
          --lr: 1e-4 # rate
        """
    case "plan.py":
      return """
        class C:
            base_model_tp_plan = {
                "layers.*.q_proj": "colwise",  # heads
                'layers.*.o_proj': 'rowwise',
            }
        """
    default: return try LaunchFixtures.text(name)
    }
  }

  private func damaged(_ text: String, _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = Array(text.utf8)
    func lines() -> [ArraySlice<UInt8>] { bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) }
    for _ in 0..<random.int(1...3) where !bytes.isEmpty {
      let place = random.int(0...bytes.count - 1)
      switch random.int(0...4) {
      case 0: bytes.removeSubrange(place...)
      case 1: bytes[place] = UInt8(truncatingIfNeeded: random.int(0...255))
      case 2: bytes[place] = random.pick(Array("\"'{}[]()$\\,:=#- \n0".utf8))
      case 3: bytes.removeSubrange(place..<min(bytes.count, place + random.int(1...20)))
      default:
        var kept = lines()
        kept.remove(at: random.int(0...kept.count - 1))
        bytes = Array(kept.joined(separator: [UInt8(ascii: "\n")]))
      }
    }
    return bytes
  }

  @Test("mutation: damaged launches of all formats", arguments: names)
  func damaged(name: String) throws {
    let text = try text(name)
    let format = try #require(LaunchFormat(recognising: text))
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4)
    var (readings, refusals) = (0, 0)
    for seed in Self.seeds {
      var random = SeededGenerator(seed: seed)
      let bytes = damaged(text, &random)
      let launch: Launch
      do {
        launch = try format.read(bytes, file: name, model: graph)
      } catch {
        refusals += 1
        let message = "\(error)"
        // The file, then a line, a place or what the whole file lacks.
        #expect(message.hasPrefix(name) && message.count > name.count + 10, "seed \(seed): \(message)")
        #expect(error is LaunchError || error is DocumentError || error is ModelError, "seed \(seed): \(error)")
        continue
      }
      readings += 1
      #expect(launch.findings.allSatisfy { !$0.place.isEmpty && !$0.text.isEmpty }, "seed \(seed)")
      // What is found of a script's option is found on its line.
      let lines = String(decoding: bytes, as: UTF8.self).split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
      for finding in launch.findings {
        guard let place = finding.place.wholeMatch(of: #/(--[^ ]+) \(line ([0-9]+)\)/#), let line = Int(place.2) else { continue }
        #expect(lines.indices.contains(line - 1), "seed \(seed): \(finding)")
      }
    }
    #expect(readings + refusals == Self.seeds.count && readings > 0)
  }
}
