// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Plans
import Quantities
import Search
import Testing

@testable import Planner

/// Differential: the search against exhaustive enumeration.
@Suite struct ExactnessTests {
  /// Without a limit that binds, then under limits that leave only a part of all decisions, then under one that leaves none.
  @Test(arguments: 0..<24) func searchFindsTheCheapestDecision(seed: Int) throws {
    var hardware = TinyHardware()
    let request = try tinyRequest(seed: seed, hardware: &hardware)
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    let limits = [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)]
    for limit in limits {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  private func expectSame(_ request: SearchRequest, _ hardware: TinyHardware, _ all: Enumeration, limit: Bytes) throws {
    var request = request
    var hardware = hardware
    hardware.memory = limit.value
    request.cluster = try hardware.cluster()
    switch try Planner.search(request) {
    case .planned(let plan):
      let best = try #require(all.best(memory: limit), "the search found a plan within \(limit) where enumeration finds none")
      let found = plan.prediction.step.picoseconds
      #expect(found >= best.objective)
      #expect(found - best.objective <= 2 * Outcome.tolerance(of: best.objective), "limit \(limit), of \(all.entries.count): \(best.decision)")
      #expect(plan.certificate.status == .optimal)
      #expect(plan.certificate.lowerBound.picoseconds <= best.objective)
      #expect(plan.prediction.memory <= limit)
    case .infeasible(let why):
      #expect(all.best(memory: limit) == nil, "the search found nothing within \(limit)")
      let memory = try #require(why.memory)
      #expect(memory.limit == limit)
      #expect(memory.least > limit)
      #expect(memory.least <= all.entries.map(\.memory).min()!)
    case .timeLimit: Issue.record("no time limit was set")
    }
  }
}
