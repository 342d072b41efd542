// SPDX-License-Identifier: GPL-3.0-or-later

/// The order in which a checkpoint stores a linear layer's weight.
package enum WeightOrder: Sendable {
  /// `[in, out]`: GPT-2's `Conv1D`.
  case inputFirst
  /// `[out, in]`: `torch.nn.Linear`.
  case outputFirst
}

/// The layers that architectures are written in: a module of the checkpoint each, named by its path.
///
/// Each helper makes a parameter just before the operator that first reads it, so tensors are numbered by first appearance; the native format
/// (`ModelFile`) relies on that order to give back an equal graph.
extension GraphBuilder {
  /// A parameter that is stored alone and in the order of its dimensions.
  ///
  /// - Parameter stored: the logical axes that each stored dimension is made of, outermost first; several are folded, row-major, into one.
  package mutating func parameter(_ name: String, stored: [[AxisID]], isNormWeight: Bool = false) -> TensorID {
    let dimensions = stored.flatMap { $0 }
    return parameter(
      name, dimensions, shape: stored.map { $0.reduce(1) { $0 &* extent($1) } }, strides: rowMajorStrides(dimensions.map(extent)),
      isNormWeight: isNormWeight)
  }

  /// A parameter that is a view of a stored tensor of another shape, or of a part of one.
  package mutating func parameter(
    _ name: String, _ dimensions: [AxisID], checkpoint: String? = nil, shape: [Int], offset: Int = 0, strides: [Int], isNormWeight: Bool = false,
    isFrozen: Bool = false
  ) -> TensorID {
    let source = ParameterSource(
      checkpointName: checkpoint ?? name, checkpointShape: shape, offset: offset, strides: strides, isNormWeight: isNormWeight,
      isFrozen: isFrozen)
    return tensor(name, dimensions, .parameter(source))
  }

  /// `x · weight`, contracting the last axes `input` of x into `output`; with `bias`, a second operator `<path>.bias`.
  ///
  /// - Parameter tied: a weight that exists already (an embedding table used as the output projection).
  package mutating func linear(
    _ path: String, _ x: TensorID, from input: [AxisID], to output: [AxisID], order: WeightOrder = .outputFirst, bias: Bool, tied: TensorID? = nil
  ) -> TensorID {
    let weight = tied ?? parameter(path + ".weight", stored: order == .inputFirst ? [input, output] : [output, input])
    let product = matrixProduct(path, x, weight: weight, from: input, to: output)
    return bias ? self.bias(path, product, parameter(path + ".bias", stored: [output])) : product
  }

  /// `x · weight` with a weight that exists.
  package mutating func matrixProduct(
    _ path: String, _ x: TensorID, weight: TensorID, from input: [AxisID], to output: [AxisID]
  ) -> TensorID {
    apply(.linear, path, [x, weight], to: tensors[x].dimensions.dropLast(input.count) + output)
  }

  /// `x + bias`, named `<path>.bias`.
  package mutating func bias(_ path: String, _ x: TensorID, _ bias: TensorID) -> TensorID {
    apply(.bias, path + ".bias", [x, bias], to: tensors[x].dimensions)
  }

  /// Layer norm over x's last axis, with `<path>.weight` and `<path>.bias`.
  package mutating func layerNorm(_ path: String, _ x: TensorID, epsilon: Double) -> TensorID {
    let axis = Array(tensors[x].dimensions.suffix(1))
    let weight = parameter(path + ".weight", stored: [axis], isNormWeight: true)
    let bias = parameter(path + ".bias", stored: [axis])
    return apply(.layerNorm(epsilon: epsilon), path, [x, weight, bias], to: tensors[x].dimensions)
  }

  /// RMS norm over x's last axis, with `<path>.weight`; the scale is 1 + that with `addsOne`.
  package mutating func rmsNorm(_ path: String, _ x: TensorID, epsilon: Double, addsOne: Bool = false) -> TensorID {
    let weight = parameter(path + ".weight", stored: [Array(tensors[x].dimensions.suffix(1))], isNormWeight: !addsOne)
    return apply(.rmsNorm(epsilon: epsilon, addsOne: addsOne), path, [x, weight], to: tensors[x].dimensions)
  }

  /// A table look-up, (ids `[…]`, `<path>.weight` `[rows, features]`) → `[…, features]`; returns the table too, for tied weights.
  package mutating func embedding(
    _ path: String, ids: TensorID, rows: AxisID, features: AxisID
  ) -> (result: TensorID, table: TensorID) {
    let table = parameter(path + ".weight", stored: [[rows], [features]])
    return (apply(.embedding, path, [ids, table], to: tensors[ids].dimensions + [features]), table)
  }

  /// down(f(gate(x)) · up(x)): Llama's MLP, from x's last axis through `width` and back.
  package mutating func gatedMLP(_ path: String, _ x: TensorID, width: AxisID, activation: ActivationFunction, bias: Bool) -> TensorID {
    let features = Array(tensors[x].dimensions.suffix(1))
    let gate = linear(path + ".gate_proj", x, from: features, to: [width], bias: bias)
    let act = elementwise(.activation(activation), path + ".act", gate)
    let up = linear(path + ".up_proj", x, from: features, to: [width], bias: bias)
    let product = apply(.multiply, path + ".multiply", [act, up], to: tensors[act].dimensions)
    return linear(path + ".down_proj", product, from: [width], to: features, bias: bias)
  }

  /// An element-wise operator of one operand that keeps its shape.
  package mutating func elementwise(_ kind: OperatorKind, _ path: String, _ x: TensorID) -> TensorID {
    apply(kind, path, [x], to: tensors[x].dimensions)
  }

  /// Dropout, or x itself where the probability is 0.
  package mutating func dropout(_ path: String, _ x: TensorID, probability: Double) -> TensorID {
    probability > 0 ? elementwise(.dropout(probability: probability), path, x) : x
  }

  /// `x + y`; y may lack leading axes of x.
  package mutating func add(_ path: String, _ x: TensorID, _ y: TensorID) -> TensorID {
    apply(.add, path, [x, y], to: tensors[x].dimensions)
  }

  /// Mean softmax cross-entropy named `loss`, against the input `labels`; it becomes the model's loss.
  package mutating func crossEntropyLoss(_ logits: TensorID) {
    let labels = input(.labels, tensors[logits].dimensions.dropLast())
    loss = apply(.crossEntropy, "loss", [logits, labels], to: [])
  }

  /// Gives logits out, and makes their cross-entropy the model's loss.
  package mutating func logits(_ logits: TensorID) {
    output("logits", logits)
    crossEntropyLoss(logits)
  }

  /// What stands on a decoder's last norm.
  ///
  /// - Parameters:
  ///   - tied: the embedding table, where the language-model head is it.
  ///   - path: the head's module.
  package mutating func decoderHead(
    _ head: DecoderHead, _ normed: TensorID, from hidden: AxisID, to vocabulary: AxisID, tied: TensorID?, path: String = "lm_head"
  ) {
    switch head {
    case .none: output("last_hidden_state", normed)
    case .languageModel: logits(linear(path, normed, from: [hidden], to: [vocabulary], bias: false, tied: tied))
    }
  }

  /// Starts a segment that takes over one tensor, the hidden state, from the segment before.
  ///
  /// - Returns: the tensor that stands for it inside the segment, named `<path>.input`.
  package mutating func begin(segment: String, repeats: Int = 1, path: String, carry dimensions: [AxisID]) -> TensorID {
    let entry = tensor(path + ".input", dimensions)
    begin(segment: segment, repeats: repeats, entries: [entry])
    return entry
  }

  package mutating func output(_ name: String, _ tensor: TensorID) { outputs.append(Graph.Output(name: name, tensor: tensor)) }
}

/// What a decoder's class in the library adds to its blocks.
package enum DecoderHead: Hashable, Sendable {
  /// Nothing: the last hidden state.
  case none
  /// Next-token logits and their loss.
  case languageModel
}

extension ParameterSource {
  /// The shape and strides of a tensor that is stored alone and row-major, or as a contiguous tensor for each element of its first dimension.
  static func contiguous(_ shape: [Int], isStacked: Bool) -> (shape: [Int], strides: [Int]) {
    let stored = isStacked ? Array(shape.dropFirst()) : shape
    return (stored, (isStacked ? [0] : []) + rowMajorStrides(stored))
  }
}

/// Strides in elements of a contiguous row-major tensor. Products wrap instead of trapping: `GraphBuilder.finish()` refuses such sizes by name.
func rowMajorStrides(_ shape: [Int]) -> [Int] {
  var strides = [Int](repeating: 1, count: shape.count)
  for index in shape.indices.dropLast().reversed() { strides[index] = strides[index + 1] &* shape[index + 1] }
  return strides
}

/// The axes of grouped-query attention: g key-value heads, r query heads each, d features per head. Query head h is `g·r_count + r`, as
/// Hugging Face orders them.
package struct AttentionAxes: Sendable {
  package var groups: AxisID
  package var queries: AxisID
  package var features: AxisID

  /// Adds the axes `kv_heads`, `queries` and `head_dim`, with a prefix where a model has several kinds of attention.
  package init(heads: Int, keyValueHeads: Int, headSize: Int, prefix: String = "", in builder: inout GraphBuilder) {
    groups = builder.axis(prefix + "kv_heads", keyValueHeads, .heads)
    queries = builder.axis(prefix + "queries", heads / keyValueHeads, .queries)
    features = builder.axis(prefix + "head_dim", headSize, .whole)
  }

  /// Adds the axes of attention whose heads share the hidden dimension, each with keys and values of its own.
  package init(heads: Int, hidden: Int, prefix: String = "", in builder: inout GraphBuilder) {
    self.init(heads: heads, keyValueHeads: heads, headSize: hidden / heads, prefix: prefix, in: &builder)
  }

  package var query: [AxisID] { [groups, queries, features] }
  package var keyValue: [AxisID] { [groups, features] }
}
