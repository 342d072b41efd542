// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Search
import Strategies

extension Planner {
  /// Changes of given degrees, and of what is computed, that make the configuration fit, the cheapest first.
  ///
  /// Of each degree the least change that is enough; where none is enough by itself, on top of the smallest micro-batches and a split sequence,
  /// which take no more devices.
  package static func repairs(
    _ degrees: MegatronDegrees, _ request: SearchRequest, seconds: Double = usualRepairSeconds, stop: StopCondition = StopCondition(),
    progress: @escaping @Sendable (String) -> Void = { _ in }
  ) -> Repairs {
    var search = RepairSearch(seconds: seconds, stop: stop, progress: progress)
    func planned(_ fixed: SearchRequest) -> RepairSearch.Result { search.search(fixed, share: 0.5) }
    func attempt(_ changed: MegatronDegrees, _ change: String = "", isOtherJob: Bool = false, _ modify: (inout SearchRequest) -> Void = { _ in })
      -> Bool
    {
      var base = request
      modify(&base)
      if changed.devices != base.cluster.deviceCount {
        guard let cluster = base.larger?(changed.devices) else { return false }
        base.cluster = cluster
      }
      let options = [changed.options(changedFrom: degrees), change].filter { !$0.isEmpty }.joined(separator: " ")
      guard let fixed = try? changed.fix(base) else { return false }
      progress(options)
      let result = planned(fixed)
      guard result.planned != nil || !result.isComplete else { return false }
      search.add(
        options, fixed, result, isOtherJob: isOtherJob, remark: changed.remark(changedFrom: degrees, batch: request.batch),
        degrees: isOtherJob ? nil : changed)
      return result.planned != nil
    }
    let perReplica = request.batch / degrees.data
    // Halves and then other divisors are many; each is quickly priced.
    let smaller = divisors(of: perReplica).filter { $0 < degrees.microBatchSize(batch: request.batch, couplesBatch: request.graph.couplesBatch) }
      .reversed()
    var smallest = degrees
    if !smaller.isEmpty { smallest.microBatchSize = 1 }
    for size in smaller where search.hasTime {
      var changed = degrees
      changed.microBatchSize = size
      if attempt(changed) { break }
    }
    for recompute in Recompute.searched where recompute > degrees.recompute && search.hasTime {
      if let changed = fewestLayers(computing: recompute, degrees, request, { planned($0).planned != nil }) { _ = attempt(changed) }
    }
    var split = degrees
    split.isSequenceParallel = degrees.tensor > 1
    if split != degrees { _ = attempt(split) }
    smallest.isSequenceParallel = split.isSequenceParallel
    // Stages' own meshes leave no degrees to change.
    let starts = degrees.stageMeshes != nil ? [] : smallest == degrees ? [degrees] : [degrees, smallest]
    for start in starts where start == degrees || search.repairs.changes.isEmpty {
      if start != degrees, attempt(start) { continue }
      for changes in largerDegrees(start) { _ = changes.first { search.hasTime && attempt($0) } }
    }
    for job in otherJobs(request) where search.hasTime { _ = attempt(degrees, job.change, isOtherJob: true, job.modify) }
    return search.repairs
  }

  private static func divisors(of n: Int) -> [Int] {
    let low = sequence(first: 1) { $0 + 1 }.prefix { $0 <= n / $0 }.filter { n % $0 == 0 }
    return low + low.reversed().map { n / $0 }.filter { $0 > (low.last ?? 0) }
  }

  /// With the fewest layers of each stage that compute more again and are enough; nil where all of them are not.
  private static func fewestLayers(
    computing recompute: Recompute, _ degrees: MegatronDegrees, _ request: SearchRequest, _ isEnough: (SearchRequest) -> Bool
  ) -> MegatronDegrees? {
    var changed = degrees
    (changed.recompute, changed.recomputedLayers) = (recompute, nil)
    guard request.mode == .train, let fixed = try? changed.fix(request), isEnough(fixed) else { return nil }
    let most = fixed.stageLayers?.max() ?? 1
    var (low, high) = (0, most)
    while high - low > 1 {
      changed.recomputedLayers = (low + high) / 2
      if let fixed = try? changed.fix(request), isEnough(fixed) { high = (low + high) / 2 } else { low = (low + high) / 2 }
    }
    changed.recomputedLayers = high < most ? high : nil
    return changed
  }

  /// Degrees of which one is larger, two, four, … times; in each list the least change comes first.
  private static func largerDegrees(_ start: MegatronDegrees) -> [[MegatronDegrees]] {
    let factors = [2, 4, 8, 16]
    var lists = [
      factors.map { factor in
        var changed = start
        changed.expert *= factor
        return changed
      }
    ]
    for degree in [\MegatronDegrees.tensor, \.context, \.pipeline, \.data] as [WritableKeyPath<MegatronDegrees, Int>] {
      for takesFromReplicas in [true, false] where degree != \.data || !takesFromReplicas {
        lists.append(
          factors.filter { !takesFromReplicas || start.data % $0 == 0 }.map { factor in
            var changed = start
            changed[keyPath: degree] *= factor
            if degree == \.pipeline { changed.stageLayers = nil }
            if takesFromReplicas { changed.data /= factor }
            return changed
          })
      }
    }
    return lists
  }
}

extension MegatronDegrees {
  /// What else changes with the degrees, in words; nil where nothing does.
  fileprivate func remark(changedFrom other: MegatronDegrees, batch: Int) -> String? {
    let (size, before) = (microBatchSize(batch: batch), other.microBatchSize(batch: batch))
    guard microBatchSize == nil, size != before else { return nil }
    return "the default --micro-batch is then \(size), not \(before)"
  }
}
