// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Plans
import Quantities
import Search
import Strategies

/// Plans that people choose without a search, each with the best of its micro-batches.
package struct KnownPlan: Sendable {
  package enum Rule: String, CaseIterable, Sendable {
    /// A copy of the model on every device.
    case data = "data parallel"
    /// The same with weights, gradients and optimizer state shared out.
    case fsdp = "FSDP (ZeRO 3)"
    /// Every layer over all devices.
    case tensor = "tensor parallel"
    /// A stage on every device.
    case pipeline = "pipeline"
    /// Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM", takeaways 1 to 3: tensor parallelism up to the devices of a node, then
    /// stages until the model fits, data parallelism over what is left; with a sequence-parallel part, a distributed optimizer, and the recomputation with which that is fastest.
    case megatron = "Megatron's rule"
  }

  package let rule: Rule
  /// Nil where the rule cannot be followed, or nothing that it gives fits.
  package let planned: PlanOutcome.Planned?
  package let degrees: MegatronDegrees?
  /// Where there is no plan, why.
  package let obstacle: String?

  /// - Throws: what pricing throws but that a configuration cannot be.
  package init(_ rule: Rule, for request: SearchRequest) throws {
    self.rule = rule
    var best: (planned: PlanOutcome.Planned, degrees: MegatronDegrees)?
    var (reason, least): (String?, Bytes?) = (nil, nil)
    for groups in Self.candidates(rule, request) {
      for group in groups {
        var fits = false
        for degrees in group {
          do {
            guard let planned = try Self.price(degrees, request) else { continue }
            let (memory, limit) = (planned.prediction.memory, planned.prediction.memoryLimit)
            if memory > limit {
              if memory < least ?? Bytes(.infinity) {
                least = memory
                reason = "does not fit: \(memory) of \(limit)"
              }
              // Nor do larger micro-batches.
              break
            }
            fits = true
            if planned.prediction.step < best?.planned.prediction.step ?? Seconds(.infinity) { best = (planned, degrees) }
          } catch PlannerError.usage(let text) {
            reason = reason ?? text
          }
        }
        // The first group of which something fits is what the rule says.
        if fits { break }
      }
    }
    (planned, degrees) = (best?.planned, best?.degrees)
    obstacle = best == nil ? reason ?? "it has no configuration on \(counted(request.cluster.deviceCount, "device"))" : nil
  }

  private static func price(_ degrees: MegatronDegrees, _ request: SearchRequest) throws -> PlanOutcome.Planned? {
    var request = request
    request.ignoresMemoryLimit = true
    guard case .planned(let planned) = try Planner.search(degrees.fix(request)) else { return nil }
    return planned
  }

  /// Alternatives, of each of them groups of configurations, the one to be preferred first; in a group are those that differ in their micro-batches.
  private static func candidates(_ rule: Rule, _ request: SearchRequest) -> [[[MegatronDegrees]]] {
    let devices = request.cluster.deviceCount
    var degrees = MegatronDegrees()
    switch rule {
    case .data: degrees.data = devices
    case .fsdp: (degrees.data, degrees.zero) = (devices, .weights)
    case .tensor: degrees.tensor = devices
    case .pipeline: degrees.pipeline = devices
    case .megatron: return megatron(request)
    }
    return [[microBatches(degrees, request)]]
  }

  private static func megatron(_ request: SearchRequest) -> [[[MegatronDegrees]]] {
    let devices = request.cluster.deviceCount
    let node = (0..<devices).prefix { request.cluster.nodeOfDevice[$0] == 0 }.count
    let powers = { (most: Int) in (0..<63).map { 1 << $0 }.prefix { $0 <= most } }
    var parts: [(tensor: Int, pipeline: Int)] = powers(node).map { ($0, 1) }
    if let widest = parts.last?.tensor { parts += powers(devices).dropFirst().map { (widest, $0) } }
    parts = parts.filter { devices % ($0.tensor * $0.pipeline) == 0 }
    // With sequence parallelism Megatron-LM gathers again for backward what it gathered (Korthikanti et al. 2022, §4.2.2).
    let recomputes: [(plain: Recompute, gathering: Recompute)] =
      request.mode == .train ? [(.none, .gathered), (.selective, .selectiveGathered), (.full, .full)] : [(.none, .none)]
    return recomputes.map { recompute in
      parts.map { tensor, pipeline in
        var degrees = MegatronDegrees()
        (degrees.tensor, degrees.pipeline, degrees.data) = (tensor, pipeline, devices / (tensor * pipeline))
        (degrees.isSequenceParallel, degrees.recompute) = (tensor > 1, tensor > 1 ? recompute.gathering : recompute.plain)
        degrees.zero = request.mode == .train && degrees.data > 1 ? .optimizer : .none
        return microBatches(degrees, request)
      }
    }
  }

  /// With micro-batches of 1, 2, 4, … sequences, which take more and more memory.
  private static func microBatches(_ degrees: MegatronDegrees, _ request: SearchRequest) -> [MegatronDegrees] {
    if request.graph.couplesBatch { return [degrees] }
    let most = request.batch / degrees.data
    return (0..<63).map { 1 << $0 }.prefix { $0 <= most }.filter { most % $0 == 0 }.map { size in
      var degrees = degrees
      degrees.microBatchSize = size
      return degrees
    }
  }
}
