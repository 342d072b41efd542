// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Plans
import Quantities
import Search

/// The plans beside which none has fewer devices, less memory on each and a shorter step at once.
package struct Frontier {
  package struct Point: Sendable {
    package let devices: Int
    package let planned: PlanOutcome.Planned
    package var step: Seconds { planned.prediction.step }
    package var memory: Bytes { planned.prediction.memory }
  }

  /// By devices, then from the fastest on, which takes most memory.
  package private(set) var points: [Point] = []
  /// For each number of devices on which nothing fits, what the least plan needs.
  package private(set) var tooSmall: [(devices: Int, memory: (least: Bytes, limit: Bytes)?)] = []
  /// Whether every search came to its end.
  package private(set) var isComplete = true

  /// - Parameters:
  ///   - devices: the numbers of devices to compare.
  ///   - share: each further plan on as many devices has at most this part of the memory of the one before.
  ///   - most: plans on as many devices, at most.
  ///   - request: the request for a number of devices.
  /// - Throws: what a search throws.
  package init(
    devices: [Int], share: Double = 0.8, most: Int = 8, monitor: SearchMonitor = SearchMonitor(), progress: (Int, Int) -> Void = { _, _ in },
    request: (Int) throws -> SearchRequest
  ) throws {
    for count in devices {
      var request = try request(count)
      (request.mayLeaveIdle, request.top) = (false, 1)
      for number in 0..<most where !monitor.stop.isReached {
        progress(count, number)
        let (search, space) = try Planner.explore(request, monitor)
        isComplete = isComplete && search.isComplete
        let outcome = try Planner.outcome(search, space)
        guard case .planned(let planned) = outcome else {
          if number == 0, case .infeasible(let shortfall) = outcome { tooSmall.append((count, shortfall.memory)) }
          break
        }
        points.append(Point(devices: count, planned: planned))
        request.memoryLimit = Bytes((planned.prediction.memory.value * share).rounded(.down))
      }
    }
    let all = points
    points = all.filter { point in !all.contains { Self.dominates($0, point) } }
  }

  private static func dominates(_ a: Point, _ b: Point) -> Bool {
    a.devices <= b.devices && a.memory <= b.memory && a.step <= b.step && (a.devices < b.devices || a.memory < b.memory || a.step < b.step)
  }
}
