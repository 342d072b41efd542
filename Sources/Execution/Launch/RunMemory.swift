// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Lowering
import ModelGraph
import Plans

/// What the ranks that a run starts on this machine need of its memory, before any of them is started.
package struct RunMemory {
  package var decision: Decision
  package var hyperparameters: Hyperparameters
  /// Whether the model's outputs are collected from the first step.
  package var collectsOutputs: Bool
  /// The same model on one rank, which rank 0 runs beside its own part to compare with.
  package var verification: Decision?
  /// Of a generation, the positions whose keys and values are kept; 0 keeps none.
  package var cachedPositions = 0

  package init(
    decision: Decision, hyperparameters: Hyperparameters, collectsOutputs: Bool, verification: Decision?
  ) {
    self.decision = decision.asExecuted
    self.hyperparameters = hyperparameters
    self.collectsOutputs = collectsOutputs
    self.verification = verification?.asExecuted
  }

  /// Refuses a run whose ranks on this machine need more memory than it has left.
  ///
  /// With a host file only the ranks that it places here are counted; under a batch system, which places them itself, none are.
  /// - Throws: `notEnoughMemory`; what reading the host file throws.
  package func check(hostfile path: String?) throws(ExecutionError) {
    let environment = ProcessInfo.processInfo.environment
    let hostfile: Hostfile? = if let path { try Hostfile(path: path) } else { nil }
    if hostfile == nil && MPIRunCommand.isUnderBatchSystem(environment) { return }
    try check(
      ranks: hostfile?.ranks(ofAll: decision.ranks, onHostNamed: LocalHost.names, cores: LocalHost.usableCores()) ?? 0..<decision.ranks,
      memory: .current())
  }

  func check(ranks: Range<Int>, memory: HostMemory) throws(ExecutionError) {
    guard let available = memory.availableBytes else { return }
    let needed = bytes(ofRanks: ranks)
    if needed.ranks + needed.verification > available {
      throw .notEnoughMemory(
        ranks: ranks.count, bytes: needed.ranks, verificationBytes: needed.verification, available: available,
        dtype: decision.job.precision.rawValue)
    }
  }

  /// The bytes of these ranks' parts, and those of the comparison on rank 0. The ranks of a stage have equal programs, uneven shards apart, so
  /// one of them is walked; where the batch is shared out unevenly, one of each share.
  package func bytes(ofRanks ranks: Range<Int>) -> (ranks: Int, verification: Int) {
    var total = 0
    for stage in 0..<decision.groups {
      let here = ranks.clamped(to: decision.ranks(ofGroup: stage))
      for alike in decision.ranksAlike(here) {
        guard let rank = alike.first else { continue }
        let (bytes, overflow) = peakBytes(of: decision, rank: rank).multipliedReportingOverflow(by: alike.count)
        total = overflow ? .max : total.addingReportingOverflow(bytes).overflow ? .max : total + bytes
      }
    }
    guard let verification, ranks.contains(0) else { return (total, 0) }
    return (total, MemoryPlan.peakBytes(of: Lowering.program(for: verification, rank: 0), hyperparameters, retainsGradients: true) { _ in true })
  }

  /// For each rank what its pool of blocks has taken from the system by the end of the run: what is resident of it.
  package func ownedBytes() -> [Int] {
    var bytes = [Int](repeating: 0, count: decision.ranks)
    for group in 0..<decision.groups {
      for alike in decision.ranksAlike(decision.ranks(ofGroup: group)) {
        guard let first = alike.first else { continue }
        let owned = MemoryPlan.ownedBytes(
          of: Lowering.program(for: decision, rank: first), hyperparameters, retainsGradients: verification != nil, retains: retains)
        for rank in alike { bytes[rank] = owned }
      }
    }
    return bytes
  }

  private func peakBytes(of decision: Decision, rank: Int) -> Int {
    let program = Lowering.program(for: decision, rank: rank)
    return MemoryPlan.peakBytes(of: program, hyperparameters, retainsGradients: verification != nil, retains: retains) + cacheBytes(of: program)
  }

  private func cacheBytes(of program: Program) -> Int {
    if cachedPositions == 0 { return 0 }
    return program.instructions.reduce(0) { total, instruction in
      guard case .kernel(let call) = instruction, case .attention = program.graph.operators[call.op].kind else { return total }
      let key = program.buffers[call.operands[1]]
      return total + 2 * key.count / max(1, key.region[1].count) * cachedPositions * MemoryLayout<Float>.stride
    }
  }

  /// Whether a forward result outlives the first step.
  private func retains(_ call: KernelCall) -> Bool {
    if verification != nil { return true }
    return collectsOutputs
      && decision.graph.outputs.contains { decision.graph.site(producing: $0.tensor) == OperatorSite(op: call.op, copy: call.copy) }
  }
}
