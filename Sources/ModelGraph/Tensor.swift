// SPDX-License-Identifier: GPL-3.0-or-later

/// A logical tensor: an input of the model, a parameter, or what an operator produces.
///
/// Dimensions are listed outermost first; a dimension's extent is its axis's.
package struct Tensor: Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    /// Given from outside for each step, in any layout a reader asks for.
    case input(InputKind)
    /// Learned, or frozen; read from a checkpoint or made by the generator.
    case parameter(ParameterSource)
    /// Produced by an operator.
    case activation
  }

  /// Operators in a repeated segment carry `{i}` where the copy's index goes.
  package var name: String
  package var dimensions: [AxisID]
  package var kind: Kind

  package init(name: String, dimensions: [AxisID], kind: Kind) {
    self.name = name
    self.dimensions = dimensions
    self.kind = kind
  }

  package var isParameter: Bool { if case .parameter = kind { true } else { false } }
  package var isInput: Bool { if case .input = kind { true } else { false } }
  package var isActivation: Bool { kind == .activation }
  package var parameter: ParameterSource? { if case .parameter(let source) = kind { source } else { nil } }
}

/// The inputs that a model can ask for, by their Hugging Face names.
package enum InputKind: String, Hashable, Sendable, CaseIterable {
  /// Token identifiers, `[batch, seq]`.
  case inputIDs = "input_ids"
  /// 1 where a position is a token, 0 where it is padding, `[batch, seq]`.
  case attentionMask = "attention_mask"
  /// Segment identifiers of BERT, `[batch, seq]`.
  case tokenTypeIDs = "token_type_ids"
  /// Targets of the loss, already shifted: `[batch, seq]`, or `[batch]` for a classifier. −100 does not count.
  case labels
  /// Images, `[batch, channels, height, width]`.
  case pixelValues = "pixel_values"

  /// Whether the values are whole numbers; the others are floating-point.
  package var isInteger: Bool { self != .pixelValues }
}

/// Where a parameter's values stand in a checkpoint: an affine view of one stored tensor.
///
/// The element at logical index (i₀, i₁, …) is number `offset + Σ strides[d] · i_d` of the stored tensor in row-major order. So GPT-2's
/// fused, transposed `c_attn.weight` `[hidden, 3·hidden]` holds three logical weights, and no weight is ever copied to be reshaped.
///
/// A name with `{j}` stands for several stored tensors of one shape, one for each index i₀ of the first dimension: the experts' weights. The
/// view, whose first stride is 0, is then that of each.
package struct ParameterSource: Hashable, Sendable {
  /// The tensor's name in a Hugging Face checkpoint, with `{i}` for a repeat.
  package var checkpointName: String
  /// The stored tensor's whole shape.
  package var checkpointShape: [Int]
  package var offset: Int
  /// One stride per logical dimension, in elements.
  package var strides: [Int]
  /// Whether the generator's rule for norm weights applies: values around 1 instead of 0.
  package var isNormWeight: Bool
  /// Whether training leaves it as it is: no gradient, no optimizer state.
  package var isFrozen: Bool

  /// Whether the elements of the first dimension are stored tensors of their own.
  package var isStacked: Bool { checkpointName.contains(Self.elementMark) }

  /// Where one element of the first dimension stands, as a parameter whose first dimension has that element alone.
  package func element(_ index: Int) -> ParameterSource {
    var element = self
    element.checkpointName = checkpointName.replacing(Self.elementMark, with: String(index))
    return element
  }

  static let elementMark = "{j}"

  package init(
    checkpointName: String, checkpointShape: [Int], offset: Int = 0, strides: [Int], isNormWeight: Bool = false, isFrozen: Bool = false
  ) {
    self.checkpointName = checkpointName
    self.checkpointShape = checkpointShape
    self.offset = offset
    self.strides = strides
    self.isNormWeight = isNormWeight
    self.isFrozen = isFrozen
  }
}
