// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph
import Quantities

/// The inputs of a step: the global batch, of which each rank loads its own parts. Every step takes the same batch, unless they are tokens of a file.
package struct StepInputs {
  private enum Source {
    /// Made from a seed, so that every rank makes its part alone.
    case generated(ValueGenerator)
    case given(InputFile)
    /// The sequences of a file from number `firstSequence` on, as many in each step as the batch has samples.
    case tokens(TokenFile, firstSequence: Int)
    /// Those of a generation's next step; nothing has a label.
    case current(CurrentTokens)
  }

  private let graph: Graph
  private let source: Source
  /// Samples in the global batch.
  package let batch: Int
  /// Positions in one sequence of tokens; 1 where the model has none.
  private let sequence: Int
  /// Entries of the vocabulary that tokens are drawn from, and the classes that a label names.
  private let vocabulary: Int
  private let classes: Int
  /// Labels of the global batch that take part in the loss; samples, where the loss pairs them with one another.
  package let countedLabels: Int

  /// Tokens, labels and pixels by the rules of `ValueGenerator`: every position is a token, labels are the tokens that follow.
  package init(graph: Graph, batch: Int, seed: UInt64) {
    self.init(graph: graph, batch: batch, source: .generated(ValueGenerator(seed: seed)))
  }

  /// Arrays of a JSON or safetensors file, checked against the model. An attention mask that is missing is all 1, token types all 0, and
  /// without labels there is no loss.
  ///
  /// - Parameter needsLabels: whether missing labels are an error (training).
  /// - Throws: `unusableInput`, `cannotRead`, `malformedWeights`.
  package init(graph: Graph, batch: Int, file: String, needsLabels: Bool) throws(ExecutionError) {
    let arrays = try InputFile(path: file)
    self.init(graph: graph, batch: batch, source: .given(arrays))
    for tensor in graph.tensors {
      guard case .input(let kind) = tensor.kind else { continue }
      guard let array = arrays[kind] else {
        if kind == .inputIDs || kind == .pixelValues || (kind == .labels && needsLabels) {
          throw .unusableInput(file: file, input: kind.rawValue, problem: "is missing, and the model needs it")
        }
        continue
      }
      let shape = globalShape(tensor)
      guard array.shape == shape else {
        throw .unusableInput(file: file, input: kind.rawValue, problem: "has shape \(array.shape); the run needs \(shape)")
      }
      if let bound = bound(of: kind), let wrong = array.firstOutside(0..<Int32(clamping: bound), except: kind == .labels ? -100 : nil) {
        throw .unusableInput(file: file, input: kind.rawValue, problem: "has the value \(wrong); expected 0 to \(bound - 1)")
      }
    }
  }

  /// Tokens and their successors as labels, other sequences in every step; every position is a token.
  ///
  /// - Parameter tokensDone: what an earlier run has taken from the file.
  /// - Throws: `unusableInput` where the file is too short, or the model reads something else than tokens.
  package init(graph: Graph, batch: Int, tokens: TokenFile, tokensDone: Int = 0) throws(ExecutionError) {
    for tensor in graph.tensors {
      guard case .input(let kind) = tensor.kind, kind == .pixelValues || (kind == .labels && tensor.dimensions.count != 2) else { continue }
      throw .unusableInput(
        file: tokens.path, input: kind.rawValue, problem: "is what the model reads, and a file of tokens has none; use --inputs")
    }
    if let mixer = graph.positionMixer {
      throw .unusableInput(
        file: tokens.path, input: InputKind.labels.rawValue,
        problem: "are the tokens that follow, which \(mixer) lets the model see: it would learn to copy them; give labels with --inputs")
    }
    let length = graph.inputTensor(.inputIDs).flatMap { graph.shape($0).last } ?? 1
    guard tokens.sequences(of: length) > 0 else {
      throw .unusableInput(
        file: tokens.path, input: "tokens",
        problem:
          "are only \(counted(tokens.count, "token")); a sequence of \(length) and the last one's label take \(length + 1). Search a plan for a smaller --seq"
      )
    }
    self.init(graph: graph, batch: batch, source: .tokens(tokens, firstSequence: tokensDone / length))
  }

  /// Looks at every token that a run of so many steps reads, so that one which the model does not have is not found after hours.
  /// - Throws: `unusableInput` for the first.
  package func checkTokens(steps: Int) throws(ExecutionError) {
    guard case .tokens(let file, let first) = source else { return }
    try file.check(sequences: first..<first + steps * batch, length: sequence, vocabulary: vocabulary)
  }

  /// What the run's file of tokens holds; nil where it has none.
  package var tokenFileText: String? {
    guard case .tokens(let file, _) = source else { return nil }
    let sequences = file.sequences(of: sequence)
    let pass = sequences < batch ? "fewer than a batch of \(batch)" : "one pass takes \(counted((sequences + batch - 1) / batch, "step"))"
    return "\(file.path): \(counted(file.count, "token")) of \(file.element.rawValue), \(counted(sequences, "sequence")) of \(sequence); \(pass)"
  }

  /// What a generation reads in its next step.
  init(graph: Graph, batch: Int, current: CurrentTokens) { self.init(graph: graph, batch: batch, source: .current(current)) }

  /// The tokens that a model knows; 1 where it reads none.
  package static func vocabulary(of graph: Graph) -> Int { graph.inputTensor(.inputIDs).flatMap { graph.indexedExtent(of: $0) } ?? 1 }

  /// Tokens of one step.
  package var tokensPerStep: Int { batch * sequence }

  /// Tokens that were taken from a file so far; 0 where they are not.
  func tokensTaken(afterSteps steps: Int) -> Int {
    guard case .tokens(_, let first) = source else { return 0 }
    return (first + steps * batch) * sequence
  }

  private init(graph: Graph, batch: Int, source: Source) {
    self.graph = graph
    self.batch = batch
    self.source = source
    let labels = graph.inputTensor(.labels)
    let ids = graph.inputTensor(.inputIDs)
    sequence = ids.map { graph.shape($0).last ?? 1 } ?? 1
    vocabulary = Self.vocabulary(of: graph)
    classes = labels.flatMap { graph.indexedExtent(of: $0) } ?? 1
    if let loss = graph.loss, let op = graph.producer[loss], graph.operators[op].kind == .contrastiveLoss {
      countedLabels = batch
      return
    }
    switch source {
    case .generated, .tokens: countedLabels = labels.map { batch * graph.shape($0).dropFirst().reduce(1, *) } ?? 0
    case .given(let arrays): countedLabels = arrays[.labels]?.integers.count { $0 != CrossEntropy.ignoredLabel } ?? 0
    case .current: countedLabels = 0
    }
  }

  /// The values that an input of whole numbers may have: 0 ..< bound.
  private func bound(of kind: InputKind) -> Int? {
    switch kind {
    case .pixelValues: nil
    case .attentionMask: 2
    case .inputIDs, .tokenTypeIDs, .labels: graph.inputTensor(kind).flatMap { graph.indexedExtent(of: $0) }
    }
  }

  private func globalShape(_ tensor: Tensor) -> [Int] {
    tensor.dimensions.map { graph.axes[$0].role == .batch ? batch : graph.axes[$0].extent }
  }

  /// Writes a region of an input of whole numbers.
  /// - Parameters:
  ///   - region: in rows of the global batch.
  ///   - step: of this run, from 0.
  /// - Throws: `unusableInput` for a token that the model does not have.
  func load(_ kind: InputKind, region: Region, step: Int, into values: UnsafeMutablePointer<Int32>) throws(ExecutionError) {
    switch (source, kind) {
    case (.given(let file), _) where file[kind] != nil: file[kind]?.copy(region, into: values)
    case (.generated(let generator), .inputIDs):
      generator.tokens(into: values, samples: region[0], positions: region[1], sequence: sequence, vocabulary: vocabulary)
    case (.generated(let generator), .labels) where region.count == 2:
      generator.tokens(into: values, samples: region[0], positions: region[1].shifted, sequence: sequence, vocabulary: vocabulary)
    case (.generated(let generator), .labels):
      for (i, sample) in region[0].enumerated() { values[i] = generator.choice("labels", sample, below: classes) }
    case (.tokens(let file, let first), .inputIDs), (.tokens(let file, let first), .labels):
      let positions = kind == .labels ? region[1].shifted : region[1]
      for (row, sample) in region[0].enumerated() {
        try file.copy(
          positions, ofSequence: first + step * batch + sample, length: sequence, vocabulary: vocabulary, into: values + row * positions.count)
      }
    case (.current(let tokens), .inputIDs): tokens.copy(region, into: values)
    // What a file may leave out: no padding, one token type, no label that counts.
    case (_, .attentionMask): values.update(repeating: 1, count: region.elementCount)
    case (_, .labels): values.update(repeating: CrossEntropy.ignoredLabel, count: region.elementCount)
    case (_, .tokenTypeIDs), (_, .inputIDs): values.update(repeating: 0, count: region.elementCount)
    case (_, .pixelValues): preconditionFailure("pixels are not whole numbers")
    }
  }

  /// Writes a region of an input of floating-point numbers; `region` is in rows of the global batch.
  func load(_ kind: InputKind, region: Region, into values: UnsafeMutablePointer<Float>) {
    switch source {
    case .given(let file): file[kind]?.copy(region, into: values)
    case .generated(let generator):
      let shape = graph.inputTensor(kind).map { globalShape(graph.tensors[$0]) } ?? []
      let strides = AffineView(whole: shape).strides
      let offset = zip(region, strides).reduce(0) { $0 + $1.0.lowerBound * $1.1 }
      generator.fill(values, name: kind.rawValue, rule: .uniform, offset: offset, strides: strides, extents: region.map(\.count))
    case .tokens, .current: preconditionFailure("a text has no \(kind.rawValue)")
    }
  }
}

extension Range<Int> {
  /// The positions of the tokens that follow.
  fileprivate var shifted: Range<Int> { lowerBound + 1..<upperBound + 1 }
}

extension Graph {
  /// The tensor of an input; nil where the model does not take it.
  func inputTensor(_ kind: InputKind) -> TensorID? { tensors.firstIndex { $0.kind == .input(kind) } }

  /// How many values the whole numbers of an input choose from: rows of the table that they index, or classes of the loss.
  fileprivate func indexedExtent(of tensor: TensorID) -> Int? {
    for site in consumers[tensor] {
      let op = operators[site.op]
      switch op.kind {
      case .embedding: return shape(op.operands[1]).first
      case .crossEntropy: return shape(op.operands[0]).last
      default: continue
      }
    }
    return nil
  }
}
