// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Search
import Strategies

/// Searches changed requests within a budget of wall-clock time that they share.
///
/// First it is only asked whether a change is enough: the part of the space where memory is least (layers compute everything again, micro-batches
/// are small) holds a plan or does not, and the first one will do. With the time that is left every change is searched for its best plan.
struct RepairSearch {
  private let start = ContinuousClock.now
  private let deadline: ContinuousClock.Instant
  private let stop: StopCondition
  private let progress: @Sendable (String) -> Void
  private var attempts: [Attempt] = []
  private var memory: Repairs.Memory?

  private struct Attempt {
    let change: String
    let request: SearchRequest
    let isOtherJob: Bool
    var repair: Repair?
    /// Whether it is known that nothing fits.
    var isInVain = false
  }

  /// What a search came to.
  struct Result {
    var planned: PlanOutcome.Planned?
    /// Whether there is no better plan, or none at all.
    var isComplete: Bool
  }

  init(seconds: Double, stop: StopCondition, progress: @escaping @Sendable (String) -> Void) {
    deadline = start + .seconds(seconds)
    (self.stop, self.progress) = (stop, progress)
  }

  /// Wall-clock seconds.
  var left: Double { stop.isReached ? 0 : max(0, (deadline - .now) / .seconds(1)) }
  var hasTime: Bool { left > 0 }
  /// The share of its time that has passed.
  var spent: Double { 1 - left / ((deadline - start) / .seconds(1)) }

  /// - Parameters:
  ///   - share: of the time that is left.
  ///   - below: plans that take this long or longer are of no interest.
  ///   - isFirstEnough: whether any plan will do.
  func search(_ request: SearchRequest, share: Double, below: Seconds? = nil, isFirstEnough: Bool = false) -> Result {
    let left = self.left
    guard left > 0 else { return Result(isComplete: false) }
    var request = request
    (request.ignoresMemoryLimit, request.reversed, request.top) = (false, nil, 1)
    let inner = StopCondition(after: .seconds(left * share), within: stop)
    let monitor = SearchMonitor(stop: inner) { if isFirstEnough && $0.objective != nil { inner.ask() } }
    do {
      let explored = try Planner.explore(request, monitor, below: below)
      guard case .planned(let planned) = try Planner.outcome(explored) else { return Result(isComplete: explored.0.isComplete) }
      return Result(planned: planned, isComplete: explored.0.isComplete)
    } catch {
      // The change makes no request that there are plans for.
      return Result(isComplete: true)
    }
  }

  // MARK: - Whether changes are enough

  /// Remembers a change that is enough, or of which that is not yet known.
  ///
  /// - Returns: whether it is known to be enough.
  mutating func attempt(_ change: String, isOtherJob: Bool = false, _ request: SearchRequest) -> Bool {
    if let known = attempts.first(where: { $0.change == change }) { return known.repair != nil }
    progress(change)
    let result = quickly(request)
    let repair = result.planned.map { Repair(change, $0, isProven: false, isOtherJob: isOtherJob) }
    attempts.append(Attempt(change: change, request: request, isOtherJob: isOtherJob, repair: repair, isInVain: repair == nil && result.isComplete))
    return repair != nil
  }

  /// Remembers what a change leads to, which is known.
  mutating func add(
    _ change: String, _ request: SearchRequest, _ result: Result, isOtherJob: Bool, remark: String? = nil, degrees: MegatronDegrees? = nil
  ) {
    var repair = result.planned.map { Repair(change, $0, isProven: result.isComplete, isOtherJob: isOtherJob) }
    repair?.remark = remark
    repair?.degrees = degrees
    attempts.append(Attempt(change: change, request: request, isOtherJob: isOtherJob, repair: repair, isInVain: repair == nil && result.isComplete))
  }

  /// Takes changes back that another one makes needless.
  mutating func drop(_ isNeedless: (_ change: String, _ isEnough: Bool) -> Bool) { attempts.removeAll { isNeedless($0.change, $0.repair != nil) } }

  /// Some plan, from the parts of the space where memory is least; of what is not found there nothing is known.
  func quickly(_ request: SearchRequest) -> Result {
    let parts = Self.leastMemory(request)
    for part in parts {
      let result = search(part, share: Self.quickShare, isFirstEnough: true)
      if result.planned != nil { return Result(planned: result.planned, isComplete: false) }
    }
    return Result(isComplete: parts.isEmpty)
  }

  private static let quickShare = 0.15

  /// The parts of a request's space where memory is likely to be least; none where it has no space at all.
  private static func leastMemory(_ request: SearchRequest) -> [SearchRequest] {
    guard let space = try? Space(request) else { return [] }
    var part = request
    if request.mode == .train, request.recompute == nil { part.recompute = .full }
    if request.recomputedLayers == nil { part.layersMayDiffer = false }
    if request.mode == .train, request.schedule == nil, request.chunks == nil { part.schedule = .oneForwardOneBackward }
    if request.mesh == nil { part.mostMeshAxes = min(request.mostMeshAxes, SearchRequest.usualMeshAxes) }
    part.mayHaveSubMeshes = false
    guard request.microBatches == nil, request.microBatchSize == nil, let most = space.microBatchCounts.last else { return [part] }
    // The smallest micro-batches, and the smallest that all devices can share out.
    let shared = space.microBatchCounts.last { request.batch / $0 >= request.cluster.deviceCount } ?? most
    return (shared == most ? [most] : [most, shared]).map { count in
      var copy = part
      copy.microBatches = count
      return copy
    }
  }

  // MARK: - What changes lead to

  /// Finds out with how much memory the request itself would be feasible.
  ///
  /// - Parameter least: nothing fits with less.
  mutating func findMemory(_ request: SearchRequest, least: Bytes) {
    progress("more memory")
    // With a tenth more there often is a plan; then as little more as there can be.
    for factor in [1.1, 1, 1.005, 1.02] where hasTime && (memory == nil) == (factor == 1.1) {
      var changed = request
      changed.memoryLimit = least * factor
      guard let planned = quickly(changed).planned, planned.prediction.memory < memory?.bytes ?? Bytes(.infinity) else { continue }
      let bytes = planned.prediction.memory
      memory = .init(bytes: bytes, step: planned.prediction.step, isLeast: bytes <= least)
      if factor < 1.1 { return }
    }
  }

  /// Whether the whole space of a request holds a plan.
  func anyPlan(_ request: SearchRequest) -> Result { search(request, share: 0.5, isFirstEnough: true) }

  mutating func note(_ change: String, tooFewDevices count: Int) {
    if let index = attempts.firstIndex(where: { $0.change == change }) { attempts[index].repair?.tooFewDevices = count }
  }

  /// Searches every change for its best plan, in the time that is left, those that may be the cheapest first: the part of the space that held the
  /// first plan, then all of it, as often as time allows.
  mutating func complete() {
    for isWhole in [false, true, true] {
      let order = unfinished
      for (number, index) in order.enumerated() where hasTime {
        let attempt = attempts[index]
        progress(attempt.change)
        let share = 1 / Double(order.count - number)
        if isWhole {
          take(search(attempt.request, share: share, below: attempt.repair?.step), for: index, isWhole: true)
        } else if let repair = attempt.repair {
          for part in Self.leastMemory(attempt.request) {
            take(search(part, share: min(share, Self.quickShare), below: repair.step), for: index, isWhole: false)
          }
        }
      }
    }
  }

  /// Of which it is not known what they lead to.
  private var unfinished: [Int] {
    attempts.indices.filter { !attempts[$0].isInVain && attempts[$0].repair?.isProven != true }.sorted { a, b in
      let (left, right) = (attempts[a], attempts[b])
      if left.isOtherJob != right.isOtherJob { return right.isOtherJob }
      return (left.repair?.price ?? .infinity, a) < (right.repair?.price ?? .infinity, b)
    }
  }

  /// - Parameter isWhole: whether all of the change's space was searched.
  private mutating func take(_ result: Result, for index: Int, isWhole: Bool) {
    let attempt = attempts[index]
    if let planned = result.planned, planned.prediction.step < attempt.repair?.step ?? Seconds(.infinity) {
      var repair = attempt.repair ?? Repair(attempt.change, planned, isProven: false, isOtherJob: attempt.isOtherJob)
      repair.improve(planned)
      attempts[index].repair = repair
    }
    guard isWhole, result.isComplete else { return }
    attempts[index].repair?.isProven = true
    attempts[index].isInVain = attempts[index].repair == nil
  }

  var repairs: Repairs {
    Repairs(
      changes: attempts.compactMap(\.repair), undecided: attempts.filter { $0.repair == nil && !$0.isInVain }.map(\.change), memory: memory)
  }
}
