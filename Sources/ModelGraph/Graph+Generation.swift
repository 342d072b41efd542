// SPDX-License-Identifier: GPL-3.0-or-later

extension Graph {
  /// What keeps a model from generating text one token after the other; nil where nothing does.
  ///
  /// Each position must be computed from earlier ones and itself alone, which meet in causal attention and nowhere else.
  package var generationObstacle: String? {
    guard tensors.contains(where: { $0.kind == .input(.inputIDs) }) else { return "it reads no tokens" }
    guard nextTokenLogits != nil else { return "no output of it has a number for each position and each token of a vocabulary" }
    return positionMixer.map { "\($0) mixes positions otherwise than by causal attention" }
  }

  /// The first operator, with its kind, in which a position depends on later ones, or on earlier ones otherwise than by causal attention.
  package var positionMixer: String? {
    operators.first { !$0.kind.keepsToPosition }.map { "\($0.name) (\($0.kind.formatName))" }
  }

  /// The output `[b, s, v]` by which the next token is chosen.
  package var nextTokenLogits: TensorID? {
    outputs.map(\.tensor).first { tensor in
      let roles = tensors[tensor].dimensions.map { axes[$0].role }
      return roles == [.batch, .sequence, .vocabulary]
    }
  }

  /// The most positions that tables of positions have rows for; nil where there are none.
  package var mostPositions: Int? {
    operators.compactMap { op -> Int? in
      guard case .positionEmbedding(let offset) = op.kind else { return nil }
      return (shape(op.operands[0]).first ?? 0) - offset
    }.min()
  }
}

extension OperatorKind {
  /// Whether a position of the result depends on no later one, and on earlier ones by causal attention alone.
  fileprivate var keepsToPosition: Bool {
    switch self {
    case .attention(let causal, _): causal
    case .embedding, .positionEmbedding, .linear, .bias, .rotary, .layerNorm, .rmsNorm, .activation, .dropout, .scale, .pass, .add, .multiply, .route,
      .dispatch, .expertLinear, .combine, .sigmoidGate, .unitNorm, .learnedScale, .crossEntropy:
      true
    case .patches, .prependToken, .selectToken, .convolution, .batchNorm, .maxPool, .averagePool, .selectMarkedToken, .similarity, .broadcast,
      .concatenate, .contrastiveLoss:
      false
    }
  }
}
