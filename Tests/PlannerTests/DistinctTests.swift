// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Planner

/// `--top` without the same plan twice.
@Suite struct DistinctTests {
  @Test("Differential: the list is that of all configurations, without those that another way to write the mesh makes")
  func top() throws {
    var request = try Shipped.request("mlp", on: Shipped.hardware("dgx-a100"), devices: 4, batch: 8, sequence: 128)
    request.top = 1000
    let all = try Planner.explore(request, SearchMonitor()).0.found
    request.top = 3
    let plan = try #require(try Planner.search(request).plan)
    var essences: [PlanSearch.Candidate.Essence] = []
    var steps: [Int64] = []
    for candidate in all where !essences.contains(candidate.essence) {
      essences.append(candidate.essence)
      steps.append(candidate.objective)
    }
    #expect(all.count > essences.count && essences.count > 3)
    let listed = [plan.prediction.step] + plan.others.map(\.prediction.step)
    #expect(listed.map { ($0.value * 1e12).rounded() } == steps.prefix(3).map { Double($0) })
  }
}
