// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

/// A launch with one thing changed, and what it then takes.
package struct LaunchChange: Sendable {
  /// What is written otherwise, in the launch's own words.
  package let text: String
  /// Whether the launch's format can say it: what was priced is then the launch, read again with the change in it.
  package let isSayable: Bool
  package let degrees: MegatronDegrees
  package let software: Software
  package let planned: PlanOutcome.Planned

  package var fits: Bool { planned.prediction.memory <= planned.prediction.memoryLimit }
}

extension LaunchJob {
  /// Every single change of the launch that leaves its job and its devices as they are, with what it leads to; the fastest first.
  ///
  /// A change is one step of one choice: sequence parallelism, what is computed again (one kind more or less, or half as many layers), micro-batches twice or half
  /// as large, a ZeRO stage more or less, chunks twice or half as many, a factor of 2 moved from one degree to another, an even cut, or what a program does behind
  /// its products.
  ///
  /// - Parameter isOver: asked before each change; ends the comparison with what is known.
  /// - Returns: the changes that have a plan, and whether all were priced.
  package func changes(isOver: () -> Bool = { false }, progress: (String) -> Void = { _ in }) -> (changes: [LaunchChange], isComplete: Bool) {
    var known: [(MegatronDegrees, Software)] = [(degrees, request.software)]
    var changes: [LaunchChange] = []
    for (changed, software) in neighbours {
      if isOver() { return (changes.sorted(by: Self.precedes), false) }
      guard let change = change(to: changed, software, progress: progress), change.degrees.devices == degrees.devices,
        !known.contains(where: { $0 == change.degrees && $1 == change.software })
      else { continue }
      known.append((change.degrees, change.software))
      changes.append(change)
    }
    return (changes.sorted(by: Self.precedes), true)
  }

  /// The launch with other degrees and kernels, in its own words; nil where those have none, where it would not start or is no plan, or where another job
  /// comes of it.
  package func change(to changed: MegatronDegrees, _ software: Software? = nil, progress: (String) -> Void = { _ in }) -> LaunchChange? {
    let software = software ?? request.software
    var wanted = format.completed(changed)
    // The cut is the program's where that is even, else it has to be said.
    if format == .megatron, wanted.stageLayers == nil, let layers = (try? fixing(wanted, software))?.stageLayers,
      layers.contains(where: { $0 != layers[0] })
    {
      wanted.stageLayers = layers
    }
    let edits = edits(to: wanted, software)
    guard !edits.edits.isEmpty, format.allows(wanted, request) else { return nil }
    progress(edits.text)
    guard let source = launch.source, !edits.edits.contains(where: \.isBeyond) else {
      guard wanted.devices == degrees.devices, let fixed = try? fixing(wanted, software), let planned = try? Planner.price(fixed) else { return nil }
      return LaunchChange(text: edits.text, isSayable: false, degrees: wanted, software: software, planned: planned)
    }
    guard let launch = try? source.edited(edits.edits, wanted.devices), let job = try? again(launch, devices: wanted.devices),
      job.isLegal(beside: self),
      job.request.batch == request.batch, let planned = try? Planner.price(job.fixing(job.degrees))
    else { return nil }
    return LaunchChange(text: edits.text, isSayable: true, degrees: job.degrees, software: job.request.software, planned: planned)
  }

  /// The launch as it is on more devices, where their number is not written in it: twice, four times … as many, the fewest on which it fits. Its batch is larger
  /// there where it is one of each replica.
  package func onMoreDevices(isOver: () -> Bool = { false }) -> LaunchChange? {
    guard launch.leavesDataOpen || launch.leavesTensorOpen else { return nil }
    for factor in [2, 4, 8, 16, 32] where !isOver() {
      guard let wider = try? again(launch, devices: degrees.devices * factor), wider.isLegal(beside: self), let planned = try? wider.planned()
      else { continue }
      let batch = wider.request.batch == request.batch ? "" : ", which makes the batch \(wider.request.batch)"
      let change = LaunchChange(
        text: "as it is" + batch, isSayable: true, degrees: wider.degrees, software: wider.request.software, planned: planned)
      if change.fits { return change }
    }
    return nil
  }

  /// Whether nothing is illegal that was not so in the launch before.
  private func isLegal(beside other: LaunchJob) -> Bool {
    func illegal(_ job: LaunchJob) -> [Finding] { (job.launch.findings + job.findings).filter { $0.severity == .illegal } }
    return Set(illegal(self)).isSubset(of: illegal(other))
  }

  /// What fits before what does not, and of that what takes less.
  private static func precedes(_ a: LaunchChange, _ b: LaunchChange) -> Bool {
    a.fits != b.fits
      ? a.fits : a.fits ? a.planned.prediction.step < b.planned.prediction.step : a.planned.prediction.memory < b.planned.prediction.memory
  }

  // MARK: - One step away

  private var neighbours: [(MegatronDegrees, Software)] {
    var found: [(MegatronDegrees, Software)] = []
    let degrees = stated
    func add(_ change: (inout MegatronDegrees) -> Void) {
      var changed = degrees
      change(&changed)
      found.append((changed, request.software))
    }
    add { $0.isSequenceParallel.toggle() }
    for recompute in recomputesNearby {
      add { ($0.recompute, $0.recomputedLayers) = (recompute.kind, recompute.layers) }
    }
    if let size = degrees.microBatchSize {
      add { $0.microBatchSize = size * 2 }
      if size % 2 == 0 { add { $0.microBatchSize = size / 2 } }
    }
    for stage in [degrees.zero.rawValue - 1, degrees.zero.rawValue + 1].compactMap(ZeROStage.init(rawValue:)) { add { $0.zero = stage } }
    if degrees.pipeline > 1 {
      add { $0.setChunks($0.chunks * 2) }
      if degrees.chunks % 2 == 0 { add { $0.setChunks($0.chunks / 2) } }
      add { $0.stageLayers = nil }
    }
    let parts: [WritableKeyPath<MegatronDegrees, Int>] = [\.tensor, \.pipeline, \.data, \.context]
    for from in parts where degrees[keyPath: from] % 2 == 0 {
      for to in parts where to != from { add { $0.move(from: from, to: to) } }
    }
    add { $0.expert *= 2 }
    if degrees.expert % 2 == 0 { add { $0.expert /= 2 } }
    for software in softwareNearby { found.append((degrees, software)) }
    return found
  }

  /// A kind more and a kind less, and of those that are of some layers more and fewer of them.
  private var recomputesNearby: [(kind: Recompute, layers: Int?)] {
    guard request.mode == .train else { return [] }
    let kinds: [Recompute] = [.none, .selective, .full]
    let place = kinds.firstIndex(of: degrees.recompute.keepingGathered) ?? 0
    var nearby: [(Recompute, Int?)] = kinds.indices.filter { abs($0 - place) == 1 }.map { (kinds[$0], nil) }
    let layers = (degrees.stageLayers?.max() ?? (try? degrees.fix(request))?.stageLayers?.max()) ?? 1
    if degrees.recompute == .full {
      let count = min(degrees.recomputedLayers ?? layers, layers)
      if count > 1 { nearby.append((.full, count / 2)) }
      if degrees.recomputedLayers != nil { nearby.append((.full, count * 2 < layers ? count * 2 : nil)) }
    } else if layers > 1 {
      nearby.append((.full, layers / 2))
    }
    return nearby
  }

  private var softwareNearby: [Software] {
    var nearby: [Software] = []
    func add(_ change: (inout Software) -> Void) {
      var software = request.software
      change(&software)
      if software != request.software { nearby.append(software) }
    }
    add { $0.overlap = .weights }
    add { $0.attention = .fused }
    add { $0.crossEntropy = .fused }
    return nearby
  }
}

extension MegatronDegrees {
  fileprivate mutating func setChunks(_ count: Int) {
    chunks = count
    schedule = count > 1 ? .interleaved : .oneForwardOneBackward
    stageLayers = nil
  }

  /// A factor of 2. Each replica has its micro-batches in the sizes that it had.
  fileprivate mutating func move(from: WritableKeyPath<MegatronDegrees, Int>, to: WritableKeyPath<MegatronDegrees, Int>) {
    self[keyPath: from] /= 2
    self[keyPath: to] *= 2
    if from == \.pipeline || to == \.pipeline { stageLayers = nil }
    if pipeline == 1 { setChunks(1) }
  }
}
