// SPDX-License-Identifier: GPL-3.0-or-later
import Search
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

  @Test("A plan that treats neighbouring mesh axes alike is written with one, unless a mesh is asked for", arguments: [nil, [4, 2], [8]])
  func fewestAxes(mesh: [Int]?) throws {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 8, batch: 512, sequence: 1024)
    request.mesh = mesh
    let plan = try #require(try Planner.search(request).plan)
    #expect(plan.decision.mesh == mesh ?? [8])
    #expect(plan.candidate.essence.frame.mesh == [8])
    #expect(abs(plan.prediction.step.value / 0.3144 - 1) < 1e-3)
    #expect(plan.certificate.objective.value <= plan.certificate.lowerBound.value * (1 + 2e-6))
  }

  @Test("Property: no plan of a search could be written with fewer axes at the same price", arguments: 0..<24)
  func joined(seed: Int) throws {
    var hardware = TinyHardware()
    let request = try tinyRequest(seed: seed, hardware: &hardware)
    let (search, space) = try Planner.explore(request, SearchMonitor())
    guard let best = search.best, case .planned(let plan) = try Planner.outcome(search, space) else { return }
    let joined = try plan.candidate.joiningAlikeAxes(space)
    #expect(joined.frame == plan.candidate.frame)
    #expect(plan.candidate.essence.frame.size == best.essence.frame.size)
    #expect(plan.candidate.objective <= best.objective + Outcome.tolerance(of: best.objective))
  }
}
