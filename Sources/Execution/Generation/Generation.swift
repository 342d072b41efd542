// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans

/// One rank's side of a generation: a step over the prompts, then one for each position, the most likely token being the next.
package struct Generation {
  private let request: GenerationRequest
  private let world: Communicator
  private let cache: KeyValueCache
  private let prompts: Executor
  private let positions: Executor
  private let current: CurrentTokens

  /// Collective over `world`, which has one rank for each of the plan's.
  /// - Throws: as `GenerationRequest.check` and `Executor.init`.
  package init(_ request: GenerationRequest, world: Communicator) throws(ExecutionError) {
    try request.check()
    self.request = request
    self.world = world
    let cache = KeyValueCache(capacity: request.positions)
    let current = CurrentTokens(samples: request.prompts.count)
    (self.cache, self.current) = (cache, current)
    let hyperparameters = Hyperparameters(optimizer: request.decision.job.optimizer)
    func executor(positions: Int, weightsOf other: Executor?) throws(ExecutionError) -> Executor {
      let decision = request.decision.generating(batch: request.prompts.count, sequence: positions).asExecuted
      return try Executor(
        decision, world: world, hyperparameters: hyperparameters, parameters: request.parameters,
        inputs: StepInputs(graph: decision.graph, batch: request.prompts.count, current: current), generation: (cache, other))
    }
    prompts = try executor(positions: request.firstPositions, weightsOf: nil)
    positions = try executor(positions: 1, weightsOf: prompts)
  }

  /// Carries it out. Collective.
  package func carryOut() throws(ExecutionError) -> GenerationReport {
    var report = GenerationReport()
    report.sequences = request.prompts
    report.firstPositions = request.firstPositions
    var chosen: [ChosenLogits] = []
    var seconds: [Double] = []
    while cache.filled < request.positions && report.sequences.indices.contains(where: { !isComplete($0, report.sequences) }) {
      let executor = cache.filled == 0 ? prompts : positions
      let count = cache.filled == 0 ? request.firstPositions : 1
      current.set(report.sequences, positions: cache.filled..<cache.filled + count)
      try world.barrier()
      let start = MonotonicClock.now
      _ = try executor.step(retaining: .outputs)
      cache.advance(by: count)
      let logits = try TensorGathering(executor: executor).lastLogits()
      let next = try world.shareTokens(logits.map { $0.likeliest() } ?? [])
      for (sample, token) in next.enumerated() where report.sequences[sample].count == cache.filled && !isComplete(sample, report.sequences) {
        report.sequences[sample].append(token)
        report.newTokens += 1
        if request.verifies, let logits { chosen.append(ChosenLogits(sample: sample, position: cache.filled - 1, logits: Array(logits.row(sample)))) }
      }
      seconds.append(MonotonicClock.now - start)
    }
    let numbers = try world.shareNumbers(seconds + [Double(cache.bytes), Double(prompts.peakBytes + positions.peakBytes)])
    let slowest = seconds.indices.map { step in numbers.map { $0[step] }.max() ?? 0 }
    report.firstSeconds = slowest.first ?? 0
    report.stepSeconds = Array(slowest.dropFirst())
    report.cacheBytes = numbers.map { Int($0[seconds.count]) }
    report.peakBufferBytes = numbers.map { Int($0[seconds.count + 1]) }
    if request.verifies { report.verification = try verify(chosen, report.sequences) }
    return report
  }

  private func isComplete(_ sample: Int, _ sequences: [[Int32]]) -> Bool {
    let (prompt, sequence) = (request.prompts[sample], sequences[sample])
    return sequence.count == prompt.count + request.newTokens || (sequence.count > prompt.count && sequence.last == request.stop)
  }

  private struct ChosenLogits {
    let sample: Int
    let position: Int
    let logits: [Float]
  }

  /// Every rank takes part in the split; rank 0 compares.
  private func verify(_ chosen: [ChosenLogits], _ sequences: [[Int32]]) throws(ExecutionError) -> GenerationVerification? {
    let alone = try world.split(color: world.rank, key: 0)
    guard world.rank == 0 else { return nil }
    let decision = request.decision.generating(batch: sequences.count, sequence: request.positions).onOneRank().asExecuted
    let whole = CurrentTokens(samples: sequences.count)
    whole.set(sequences, positions: 0..<request.positions)
    let executor = try Executor(
      decision, world: alone, hyperparameters: Hyperparameters(optimizer: decision.job.optimizer), parameters: request.parameters,
      inputs: StepInputs(graph: decision.graph, batch: sequences.count, current: whole))
    _ = try executor.step(retaining: .outputs)
    guard let tensor = decision.graph.nextTokenLogits, let site = decision.graph.site(producing: tensor),
      let expected = try TensorGathering(executor: executor).result(of: site)
    else { return nil }
    let vocabulary = expected.shape[2]
    let errors = chosen.map { row in
      let start = (row.sample * request.positions + row.position) * vocabulary
      return RelativeError.worst(row.logits, expected.values[start..<start + vocabulary]).error
    }
    // NaN is larger than any tolerance.
    let worst = errors.contains(where: \.isNaN) ? .nan : errors.max() ?? 0
    return GenerationVerification(comparedPositions: chosen.count, maximumRelativeError: worst, tolerance: Tolerance(decision).forward)
  }
}

extension GatheredTensor {
  /// A row of a matrix.
  func row(_ index: Int) -> ArraySlice<Float> { values[index * shape[1]..<(index + 1) * shape[1]] }

  /// Of each row of logits the token of the largest, the first where several are equal.
  func likeliest() -> [Int32] {
    (0..<shape[0]).map { row($0).likeliestToken }
  }
}

extension ArraySlice<Float> {
  var likeliestToken: Int32 {
    var best = startIndex
    for place in indices where self[place] > self[best] { best = place }
    return Int32(best - startIndex)
  }
}

extension Communicator {
  /// Rank 0's tokens, on every rank.
  fileprivate func shareTokens(_ tokens: [Int32]) throws(ExecutionError) -> [Int32] {
    let bytes = try broadcast(tokens.withUnsafeBytes(Array.init))
    return bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / MemoryLayout<Int32>.stride).map { bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Int32>.stride, as: Int32.self) }
    }
  }
}
