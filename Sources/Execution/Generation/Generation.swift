// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans

/// Prompts that a model goes on with, and how far.
package struct GenerationRequest {
  package var decision: Decision
  package var parameters: ParameterValues
  /// At least one, each of at least one token.
  package var prompts: [[Int32]]
  /// Tokens after each prompt, at most.
  package var newTokens: Int
  /// A token after which a sequence is complete.
  package var stop: Int32?
  /// Whether rank 0 computes the logits once more, on one rank and without a cache.
  package var verifies = false

  package init(_ decision: Decision, parameters: ParameterValues, prompts: [[Int32]], newTokens: Int) {
    self.decision = decision
    self.parameters = parameters
    self.prompts = prompts
    self.newTokens = newTokens
  }

  /// Positions that are computed: the last token of the longest sequence is not read again.
  var positions: Int { (prompts.map(\.count).max() ?? 0) + newTokens - 1 }
  /// Positions that are computed at once, in the first step: those that all prompts have.
  var firstPositions: Int { prompts.map(\.count).min() ?? 1 }

  /// - Throws: `cannotGenerate`; `unusableInput` for a token that the model does not have.
  package func check() throws(ExecutionError) {
    let graph = decision.graph
    if let obstacle = graph.generationObstacle { throw .cannotGenerate(model: graph.name, problem: obstacle) }
    if let most = graph.mostPositions, positions > most {
      throw .cannotGenerate(
        model: graph.name, problem: "it has \(most) positions, and the longest prompt with \(newTokens) new tokens takes \(positions)")
    }
    let vocabulary = StepInputs.vocabulary(of: graph)
    for (number, prompt) in prompts.enumerated() {
      guard let wrong = prompt.first(where: { !(0..<vocabulary).contains(Int($0)) }) else { continue }
      throw .unusableInput(file: "prompt \(number)", input: "input_ids", problem: "has the value \(wrong); expected 0 to \(vocabulary - 1)")
    }
  }
}

extension GenerationRequest {
  /// What the ranks need: of the first step, which has the most positions, and for the keys and values of all of them.
  package func memory() -> RunMemory {
    let first = decision.generating(batch: prompts.count, sequence: firstPositions)
    var memory = RunMemory(
      decision: first, hyperparameters: Hyperparameters(optimizer: first.job.optimizer), collectsOutputs: true,
      verification: verifies ? decision.generating(batch: prompts.count, sequence: positions).onOneRank() : nil)
    memory.cachedPositions = positions
    return memory
  }
}

/// What was generated; the same on every rank but for `verification`, which rank 0 has.
package struct GenerationReport: Sendable {
  /// For each prompt its tokens and those that follow.
  package internal(set) var sequences: [[Int32]] = []
  /// Tokens that were generated.
  package internal(set) var newTokens = 0
  /// The first step, over the positions that all prompts have; the longest time of a rank.
  package internal(set) var firstSeconds = 0.0
  /// Positions of each prompt in the first step.
  package internal(set) var firstPositions = 0
  /// Each later step, of one position.
  package internal(set) var stepSeconds: [Double] = []
  /// For each rank its part of keys and values, and the most that buffers and parameters have taken.
  package internal(set) var cacheBytes: [Int] = []
  package internal(set) var peakBufferBytes: [Int] = []
  package internal(set) var verification: GenerationVerification?
}

/// How far the logits by which tokens were chosen lie from those of one rank that reads the whole sequences at once.
package struct GenerationVerification: Sendable, Equatable {
  /// Positions whose logits were compared.
  package let comparedPositions: Int
  package let maximumRelativeError: Double
  package let tolerance: Double
  package var holds: Bool { maximumRelativeError <= tolerance }
}

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
      let logits = try TensorGathering(decision: executor.decision, executor: executor, world: world).lastLogits()
      let next = try world.shareTokens(logits.map { $0.likeliest() } ?? [])
      for (sample, token) in next.enumerated() where report.sequences[sample].count == cache.filled && !isComplete(sample, report.sequences) {
        report.sequences[sample].append(token)
        report.newTokens += 1
        if request.verifies, let logits { chosen.append(ChosenLogits(sample: sample, position: cache.filled - 1, logits: logits.row(sample))) }
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
      let expected = try TensorGathering(decision: decision, executor: executor, world: alone).result(of: site)
    else { return nil }
    var worst = 0.0
    let vocabulary = expected.shape[2]
    for row in chosen {
      let start = (row.sample * request.positions + row.position) * vocabulary
      let values = expected.values[start..<start + vocabulary]
      let largest = values.reduce(Float(0)) { max($0, abs($1)) }
      let difference = zip(row.logits, values).reduce(Float(0)) { $1.0 == $1.1 ? $0 : max($0, abs($1.0 - $1.1)) }
      let error = largest > 0 ? Double(difference / largest) : Double(difference)
      worst = error.isNaN ? .infinity : max(worst, error)
    }
    return GenerationVerification(comparedPositions: chosen.count, maximumRelativeError: worst, tolerance: Tolerance(decision).forward)
  }
}

/// The tokens that a generation's next step reads: some positions of every sequence, 0 where a sequence has ended.
final class CurrentTokens {
  private let samples: Int
  private var positions = 0..<0
  private var sequences: [[Int32]] = []

  init(samples: Int) { self.samples = samples }

  func set(_ sequences: [[Int32]], positions: Range<Int>) {
    precondition(sequences.count == samples, "\(sequences.count) sequences for \(samples) samples")
    (self.sequences, self.positions) = (sequences, positions)
  }

  /// - Parameter region: samples, and positions from the first that the step reads.
  func copy(_ region: Region, into values: UnsafeMutablePointer<Int32>) {
    var next = values
    for sample in region[0] {
      let sequence = sequences[sample]
      for position in region[1] {
        let place = positions.lowerBound + position
        next.pointee = place < sequence.count ? sequence[place] : 0
        next += 1
      }
    }
  }
}

/// The logits of each sample's last position, whole.
struct LastLogits {
  let samples: Int
  let vocabulary: Int
  fileprivate(set) var values: [Float]

  func row(_ sample: Int) -> [Float] { Array(values[sample * vocabulary..<(sample + 1) * vocabulary]) }

  /// Each sample's token of the largest logit, the first where several are equal.
  func likeliest() -> [Int32] {
    (0..<samples).map { sample in
      var best = sample * vocabulary
      for index in best..<(sample + 1) * vocabulary where values[index] > values[best] { best = index }
      return Int32(best - sample * vocabulary)
    }
  }
}

extension TensorGathering {
  /// Brings the logits of the last position of every sample together on rank 0; nil on the others. Collective.
  func lastLogits() throws(ExecutionError) -> LastLogits? {
    let graph = decision.graph
    guard let tensor = graph.nextTokenLogits, let site = graph.site(producing: tensor) else { preconditionFailure("a model without logits") }
    let shape = graph.shape(tensor)
    var whole = LastLogits(samples: shape[0], vocabulary: shape[2], values: [])
    if world.rank == 0 { whole.values = [Float](repeating: 0, count: shape[0] * shape[2]) }
    for part in parts(of: site) {
      let (region, last) = (part.region, [part.region[0], part.region[1].upperBound - 1..<part.region[1].upperBound, part.region[2]])
      let transfer = RegionTransfer(last, from: region, to: last)
      var values = [Float](repeating: 0, count: last.elementCount)
      if part.rank == world.rank, let own = own(site) {
        values.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { transfer.copy(own, into: base) } }
      }
      if part.rank != 0 {
        if part.rank == world.rank { try world.send(values, count: values.count, to: 0, tag: Self.tag).wait() }
        if world.rank == 0 { try world.receive(&values, count: values.count, from: part.rank, tag: Self.tag).wait() }
      }
      guard world.rank == 0 else { continue }
      // Parts of partial sums lie over one another.
      for (row, sample) in last[0].enumerated() {
        for (column, token) in last[2].enumerated() { whole.values[sample * shape[2] + token] += values[row * last[2].count + column] }
      }
    }
    return world.rank == 0 ? whole : nil
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
