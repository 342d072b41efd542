// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

/// Devices of several kinds in file order, and with the last kind first: which kind holds the first layers is a choice.
extension Planner {
  /// Searches both orders; the second for plans that are better than the first's best.
  static func searchOrders(_ request: SearchRequest, _ monitor: SearchMonitor) throws -> PlanOutcome {
    var reversed = request
    (reversed.cluster, reversed.reversed) = (request.reversed ?? request.cluster, nil)
    let first = try outcome(explore(request, monitor))
    guard case .planned(var best) = first else {
      // The first order holds no plan, or none was found in time.
      let second = try outcome(explore(reversed, monitor))
      switch (first, second) {
      case (_, .planned(var planned)):
        planned.isReversed = true
        if case .timeLimit(let bound) = first {
          planned.certificate.status = .timeLimit
          planned.certificate.lowerBound = min(planned.certificate.lowerBound, bound)
        }
        planned.certificate.space.append(dimension(request))
        return .planned(planned)
      case (.timeLimit(let a), .timeLimit(let b)): return .timeLimit(lowerBound: min(a, b))
      case (.timeLimit, _): return first
      case (.infeasible(let a), .infeasible(let b)):
        if let x = a.memory?.least, let y = b.memory?.least, x <= y { return first }
        return b.memory == nil ? first : second
      default: return second
      }
    }
    let (search, space) = try explore(reversed, monitor, below: best.prediction.step)
    var certificate = best.certificate
    if case .planned(var planned) = try outcome(search, space), planned.prediction.step < best.prediction.step {
      planned.isReversed = true
      best = planned
      certificate.objective = planned.certificate.objective
    }
    if !search.isComplete { certificate.status = .timeLimit }
    // Without a plan below the first order's, the second's bound is that plan.
    certificate.lowerBound = min(certificate.lowerBound, space.tick * Double(search.lowerBound))
    certificate.priced += search.priced
    certificate.pruned += search.pruned
    certificate.infeasible += search.infeasible
    certificate.space.append(dimension(request))
    best.certificate = certificate
    return .planned(best)
  }

  static func dimension(_ request: SearchRequest) -> Certificate.Dimension {
    let cluster = request.cluster
    let kinds = (Set(cluster.kindOfDevice)).sorted { cluster.kindOfDevice.firstIndex(of: $0)! < cluster.kindOfDevice.firstIndex(of: $1)! }
    let names = kinds.map { cluster.kinds[$0].name }
    return .init(name: "device order", values: names.joined(separator: " before ") + "; " + names.reversed().joined(separator: " before "))
  }
}
