// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

/// Devices of several kinds: each stage is priced by its own devices, by the slowest of them where it has several kinds.
extension Space {
  /// Which kinds of devices stages have.
  struct StageKinds: Hashable {
    /// The different sets of kinds, each ascending, by the first stage that has it.
    var sets: [[Int]]
    /// For each stage the number of its set.
    var ofStage: [Int]
  }

  /// What so many stages of so many devices have.
  func kinds(stages: Int, size: Int) -> StageKinds {
    let cluster = request.cluster
    if cluster.isUniform { return StageKinds(sets: [[cluster.kindOfDevice[0]]], ofStage: [Int](repeating: 0, count: stages)) }
    var kinds = StageKinds(sets: [], ofStage: [])
    for stage in 0..<stages {
      let set = Set(cluster.kindOfDevice[stage * size..<(stage + 1) * size]).sorted()
      if !kinds.sets.contains(set) { kinds.sets.append(set) }
      kinds.ofStage.append(kinds.sets.firstIndex(of: set)!)
    }
    return kinds
  }

  func kinds(_ frame: Frame) -> StageKinds { kinds(stages: frame.stages, size: frame.size) }

  /// Whether all stages have the same kinds of devices.
  func isOfOneKind(stages: Int, size: Int) -> Bool { request.cluster.isUniform || kinds(stages: stages, size: size).sets.count == 1 }

  private func rates(_ kinds: [Int]) throws -> [DeviceRates] {
    try kinds.map { try DeviceRates(request.cluster.kinds[$0], request.precision) }
  }

  /// The rates of the slowest of some kinds, with the memory of the smallest.
  func slowestRates(of kinds: [Int]) throws -> DeviceRates {
    let rates = try rates(kinds)
    let slowest = rates.min { $0.peak < $1.peak }!
    return DeviceRates(
      peak: slowest.peak, efficiency: slowest.efficiency, memory: rates.map(\.memory).min()!, updates: rates.map(\.updates).min()!,
      launch: rates.map(\.launch).max()!,
      usable: rates.map(\.usable).min()!)
  }

  /// Rates that no device exceeds at anything, with the memory of the largest: for lower bounds.
  func fastestRates() throws -> DeviceRates {
    let rates = try rates(Set(request.cluster.kindOfDevice).sorted())
    if rates.count == 1 { return rates[0] }
    let peak = rates.map(\.peak).max()!
    func most(_ part: (KernelEfficiency) -> Double) -> Double { rates.map { $0.peak.value / peak.value * part($0.efficiency) }.max()! }
    return DeviceRates(
      peak: peak,
      efficiency: KernelEfficiency(
        gemm: most(\.gemm), gemmHalfDepth: rates.map(\.efficiency.gemmHalfDepth).min()!,
        gemmHalfRows: rates.map(\.efficiency.gemmHalfRows).min()!, gemmHalfColumns: rates.map(\.efficiency.gemmHalfColumns).min()!,
        gemmUnaligned: rates.map(\.efficiency.gemmUnaligned).max()!, fusesBias: rates.contains { $0.efficiency.fusesBias },
        attention: most(\.attention), attentionBackward: most(\.attentionBackward),
        attentionBlock: rates.map(\.efficiency.attentionBlock).min()!, exponentials: rates.map(\.efficiency.exponentials).max()!,
        memory: rates.map(\.efficiency.memory).max()!, dispatch: rates.map(\.efficiency.dispatch).min()!, source: nil),
      memory: rates.map(\.memory).max()!, updates: rates.map(\.updates).max()!, launch: rates.map(\.launch).min()!, usable: rates.map(\.usable).max()!
    )
  }

  /// For each stage, how much less memory than the largest device its devices have. Empty where all devices have as much, or memory is no limit.
  func reserved(_ frame: Frame) throws -> [Int64] {
    if request.cluster.isUniform || request.ignoresMemoryLimit { return [] }
    if !frame.shares.isEmpty { return [try reservedOfShares(frame)[0]] }
    let kinds = kinds(frame)
    let most = try fastestRates().usable.wholeWithin
    let lacking = try kinds.sets.map { most - (try slowestRates(of: $0).usable.wholeWithin) }
    return kinds.ofStage.map { lacking[$0] }
  }

  /// The prices of every kind of stage.
  func pricings(_ frame: Frame, on placed: Placed, model: Pricing.Model? = nil) throws -> [Pricing] {
    let model = model ?? self.model(frame)
    if !frame.shares.isEmpty { return [try unevenPricing(frame, on: placed, model: model)] }
    return try placed.kinds.sets.indices.map { kind in
      Pricing(
        model: model, mesh: frame.mesh, rates: try slowestRates(of: placed.kinds.sets[kind]), job: request.job(microBatches: frame.microBatches),
        placements: placed.placementsOfKinds[kind], tick: tick, isZigzag: request.isZigzag)
    }
  }

  /// The cuts of a frame for a schedule. Where stages are of several kinds, the inner stages of each kind are as even as they can be among
  /// themselves.
  func cuts(_ frame: Frame, _ schedule: Schedule) -> [[Int]] {
    let kinds = kinds(frame)
    if kinds.sets.count == 1 { return cuts(stages: frame.stages, chunks: schedule.chunks) }
    return cuts(kindOfStage: kinds.ofStage, schedule)
  }

  /// The cuts of a frame whose stages have several meshes: any number of layers on the first and the last stage, and the inner stages of each mesh as
  /// even as they can be among themselves.
  func cuts(runs frame: Frame) -> [[Int]] { cuts(kindOfStage: runOfStage(frame), .oneForwardOneBackward) }

  private func cuts(kindOfStage: [Int], _ schedule: Schedule) -> [[Int]] {
    let stages = kindOfStage.count
    if request.stageLayers != nil || stages < 3 { return cuts(stages: stages, chunks: schedule.chunks) }
    // Runs of inner stages of one kind.
    var runs: [Int] = []
    for stage in 1..<stages - 1 {
      if stage > 1, kindOfStage[stage] == kindOfStage[stage - 1] { runs[runs.count - 1] += 1 } else { runs.append(1) }
    }
    var cuts: [[Int]] = []
    func add(_ cut: [Int], _ runs: ArraySlice<Int>, _ rest: Int) {
      guard let stages = runs.first else {
        if rest > 0 { cuts.append(cut + [rest]) }
        return
      }
      // What comes after has at least a layer for each stage.
      let after = runs.dropFirst().reduce(1, +)
      guard rest - after >= stages else { return }
      for layers in stages...rest - after {
        let (low, extra) = (layers / stages, layers % stages)
        let counts = [Int](repeating: low + 1, count: extra) + [Int](repeating: low, count: stages - extra)
        add(cut + counts, runs.dropFirst(), rest - layers)
        if extra > 0 { add(cut + counts.reversed(), runs.dropFirst(), rest - layers) }
      }
    }
    for first in 1..<max(1, layerCount) { add([first], runs[...], layerCount - first) }
    return cuts
  }
}
