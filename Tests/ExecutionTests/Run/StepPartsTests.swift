// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Plans
import Testing

@testable import Execution
@testable import Lowering

/// Into which part of a step each instruction falls.
@Suite struct StepPartsTests {
  private func programs(_ plan: String) throws -> [Program] {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../plans/\(plan).json").standardized
    let decision = try PlanFile.read(file.path).decision
    return [0, decision.ranks - 1].map { Lowering.program(for: decision, rank: $0) }
  }

  @Test("Every instruction has the part that its kind, or the kernel after it, says", arguments: ["mlp-dgx-a100-4", "bert-base-ethernet-4"])
  func parts(plan: String) throws {
    for program in try programs(plan) {
      let parts = program.stepParts()
      #expect(parts.count == program.instructions.count)
      for (index, pair) in zip(program.instructions, parts).enumerated() {
        let expected: StepPart? =
          switch pair.0 {
          case .kernel(let call): call.phase == .forward ? .forward : .backward
          case .update: .optimizer
          case .reduceGradient, .reduceTied, .exchangeTied: .gradientSync
          case .send, .receive, .sendBoxes, .receiveBoxes: .stages
          case .zero: .backward
          case .reshard(_, _, let to) where program.buffers[to].role == .gradient: .backward
          default: nil
          }
        if let expected { #expect(pair.1 == expected, "instruction \(index): \(pair.0)") }
      }
      // A step trains: all of a forward pass comes before the last of a backward pass, and updates come last.
      let timed = zip(program.instructions, parts).filter { if case .free = $0.0 { false } else { true } }.map(\.1)
      let (forward, backward) = (timed.firstIndex(of: .forward), timed.lastIndex(of: .backward))
      let updates = timed.firstIndex(of: .optimizer)
      #expect(forward != nil && backward != nil && updates != nil)
      if let forward, let backward, let updates { #expect(forward < backward && backward < updates) }
    }
  }

  @Test("The median of each part by itself, and the numbers that ranks tell each other")
  func medians() {
    func parts(_ forward: Double, _ communication: Double) -> StepParts {
      var parts = StepParts()
      parts[.forward] = forward
      parts.communication = communication
      return parts
    }
    let median = StepParts(medianOf: [parts(3, 1), parts(1, 2), parts(2, 9)])
    #expect(median == parts(2, 2))
    #expect(StepParts(median.numbers) == median && median.numbers.count == StepParts.numberCount)
  }
}
