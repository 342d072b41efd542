// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Quantities
import Strategies

/// Why nothing fits, by how much, and what would help.
struct Infeasibility {
  let memory: (least: Bytes, limit: Bytes)?
  /// What is known before changes are looked for.
  let problem: String
  private(set) var repairs = Repairs()
  /// Finds changes that help, within so many seconds.
  private let lookForRepairs: (@Sendable (Double, ProgressWatch) -> Repairs)?
  private var secondsForRepairs = 0.0

  /// Of a search.
  ///
  /// - Throws: `UsageError` where the request's choices contradict each other.
  init(_ request: SearchRequest, _ shortfall: PlanOutcome.Infeasible) throws {
    guard let memory = shortfall.memory else {
      if let contradiction = try Planner.contradiction(request) { throw UsageError(contradiction.text(devices: request.cluster.deviceCount)) }
      (self.memory, lookForRepairs) = (nil, nil)
      problem = "no plan is possible: the choices made leave some operator without a split on any mesh"
      return
    }
    self.memory = memory
    problem =
      "no plan fits: the closest needs at least \(memory.least) on a device that has \(memory.limit), \(memory.least - memory.limit) too much"
    lookForRepairs = { seconds, watch in
      Planner.repairs(request, least: memory.least, seconds: seconds, stop: watch.stop) { watch.show(Self.progress($0)) }
    }
  }

  /// Of given degrees.
  init(_ degrees: MegatronDegrees, _ request: SearchRequest, _ memory: (least: Bytes, limit: Bytes)) {
    self.memory = memory
    problem = "the configuration does not fit: it needs \(memory.least) on a device that has \(memory.limit), \(memory.least - memory.limit) too much"
    lookForRepairs = { seconds, watch in Planner.repairs(degrees, request, seconds: seconds, stop: watch.stop) { watch.show(Self.progress($0)) } }
  }

  private static func progress(_ change: String) -> String { "looking for changes that make it fit: \(change) (Ctrl-C: those found so far)" }

  /// Says on standard error what is known, then looks for changes that help and says what was found.
  ///
  /// - Parameter seconds: wall-clock time for the changes.
  mutating func explain(seconds: Double = Planner.usualRepairSeconds) {
    Failure(code: Failure.nothingFits, problem).report()
    findRepairs(seconds: seconds)
    if !lines.isEmpty { note(lines.joined(separator: "\n")) }
  }

  mutating func findRepairs(seconds: Double = Planner.usualRepairSeconds) {
    guard let lookForRepairs else { return }
    secondsForRepairs = seconds
    guard seconds > 0 else { return }
    let watch = ProgressWatch()
    repairs = lookForRepairs(seconds, watch)
    watch.end()
  }

  /// What would help, in a line each.
  var lines: [String] {
    guard let memory, lookForRepairs != nil else { return [] }
    if secondsForRepairs <= 0 { return ["the time limit leaves no time to look for changes that make it fit"] }
    var lines: [String] = []
    if let enough = repairs.memory {
      lines.append(
        "devices with \(enough.bytes) would do (step \(enough.step) or less); nothing fits with less\(enough.isLeast ? "" : " than \(memory.least)")")
    }
    let (same, other) = (repairs.changes.filter { !$0.isOtherJob }, repairs.changes.filter(\.isOtherJob))
    if let best = same.first {
      let isCheapest = same.count > 1 && repairs.isFirstProvenCheapest
      lines.append("\(isCheapest ? "the cheapest change of \(same.count) that make it fit" : "a change that makes it fit"): \(said(best))")
    }
    lines += same.dropFirst().map { "also: \(said($0))" }
    lines += other.map { "with another job: \(said($0))" }
    if repairs.changes.isEmpty {
      lines.append("no change of one choice was found that makes it fit; try fewer sequences, a smaller model or devices with more memory")
    }
    if !repairs.undecided.isEmpty {
      lines.append("not known after \(Seconds(secondsForRepairs)): whether it fits \(repairs.undecided.map { "with " + $0 }.joined(separator: ", "))")
    }
    return lines
  }

  private func said(_ repair: Repair) -> String {
    let step = "step \(repair.step)\(repair.isProven ? "" : " or less") on \(counted(repair.devices, "device"))"
    let details = [step, repair.remark, repair.tooFewDevices.map { "with \($0) nothing fits" }].compactMap { $0 }
    return "\(repair.change) (\(details.joined(separator: "; ")))"
  }

  var json: JSON {
    var object = JSON.Object([("status", "infeasible")])
    if let memory {
      object["least_memory_bytes"] = .double(memory.least.value)
      object["memory_limit_bytes"] = .double(memory.limit.value)
    }
    object["sufficient_memory_bytes"] = repairs.memory.map { .double($0.bytes.value) }
    object["repairs"] = .array(
      repairs.changes.map {
        var repair: JSON.Object = .init([
          ("change", .string($0.change)), ("step_seconds", .double($0.step.value)), ("devices", .int($0.devices)),
          ("is_other_job", .bool($0.isOtherJob)), ("is_proven", .bool($0.isProven)),
        ])
        repair["remark"] = $0.remark.map { .string($0) }
        repair["too_few_devices"] = $0.tooFewDevices.map { .int($0) }
        return .object(repair)
      })
    object["undecided_repairs"] = .array(repairs.undecided.map { .string($0) })
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
