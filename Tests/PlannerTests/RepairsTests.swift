// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Search
import Strategies
import Testing

@testable import Planner

/// Changes that make an infeasible request feasible.
@Suite struct RepairsTests {
  /// Needs more than one device has.
  private func request() throws -> SearchRequest {
    let hardware = try Shipped.hardware("dgx-a100")
    var request = try Shipped.request("gpt-15b", on: hardware, devices: 1, batch: 8, sequence: 1024)
    request.mayLeaveIdle = true
    (request.zero, request.recompute, request.layersMayDiffer, request.schedule) = (ZeROStage.none, .full, false, .oneForwardOneBackward)
    request.larger = { $0 <= 6 ? try? hardware.cluster(devices: $0) : nil }
    return request
  }

  private func least(_ request: SearchRequest) throws -> Bytes {
    guard case .infeasible(let why) = try Planner.search(request), let memory = why.memory else { throw NoShortfall() }
    return memory.least
  }

  struct NoShortfall: Error {}

  @Test("Differential: what is said of each change is what a search of the changed request says")
  func changes() throws {
    let request = try request()
    let least = try least(request)
    let repairs = Planner.repairs(request, least: least, seconds: 600)
    #expect(repairs.undecided.isEmpty && repairs.isFirstProvenCheapest)
    let same = repairs.changes.filter { !$0.isOtherJob }
    #expect(same.map(\.price) == same.map(\.price).sorted() && !same.isEmpty)
    for repair in same where repair.change.hasPrefix("--devices ") {
      var changed = request
      let count = try #require(Int(repair.change.split(separator: " ")[1]))
      changed.cluster = try #require(request.larger?(count))
      let plan = try #require(try Planner.search(changed).plan)
      #expect(repair.isProven && plan.prediction.step == repair.step && plan.decision.ranks == repair.devices)
      guard let few = repair.tooFewDevices else { continue }
      #expect(few == count - 1)
      changed.cluster = try #require(request.larger?(few))
      #expect(try Planner.search(changed).plan == nil)
    }
    #expect(same.contains { $0.tooFewDevices != nil })
    for job in Planner.otherJobs(request) {
      var changed = request
      job.modify(&changed)
      let repair = repairs.changes.first { $0.change == job.change }
      #expect(try Planner.search(changed).plan?.prediction.step == repair?.step && repair?.isOtherJob ?? true)
    }
  }

  @Test("Differential: with the memory that is said to do some plan fits, and with less than is said to be needed none")
  func memory() throws {
    var request = try request()
    request.larger = nil
    let least = try least(request)
    let memory = try #require(Planner.repairs(request, least: least, seconds: 600).memory)
    #expect(memory.bytes >= least && (memory.bytes == least) == memory.isLeast)
    request.memoryLimit = memory.bytes
    let plan = try #require(try Planner.search(request).plan)
    #expect(plan.prediction.memory <= memory.bytes && plan.prediction.step <= memory.step)
    request.memoryLimit = least - Bytes(1)
    #expect(try Planner.search(request).plan == nil)
  }

  @Test("Without time nothing is said to be known, and after Ctrl-C too")
  func noTime() throws {
    let request = try request()
    let stop = StopCondition()
    stop.ask()
    for repairs in [Planner.repairs(request, seconds: 0), Planner.repairs(request, seconds: 60, stop: stop)] {
      #expect(repairs.changes.isEmpty && repairs.memory == nil)
    }
  }

  @Test("A huge batch is halved until it is small enough, without trying every half")
  func hugeBatch() throws {
    let hardware = try Shipped.hardware("local")
    var request = try Shipped.request("gpt2", on: hardware, devices: 2, batch: 1_000_000_000, sequence: 1024)
    request.recompute = .full
    let looked = Looked()
    let repairs = Planner.repairs(request, seconds: 60) { looked.add($0) }
    let batches = Set(looked.changes.filter { $0.hasPrefix("--batch ") })
    #expect(batches.count <= 12, "\(batches)")
    #expect(repairs.changes.contains { $0.change.hasPrefix("--batch ") && $0.isOtherJob })
  }

  private final class Looked: @unchecked Sendable {
    private(set) var changes: [String] = []
    func add(_ change: String) { changes.append(change) }
  }
}
