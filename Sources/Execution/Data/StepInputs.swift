// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph

/// The inputs of a step: the global batch, of which each rank loads its own parts. Every step takes the same batch.
package struct StepInputs {
  private enum Source {
    /// Made from a seed, so that every rank makes its part alone.
    case generated(ValueGenerator)
    case given(InputFile)
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

  private init(graph: Graph, batch: Int, source: Source) {
    self.graph = graph
    self.batch = batch
    self.source = source
    let labels = graph.inputTensor(.labels)
    let ids = graph.inputTensor(.inputIDs)
    sequence = ids.map { graph.shape($0).last ?? 1 } ?? 1
    vocabulary = ids.flatMap { graph.indexedExtent(of: $0) } ?? 1
    classes = labels.flatMap { graph.indexedExtent(of: $0) } ?? 1
    if let loss = graph.loss, let op = graph.producer[loss], graph.operators[op].kind == .contrastiveLoss {
      countedLabels = batch
      return
    }
    switch source {
    case .generated: countedLabels = labels.map { batch * graph.shape($0).dropFirst().reduce(1, *) } ?? 0
    case .given(let arrays): countedLabels = arrays[.labels]?.integers.count { $0 != CrossEntropy.ignoredLabel } ?? 0
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

  /// Writes a region of an input of whole numbers; `region` is in rows of the global batch.
  func load(_ kind: InputKind, region: Region, into values: UnsafeMutablePointer<Int32>) {
    if case .given(let file) = source, let array = file[kind] { return array.copy(region, into: values) }
    let count = region.elementCount
    guard case .generated(let generator) = source else {
      // What a file may leave out: no padding, one token type, no label that counts.
      let value: Int32 = kind == .attentionMask ? 1 : kind == .labels ? CrossEntropy.ignoredLabel : 0
      return values.update(repeating: value, count: count)
    }
    switch kind {
    case .inputIDs: generator.tokens(into: values, samples: region[0], positions: region[1], sequence: sequence, vocabulary: vocabulary)
    case .labels where region.count == 2:
      let shifted = region[1].lowerBound + 1..<region[1].upperBound + 1
      generator.tokens(into: values, samples: region[0], positions: shifted, sequence: sequence, vocabulary: vocabulary)
    case .labels:
      for (i, sample) in region[0].enumerated() { values[i] = generator.choice("labels", sample, below: classes) }
    case .attentionMask: values.update(repeating: 1, count: count)
    case .tokenTypeIDs: values.update(repeating: 0, count: count)
    case .pixelValues: preconditionFailure("pixels are not whole numbers")
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
    }
  }
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
