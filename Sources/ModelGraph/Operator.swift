// SPDX-License-Identifier: GPL-3.0-or-later

/// What an operator computes. Shapes are those of its tensors; `…` stands for any leading dimensions.
package enum OperatorKind: Hashable, Sendable {
  /// (ids `[b, s]`, table `[v, h]`) → `[b, s, h]`.
  case embedding
  /// (table `[positions, h]`) → `[s, h]`: row `offset + t` for position t.
  case positionEmbedding(offset: Int)
  /// (x `[…, in…]`, weight with in… and out…) → `[…, out…]`; contracts every axis of the weight that x has. The weight's dimensions are in
  /// the checkpoint's order: all of in… first, or all of out… first.
  case linear
  /// (x `[…, o…]`, bias `[o…]`) → x + bias. Apart from the product, so that it is added once, to a reduced or scattered result.
  case bias
  /// (query `[b, s, g, r, d]`, key `[b, t, g, d]`, value `[b, t, g, d]`, optional key mask `[b, t]`) → `[b, s, g, r, d]`.
  /// g key-value groups of r query heads; scores are multiplied by 1/√d. `dropout` zeroes probabilities in training; it costs time and memory where
  /// the kernel writes them, and is the identity when run.
  case attention(causal: Bool, dropout: Double = 0)
  /// Rotary position embedding, rotate-half: `[b, s, …, d]` → the same shape; the features after those that are rotated stay as they are.
  case rotary(RotaryParameters)
  /// (x `[…, h]`, weight `[h]`, bias `[h]`), over the last dimension.
  case layerNorm(epsilon: Double)
  /// (x `[…, h]`, weight `[h]`), over the last dimension. With `addsOne` the scale is 1 + weight (Gemma).
  case rmsNorm(epsilon: Double, addsOne: Bool = false)
  /// Element-wise, x → f(x).
  case activation(ActivationFunction)
  /// Zeroes elements with this probability in training; the identity when run unless asked otherwise.
  case dropout(probability: Double)
  /// Element-wise factor · x, the factor rounded to fp32.
  case scale(factor: Double)
  /// x as it is: what a segment hands on of what came in, and does not change.
  case pass
  /// Element-wise a + b; b may lack leading axes of a (it is then broadcast).
  case add
  /// Element-wise a · b of equal shapes.
  case multiply
  /// (pixels `[b, c, H, W]`) → `[b, n, c·p·p]`: non-overlapping square patches in row-major order, each as a convolution reads it.
  case patches(size: Int)
  /// (x `[b, n, h]`, token `[h]`) → `[b, n+1, h]`: a learned token before the sequence.
  case prependToken
  /// (x `[b, s, h]`) → `[b, h]`: one position of the sequence.
  case selectToken(position: Int)
  /// (x `[b, i, H, W]`, weight `[o, i, kH, kW]`) → `[b, o, H', W']`: a convolution of one group, as many zeros around as `padding` says.
  case convolution(stride: Int, padding: Int)
  /// (x `[b, c, H, W]`, weight `[c]`, bias `[c]`): each channel normalised by the mean and variance of the whole batch, whatever it is split
  /// over; running averages are neither kept nor used.
  case batchNorm(epsilon: Double)
  /// x `[b, c, H, W]` → `[b, c, H', W']`: the largest value of each square window; what lies outside does not count.
  case maxPool(size: Int, stride: Int, padding: Int)
  /// x `[b, c, H, W]` → `[b, c]`: the mean over the image.
  case averagePool
  /// (logits `[…, e]`) → `[…, 2k]`: each token's k experts of the largest softmax, the weights of these k, then their numbers. The weights are the
  /// softmax over all experts, or, renormalised, over the k.
  case route(topK: Int, renormalises: Bool)
  /// (x `[b, s, h]`, routes `[b, s, 2k]`) → `[e, b, c, h]`: each token in a place at each of its experts; c is an axis of role `slots`.
  case dispatch
  /// (x `[e, b, c, in…]`, weight with e first, in… and out…) → `[e, b, c, out…]`: each expert's product with its own weight.
  case expertLinear
  /// (y `[e, b, c, h]`, routes `[b, s, 2k]`) → `[b, s, h]`: the sum of each token's results, times their weights.
  case combine
  /// (x `[…, h]`, gate `[…, 1]`) → x · sigmoid(gate).
  case sigmoidGate
  /// (x `[b, s, h]`, ids `[b, s]`) → `[b, h]`: each sample's first position whose id is this one, or, where nil, its first position of the
  /// largest id. A sample without the id gives its first position.
  case selectMarkedToken(id: Int?)
  /// x `[…, h]` → x / ‖x‖ over the last dimension.
  case unitNorm
  /// (x `[b, h]`, y `[b, h]`) → `[b, c]`: the products of each x with the y of every sample, c.
  case similarity
  /// (x, weight `[1]`) → f(weight) · x.
  case learnedScale(ScaleFunction)
  /// (table `[r, h]`) → `[b, r, h]`: the table for every sample.
  case broadcast
  /// (x `[b, n, h]`, y `[b, m, h]`) → `[b, n+m, h]`: the positions of x, then those of y.
  case concatenate
  /// (logits `[b, c]`) → scalar: the mean, over the samples of the global batch and the two directions, of −log softmax(logits)[own pair], the softmax being
  /// over a row (a sample's candidates) or over a column (Radford et al. 2021).
  case contrastiveLoss
  /// (logits `[…, v]`, labels `[…]`) → scalar: the sum of −log softmax(logits)[label] over the labels that count, divided by the global
  /// number of labels that count.
  case crossEntropy
}

/// Element-wise functions of one operand.
package enum ActivationFunction: String, Hashable, Sendable, CaseIterable {
  /// x · Φ(x).
  case gelu
  /// Its tanh approximation, Hugging Face's `gelu_new` and `gelu_pytorch_tanh`.
  case geluTanh = "gelu_tanh"
  case silu
  /// x · σ(1.702 x), Hugging Face's `quick_gelu`.
  case quickGelu = "quick_gelu"
  case relu
  /// max(x, 0)², Hugging Face's `relu2` (So et al. 2021).
  case squaredRelu = "squared_relu"
  case tanh
}

/// How a learned number scales.
package enum ScaleFunction: String, Hashable, Sendable, CaseIterable {
  /// eʷ: the temperature of a contrastive loss.
  case exponential
  /// tanh w: a gate that is closed where w is 0.
  case tanh
}

/// The angles of a rotary embedding: position · base^(−2i/d) over the d features that are rotated, with optional scaling of the frequencies.
package struct RotaryParameters: Hashable, Sendable {
  /// Llama 3's scaling (`rope_scaling` with `rope_type: llama3`): low frequencies are divided by `factor`, with a smooth ramp between.
  package struct Llama3Scaling: Hashable, Sendable {
    package var factor: Double
    package var lowFrequencyFactor: Double
    package var highFrequencyFactor: Double
    package var originalMaxPositions: Int

    package init(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalMaxPositions: Int) {
      self.factor = factor
      self.lowFrequencyFactor = lowFrequencyFactor
      self.highFrequencyFactor = highFrequencyFactor
      self.originalMaxPositions = originalMaxPositions
    }
  }

  package var base: Double
  package var scaling: Llama3Scaling?
  /// How many features of a head are rotated, its first ones; nil for all of them.
  package var rotated: Int?

  package init(base: Double, scaling: Llama3Scaling? = nil, rotated: Int? = nil) {
    self.base = base
    self.scaling = scaling
    self.rotated = rotated
  }
}

/// One operation of the model: what it computes, from which tensors into which tensor.
package struct Operator: Hashable, Sendable {
  /// A Hugging Face module path, with `{i}` for a repeat: `transformer.h.{i}.mlp.c_fc`.
  package var name: String
  package var kind: OperatorKind
  package var operands: [TensorID]
  package var result: TensorID

  package init(name: String, kind: OperatorKind, operands: [TensorID], result: TensorID) {
    self.name = name
    self.kind = kind
    self.operands = operands
    self.result = result
  }
}
