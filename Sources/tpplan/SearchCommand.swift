// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Planner

struct SearchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "search", abstract: "Choose a split for every layer, with a proof.")
  @OptionGroup var workload: WorkloadOptions

  func run() throws {
    let (request, _) = try workload.request()
    let clock = ContinuousClock.now
    let outcome = try Planner.search(request)
    print(clock.duration(to: .now))
    switch outcome {
    case .planned(let p):
      print(p.decision.mesh, p.decision.stages.map { $0.units.map { "\($0.segment):\($0.copies.count)" } }, p.decision.job.microBatches, p.decision.schedule)
      print(p.prediction.step, p.prediction.bubble, p.prediction.memory, p.prediction.memoryLimit)
      print(p.certificate.status, p.certificate.priced, p.certificate.pruned, p.certificate.infeasible, p.certificate.lowerBound)
      for (op, a) in p.decision.assignments.enumerated() { print(p.decision.graph.operators[op].name, a.map { $0.map(String.init) ?? "-" }) }
    case .infeasible(let i): print("infeasible", i)
    case .timeLimit(let b): print(b)
    }
  }
}
