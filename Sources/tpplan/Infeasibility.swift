// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Quantities
import Strategies

/// Why nothing fits, by how much, and what would help.
struct Infeasibility {
  let memory: (least: Bytes, limit: Bytes)?
  let repairs: [Planner.Repair]
  let text: String

  /// Of a search.
  ///
  /// - Throws: `UsageError` where the request's choices contradict each other.
  init(_ request: SearchRequest, _ shortfall: PlanOutcome.Infeasible) throws {
    guard let memory = shortfall.memory else {
      if let contradiction = try Planner.contradiction(request) { throw UsageError(contradiction.text(devices: request.cluster.deviceCount)) }
      self.init("no plan is possible: the choices made leave some operator without a split on any mesh")
      return
    }
    self.init(
      "no plan fits: the closest needs at least \(memory.least) on a device that has \(memory.limit), \(memory.least - memory.limit) too much",
      memory, Planner.repairs(request))
  }

  /// Of given degrees.
  init(_ degrees: MegatronDegrees, _ request: SearchRequest, _ memory: (least: Bytes, limit: Bytes)) {
    self.init(
      "the configuration does not fit: it needs \(memory.least) on a device that has \(memory.limit), \(memory.least - memory.limit) too much",
      memory, Planner.repairs(degrees, request))
  }

  private init(_ problem: String) { (memory, repairs, text) = (nil, [], problem) }

  private init(_ problem: String, _ memory: (least: Bytes, limit: Bytes), _ repairs: [Planner.Repair]) {
    self.memory = memory
    self.repairs = repairs
    var lines = [problem]
    let (same, other) = (repairs.filter { !$0.isOtherJob }, repairs.filter(\.isOtherJob))
    func said(_ repair: Planner.Repair) -> String { "\(repair.change) (step \(repair.step) on \(counted(repair.devices, "device")))" }
    if let best = same.first { lines.append("the cheapest change that makes it fit: \(said(best))") }
    lines += same.dropFirst().map { "also: \(said($0))" }
    lines += other.map { "with another job: \(said($0))" }
    if repairs.isEmpty {
      lines.append("no change of one choice was found that makes it fit; try fewer sequences, a smaller model or devices with more memory")
    }
    text = lines.joined(separator: "\n")
  }

  var json: JSON {
    var object = JSON.Object([("status", "infeasible")])
    if let memory {
      object["least_memory_bytes"] = .double(memory.least.value)
      object["memory_limit_bytes"] = .double(memory.limit.value)
    }
    object["repairs"] = .array(
      repairs.map {
        [
          "change": .string($0.change), "step_seconds": .double($0.step.value), "devices": .int($0.devices), "is_other_job": .bool($0.isOtherJob),
        ]
      })
    return .object(object)
  }
}

extension Contradiction {
  /// What contradicts what, and where.
  func text(devices: Int) -> String {
    let named = operators.prefix(4).joined(separator: ", ") + (operators.count > 4 ? " and \(operators.count - 4) more" : "")
    if options.count == 1, leavesNone {
      let known = splits.isEmpty ? "" : "; known there: \(splits.joined(separator: " "))"
      return "\(options[0]): no mesh of \(counted(devices, "device")) has such a split of \(named)\(known)"
    }
    let consequence =
      leavesNone
      ? "together they leave no split of \(named)"
      : "no layouts of \(named) go together under them (a tensor is held in at most \(Space.mostLayoutsAtOnce) layouts at once)"
    let list = options.dropLast().joined(separator: ", ") + (options.count > 1 ? " and " : "") + (options.last ?? "")
    return "\(list) contradict each other: \(consequence); drop one of them"
  }
}
