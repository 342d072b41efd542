// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Search
import Strategies

extension Planner {
  /// Wall-clock seconds for changes where no time limit is given.
  package static let usualRepairSeconds = 5.0

  /// Changes that make an infeasible request feasible: more devices (the smallest machine that does, and the first of twice, four times, … as many),
  /// leaving out one choice, halves of the batch, another optimizer, data type or attention kernel, or more memory on each device.
  ///
  /// - Parameters:
  ///   - least: nothing fits with less memory on each device; nil where that is not known.
  ///   - seconds: wall-clock time for all of them.
  ///   - progress: hears of each change that is looked at.
  package static func repairs(
    _ request: SearchRequest, least: Bytes? = nil, seconds: Double = usualRepairSeconds, stop: StopCondition = StopCondition(),
    progress: @escaping @Sendable (String) -> Void = { _ in }
  ) -> Repairs {
    var search = RepairSearch(seconds: seconds, stop: stop, progress: progress)
    let fewest = moreDevices(request, &search)
    for choice in request.choices where choice.constraint == nil && search.hasTime {
      _ = search.attempt("without \(choice.option)", changed(request, choice.drop))
    }
    if !request.constraints.isEmpty { _ = search.attempt("without --pin and --forbid", changed(request) { $0.constraints = [] }) }
    if let least { search.findMemory(request, least: least) }
    for job in otherJobs(request) where search.hasTime { _ = search.attempt(job.change, isOtherJob: true, changed(request, job.modify)) }
    smallerBatch(request, &search)
    if let fewest { proveFewest(fewest, request, &search) }
    search.complete()
    return search.repairs
  }

  private static func changed(_ request: SearchRequest, _ modify: (inout SearchRequest) -> Void) -> SearchRequest {
    var changed = request
    modify(&changed)
    return changed
  }

  private static func on(_ devices: Int, _ request: SearchRequest) -> SearchRequest? {
    request.larger?(devices).map { cluster in changed(request) { $0.cluster = cluster } }
  }

  private static func option(devices: Int) -> String { "--devices \(devices)" }

  /// Attempts twice, four times, … as many devices until they are enough, then fewer by bisection: where devices may be idle, more are hardly worse.
  ///
  /// - Returns: the fewest that were found to be enough; nil where none were.
  private static func moreDevices(_ request: SearchRequest, _ search: inout RepairSearch) -> Int? {
    guard let larger = request.larger else { return nil }
    var few = request.cluster.deviceCount
    var enough: Int?
    for factor in [2, 4, 8, 16] where enough == nil && search.hasTime {
      let wanted = request.cluster.deviceCount * factor
      // As many as there are, at most.
      let count = larger(wanted) == nil ? mostDevices(larger, from: few, below: wanted) : wanted
      guard count > few, let wider = on(count, request) else { break }
      // What was too few needs no other look.
      search.drop { change, _ in change.hasPrefix("--devices ") }
      if search.attempt(option(devices: count), wider) { enough = count } else { few = count }
    }
    guard let doubled = enough, request.mayLeaveIdle else { return nil }
    var least = doubled
    while least - few > 1, search.spent < 0.4, let between = on((few + least) / 2, request) {
      let count = (few + least) / 2
      if search.attempt(option(devices: count), between) { least = count } else { few = count }
      search.drop { change, _ in change.hasPrefix("--devices ") && ![least, doubled].map(option).contains(change) }
    }
    return least
  }

  /// Proves that a device less is not enough, or goes on with so many.
  private static func proveFewest(_ count: Int, _ request: SearchRequest, _ search: inout RepairSearch) {
    var fewest = count
    while fewest - 1 > request.cluster.deviceCount, search.hasTime, let smaller = on(fewest - 1, request) {
      let result = search.anyPlan(smaller)
      if result.planned == nil {
        if result.isComplete { search.note(option(devices: fewest), tooFewDevices: fewest - 1) }
        return
      }
      fewest -= 1
      search.add(option(devices: fewest), smaller, RepairSearch.Result(planned: result.planned, isComplete: false), isOtherJob: false)
    }
    // That the given ones are not enough is why changes are looked for.
    if fewest - 1 == request.cluster.deviceCount { search.note(option(devices: fewest), tooFewDevices: fewest - 1) }
  }

  /// The most devices of which there is a cluster, at least `low` and below `high`.
  private static func mostDevices(_ larger: (Int) -> Cluster?, from low: Int, below high: Int) -> Int {
    var (low, high) = (low, high)
    while high - low > 1 {
      let middle = (low + high) / 2
      if larger(middle) == nil { high = middle } else { low = middle }
    }
    return low
  }

  /// Attempts the half, the quarter, the sixteenth, … of the batch until it is enough, then larger ones by bisection.
  private static func smallerBatch(_ request: SearchRequest, _ search: inout RepairSearch) {
    let batches = sequence(first: request.batch / 2) { $0 / 2 }.prefix { $0 >= 1 }.filter { batch in
      request.microBatches.map { batch % $0 == 0 } ?? true
    }
    func change(_ index: Int) -> String { "--batch \(batches[index])" }
    func isEnough(_ index: Int) -> Bool {
      let isEnough = search.attempt(change(index), isOtherJob: true, changed(request) { $0.batch = batches[index] })
      search.drop { change, isEnough in change.hasPrefix("--batch ") && !isEnough }
      return isEnough
    }
    var (large, step) = (-1, 1)
    var small: Int?
    while small == nil, large + 1 < batches.count, search.hasTime {
      let index = min(large + step, batches.count - 1)
      if isEnough(index) { small = index } else { large = index }
      step *= 2
    }
    guard var small else { return }
    while small - large > 1, search.hasTime {
      let middle = (small + large) / 2
      if isEnough(middle) { small = middle } else { large = middle }
    }
    search.drop { other, _ in other.hasPrefix("--batch ") && other != change(small) }
  }

  /// Another optimizer, data type or attention kernel, where it takes less memory.
  static func otherJobs(_ request: SearchRequest) -> [(change: String, modify: (inout SearchRequest) -> Void)] {
    var jobs: [(String, (inout SearchRequest) -> Void)] = []
    if request.mode == .train, request.optimizer == .adamw { jobs.append(("--optimizer sgd", { $0.optimizer = .sgd })) }
    if request.precision == .fp32, (try? request.cluster.kind(of: 0).peak(.bf16)) != nil { jobs.append(("--dtype bf16", { $0.precision = .bf16 })) }
    if request.software.attention == .unfused { jobs.append(("--attention fused", { $0.software.attention = .fused })) }
    return jobs
  }

  /// The evenest cut of a model's layers.
  ///
  /// - Throws: `PlannerError.usage` where there are fewer layers than stages, or chunks.
  package static func evenStages(_ request: SearchRequest, stages: Int, chunks: Int = 1) throws -> [Int] {
    var request = request
    (request.pipelineDegree, request.chunks) = (stages, chunks)
    return try Space(request).evenCut(stages: stages, chunks: chunks)
  }
}
