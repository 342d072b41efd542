// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Strategies

extension Planner {
  /// A change of a request that makes some plan fit, in the command line's words, and what it leads to.
  package struct Repair: Sendable {
    package let change: String
    package let step: Seconds
    package let devices: Int
    /// Whether something else is computed: another batch, optimizer or data type.
    package let isOtherJob: Bool
    /// Device-seconds per sequence: what makes one change cheaper than another.
    package let price: Double

    init(_ change: String, _ planned: PlanOutcome.Planned, isOtherJob: Bool) {
      self.change = change
      self.isOtherJob = isOtherJob
      step = planned.prediction.step
      devices = planned.decision.ranks
      price = step.value * Double(devices) / Double(planned.decision.job.batch)
    }

    /// The same job before another one, the cheaper first.
    fileprivate static func precedes(_ a: Repair, _ b: Repair) -> Bool { (a.isOtherJob ? 1 : 0, a.price) < (b.isOtherJob ? 1 : 0, b.price) }
  }

  /// Wall-clock seconds for the search of one change.
  private static let repairTimeLimit = 5.0

  /// Changes that make an infeasible request feasible, the cheapest first. Each is searched for at most a few seconds.
  package static func repairs(_ request: SearchRequest) -> [Repair] {
    var repairs: [Repair] = []
    func attempt(_ change: String, isOtherJob: Bool = false, _ modify: (inout SearchRequest) -> Void) -> Bool {
      guard let planned = planned(request, modify) else { return false }
      repairs.append(Repair(change, planned, isOtherJob: isOtherJob))
      return true
    }
    for factor in [2, 4, 8, 16] {
      guard let larger = request.larger?(request.cluster.deviceCount * factor) else { break }
      if attempt("--devices \(larger.deviceCount)", { $0.cluster = larger }) { break }
    }
    for choice in request.choices where choice.constraint == nil { _ = attempt("without \(choice.option)", choice.drop) }
    if !request.constraints.isEmpty { _ = attempt("without --pin and --forbid") { $0.constraints = [] } }
    var batch = request.batch / 2
    while batch >= 1 {
      if request.microBatches.map({ batch % $0 == 0 }) ?? true, attempt("--batch \(batch)", isOtherJob: true, { $0.batch = batch }) { break }
      batch /= 2
    }
    for job in otherJobs(request) { _ = attempt(job.change, isOtherJob: true, job.modify) }
    return repairs.sorted(by: Repair.precedes)
  }

  /// Changes of given degrees, and of what is computed, that make the configuration fit, the cheapest first.
  ///
  /// Of each degree the least change that is enough; where none is enough by itself, on top of the smallest micro-batches and a split sequence,
  /// which take no more devices.
  package static func repairs(_ degrees: MegatronDegrees, _ request: SearchRequest) -> [Repair] {
    var repairs: [Repair] = []
    func attempt(_ changed: MegatronDegrees, _ change: String = "", isOtherJob: Bool = false, _ modify: (inout SearchRequest) -> Void = { _ in })
      -> Bool
    {
      var base = request
      modify(&base)
      if changed.devices != base.cluster.deviceCount {
        guard let cluster = base.larger?(changed.devices) else { return false }
        base.cluster = cluster
      }
      guard let fixed = try? changed.fix(base), let planned = planned(fixed, { _ in }) else { return false }
      let options = [changed.options(changedFrom: degrees), change].filter { !$0.isEmpty }
      repairs.append(Repair(options.joined(separator: " "), planned, isOtherJob: isOtherJob))
      return true
    }
    let perReplica = request.batch / degrees.data
    let smaller = (1..<degrees.microBatchSize(batch: request.batch)).reversed().filter { perReplica % $0 == 0 }
    var smallest = degrees
    if !smaller.isEmpty { smallest.microBatchSize = 1 }
    for size in smaller {
      var changed = degrees
      changed.microBatchSize = size
      if attempt(changed) { break }
    }
    for recompute in Recompute.allCases where recompute > degrees.recompute {
      var changed = degrees
      (changed.recompute, changed.recomputedLayers) = (recompute, nil)
      guard request.mode == .train, let fixed = try? changed.fix(request), planned(fixed, { _ in }) != nil else { continue }
      // The fewest layers that are enough.
      var (low, high) = (0, fixed.stageLayers?.max() ?? 1)
      while high - low > 1 {
        changed.recomputedLayers = (low + high) / 2
        if let fixed = try? changed.fix(request), planned(fixed, { _ in }) != nil { high = (low + high) / 2 } else { low = (low + high) / 2 }
      }
      changed.recomputedLayers = high < fixed.stageLayers?.max() ?? 1 ? high : nil
      _ = attempt(changed)
    }
    var split = degrees
    split.isSequenceParallel = degrees.tensor > 1
    if split != degrees { _ = attempt(split) }
    smallest.isSequenceParallel = split.isSequenceParallel
    // Stages' own meshes leave no degrees to change.
    let starts = degrees.stageMeshes != nil ? [] : smallest == degrees ? [degrees] : [degrees, smallest]
    for start in starts where start == degrees || repairs.isEmpty {
      if start != degrees, attempt(start) { continue }
      for factor in [2, 4, 8, 16] {
        var changed = start
        changed.expert *= factor
        if attempt(changed) { break }
      }
      for degree in [\MegatronDegrees.tensor, \.context, \.pipeline, \.data] as [WritableKeyPath<MegatronDegrees, Int>] {
        for takesFromReplicas in [true, false] where degree != \.data || !takesFromReplicas {
          for factor in [2, 4, 8, 16] {
            var changed = start
            changed[keyPath: degree] *= factor
            if degree == \.pipeline { changed.stageLayers = nil }
            if takesFromReplicas {
              guard changed.data % factor == 0 else { break }
              changed.data /= factor
            }
            if attempt(changed) { break }
          }
        }
      }
    }
    for job in otherJobs(request) { _ = attempt(degrees, job.change, isOtherJob: true, job.modify) }
    return repairs.sorted(by: Repair.precedes)
  }

  /// Another optimizer or data type, where it takes less memory.
  private static func otherJobs(_ request: SearchRequest) -> [(change: String, modify: (inout SearchRequest) -> Void)] {
    var jobs: [(String, (inout SearchRequest) -> Void)] = []
    if request.mode == .train, request.optimizer == .adamw { jobs.append(("--optimizer sgd", { $0.optimizer = .sgd })) }
    if request.precision == .fp32, (try? request.cluster.kind(of: 0).peak(.bf16)) != nil { jobs.append(("--dtype bf16", { $0.precision = .bf16 })) }
    return jobs
  }

  /// The plan of a changed request; nil where none fits, or none is found in time.
  private static func planned(_ request: SearchRequest, _ modify: (inout SearchRequest) -> Void) -> PlanOutcome.Planned? {
    var changed = request
    modify(&changed)
    changed.timeLimit = repairTimeLimit
    changed.ignoresMemoryLimit = false
    changed.reversed = nil
    guard case .planned(let planned) = try? search(changed) else { return nil }
    return planned
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
