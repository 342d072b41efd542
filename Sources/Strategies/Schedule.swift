// SPDX-License-Identifier: GPL-3.0-or-later

/// The order in which the stages of a pipeline carry out their micro-batches.
///
/// A stage is a group of devices. Under the interleaved schedule it holds several chunks of the model: chunk c of stage s of p is the c·p + s-th
/// of p·v *virtual stages*, each of which holds consecutive layers. Under the others every stage is its own only virtual stage.
package enum Schedule: Hashable, Sendable {
  /// All forward passes, then all backward passes.
  case gpipe
  /// One forward, one backward, after as many forward passes as there are stages behind (PipeDream-flush).
  case oneForwardOneBackward
  /// 1F1B over passes of chunks, of which each stage holds several (Narayanan et al. 2021, §2.2). It needs a number of micro-batches that the
  /// number of stages divides.
  case interleaved(chunks: Int)

  /// A schedule by name, whatever its number of chunks.
  package enum Kind: String, Hashable, Sendable, CaseIterable {
    case gpipe
    case oneForwardOneBackward = "1f1b"
    case interleaved
  }

  package var kind: Kind {
    switch self {
    case .gpipe: .gpipe
    case .oneForwardOneBackward: .oneForwardOneBackward
    case .interleaved: .interleaved
    }
  }

  /// How many chunks of the model each stage holds.
  package var chunks: Int { if case .interleaved(let chunks) = self { chunks } else { 1 } }

  /// Whether a pipeline of so many stages can carry out so many micro-batches in this order.
  package func isPossible(stages: Int, microBatches: Int) -> Bool { kind != .interleaved || stages > 1 && microBatches % stages == 0 }
}

/// One pass of one micro-batch through one of a stage's chunks.
package struct Pass: Hashable, Sendable {
  package let isForward: Bool
  package let microBatch: Int
  package let chunk: Int

  package init(isForward: Bool, microBatch: Int, chunk: Int) {
    (self.isForward, self.microBatch, self.chunk) = (isForward, microBatch, chunk)
  }

  package static func forward(_ microBatch: Int, chunk: Int = 0) -> Pass { Pass(isForward: true, microBatch: microBatch, chunk: chunk) }
  package static func backward(_ microBatch: Int, chunk: Int = 0) -> Pass { Pass(isForward: false, microBatch: microBatch, chunk: chunk) }
}

extension Schedule {
  /// The order in which stage `stage` of `stages` carries out its passes.
  ///
  /// 1F1B (Narayanan et al. 2021, PipeDream-flush): min(m, stages − stage − 1) warm-up forward passes, then one forward and one backward in
  /// turn, then the backward passes that are left. Interleaved it is the same over passes of chunks, with more of them to warm up; as in
  /// Megatron-LM, `stages` micro-batches go through one chunk, then through the next, and backward through the last chunk first.
  package func passes(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> [Pass] {
    if mode == .forward, microBatches % stages != 0 {
      // No round of micro-batches is full: all of them go through one chunk, then through the next.
      return (0..<chunks).flatMap { chunk in (0..<microBatches).map { .forward($0, chunk: chunk) } }
    }
    let all = 0..<microBatches * chunks
    let round = stages * chunks
    func forward(_ index: Int) -> Pass {
      if chunks == 1 { return .forward(index) }
      return .forward(index / round * stages + index % stages, chunk: index % round / stages)
    }
    func backward(_ index: Int) -> Pass {
      if chunks == 1 { return .backward(index) }
      return .backward(index / round * stages + index % stages, chunk: chunks - 1 - index % round / stages)
    }
    if mode == .forward { return all.map(forward) }
    if self == .gpipe { return all.map(forward) + all.map(backward) }
    let warmUp = warmUp(stage: stage, stages: stages, microBatches: microBatches)
    var order = (0..<warmUp).map(forward)
    for index in warmUp..<all.count { order += [forward(index), backward(index - warmUp)] }
    return order + (all.count - warmUp..<all.count).map(backward)
  }

  /// The forward passes before forward and backward passes take turns.
  private func warmUp(stage: Int, stages: Int, microBatches: Int) -> Int {
    switch self {
    case .gpipe: microBatches
    case .oneForwardOneBackward: min(microBatches, stages - stage - 1)
    case .interleaved(let chunks): min(microBatches * chunks, 2 * (stages - stage - 1) + (chunks - 1) * stages)
    }
  }

  private func countBeforeBackward(stage: Int, stages: Int, microBatches: Int) -> Int {
    min(microBatches * chunks, warmUp(stage: stage, stages: stages, microBatches: microBatches) + 1)
  }

  /// How many forward passes of each chunk a stage does before its first backward pass.
  package func passesBeforeBackward(stage: Int, stages: Int, microBatches: Int) -> [Int] {
    let count = countBeforeBackward(stage: stage, stages: stages, microBatches: microBatches)
    return (0..<chunks).map { passes(ofChunk: $0, amongst: count, stages: stages) }
  }

  /// The same for each chunk of a stage, without an array: for bounds of thousands of cuts.
  package func forEachChunkBeforeBackward(stage: Int, stages: Int, microBatches: Int, _ body: (_ chunk: Int, _ passes: Int) -> Void) {
    let count = countBeforeBackward(stage: stage, stages: stages, microBatches: microBatches)
    for chunk in 0..<chunks { body(chunk, passes(ofChunk: chunk, amongst: count, stages: stages)) }
  }

  /// Of a stage's first so many forward passes, those of one chunk.
  private func passes(ofChunk chunk: Int, amongst count: Int, stages: Int) -> Int {
    if chunks == 1 { return count }
    return count / (stages * chunks) * stages + min(stages, max(0, count % (stages * chunks) - chunk * stages))
  }

  /// How many forward passes a chain of passes spares that comes back to a stage with the first backward pass, where each stage holds one chunk:
  /// those that the schedule lets the stage do before it, the chain's own included. A GPipe chain goes through all of them, and a forward run has
  /// no way back.
  package func sparedPasses(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> Int {
    switch self {
    case .gpipe: 1
    case .oneForwardOneBackward: mode == .forward ? 1 : countBeforeBackward(stage: stage, stages: stages, microBatches: microBatches)
    case .interleaved:
      mode == .forward
        ? 1 : passes(ofChunk: 0, amongst: countBeforeBackward(stage: stage, stages: stages, microBatches: microBatches), stages: stages)
    }
  }

  /// For each chunk, of how many micro-batches a stage holds the activations at once, at each time at which it may hold most: at all other times
  /// it holds no more of any chunk than at one of these.
  ///
  /// While it warms up a stage holds more and more, and at the end less and less. Between, it holds most after each forward pass, which a
  /// backward pass follows. With one chunk that is min(m, p − s) under 1F1B, and m under GPipe. With v chunks it is always
  /// min(m·v, 2(p−s−1) + (v−1)·p + 1) passes, of chunks that change; after p·v more passes of each kind every chunk has had p more of both, so that
  /// p·v times are all.
  package func fullest(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> [[Int]] {
    if mode == .forward { return (0..<chunks).map { chunk in (0..<chunks).map { $0 == chunk ? 1 : 0 } } }
    var held = full(stage: stage, stages: stages, microBatches: microBatches, mode: mode)
    if chunks == 1 { return [held] }
    let warmUp = warmUp(stage: stage, stages: stages, microBatches: microBatches)
    var known = [held]
    let round = stages * chunks
    for index in warmUp + 1..<max(warmUp + 1, min(microBatches * chunks, warmUp + round)) {
      held[index % round / stages] += 1
      held[chunks - 1 - (index - 1 - warmUp) % round / stages] -= 1
      if !known.contains(held) { known.append(held) }
    }
    return known
  }

  /// The first of these times.
  package func full(stage: Int, stages: Int, microBatches: Int, mode: Mode) -> [Int] {
    mode == .forward
      ? (0..<chunks).map { $0 == 0 ? 1 : 0 } : passesBeforeBackward(stage: stage, stages: stages, microBatches: microBatches)
  }
}
