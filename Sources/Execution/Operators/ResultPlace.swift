// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph

/// Where a kernel leaves what it computes. One table for those who carry a program out and those who count its memory.
enum ResultPlace {
  /// In memory of its own.
  case fresh
  /// Over this buffer where that dies with the call, has its size and is nobody else's; else in memory of its own.
  case over(BufferID)
  /// In the same memory as this buffer, whose values it has.
  case sameAs(BufferID)
}

extension Program {
  /// Where a forward pass leaves its result.
  func resultPlace(of call: KernelCall) -> ResultPlace {
    switch graph.operators[call.op].kind {
    case .bias, .rotary, .activation, .scale, .add, .multiply: .over(call.operands[0])
    case .dropout, .pass: .sameAs(call.operands[0])
    case .embedding, .positionEmbedding, .linear, .attention, .layerNorm, .rmsNorm, .patches, .prependToken, .selectToken, .crossEntropy,
      .selectMarkedToken, .unitNorm, .similarity, .learnedScale, .contrastiveLoss, .broadcast, .concatenate,
      .convolution, .batchNorm, .maxPool, .averagePool, .route, .dispatch, .expertLinear, .combine, .sigmoidGate:
      .fresh
    }
  }

  /// What a forward pass leaves for the backward pass beside its result. Dropout has probability 0 when it is run, and needs no mask.
  func extras(of call: KernelCall) -> [BufferID] {
    if case .dropout = graph.operators[call.op].kind { [] } else { call.extras }
  }

  /// Where a backward pass leaves the gradient of an operand, if that is not resident.
  func gradientPlace(of operand: Int, in call: KernelCall) -> ResultPlace {
    let kind = graph.operators[call.op].kind
    // The loss has no gradient of its own, and its operand's goes over the operand.
    guard let dy = call.resultGradient else { return [.crossEntropy, .contrastiveLoss].contains(kind) ? .over(call.operands[0]) : .fresh }
    switch kind {
    case .rotary, .layerNorm, .rmsNorm, .unitNorm, .activation, .scale, .learnedScale, .multiply: return operand == 0 ? .over(dy) : .fresh
    case .dropout, .pass, .bias: return operand == 0 ? .sameAs(dy) : .fresh
    case .add:
      // What is added to every row has the sum over the rows.
      let isWhole = buffers[call.operands[operand]].count == buffers[call.result].count
      return operand == 0 || isWhole && !graph.tensors[graph.operators[call.op].operands[operand]].isParameter ? .sameAs(dy) : .fresh
    case .batchNorm: return operand == 0 ? .over(dy) : .fresh
    case .embedding, .positionEmbedding, .linear, .attention, .patches, .prependToken, .selectToken, .selectMarkedToken, .similarity, .crossEntropy,
      .contrastiveLoss, .broadcast, .concatenate,
      .convolution, .maxPool, .averagePool, .route, .dispatch, .expertLinear, .combine, .sigmoidGate:
      return .fresh
    }
  }
}
