// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension OperatorKind {
  /// The value of the key `op` in the native format.
  package var formatName: String {
    switch self {
    case .embedding: "embedding"
    case .positionEmbedding: "position_embedding"
    case .linear: "linear"
    case .bias: "bias"
    case .attention: "attention"
    case .rotary: "rotary"
    case .layerNorm: "layer_norm"
    case .rmsNorm: "rms_norm"
    case .activation: "activation"
    case .dropout: "dropout"
    case .scale: "scale"
    case .pass: "pass"
    case .add: "add"
    case .multiply: "multiply"
    case .patches: "patches"
    case .prependToken: "prepend_token"
    case .selectToken: "select_token"
    case .convolution: "convolution"
    case .batchNorm: "batch_norm"
    case .maxPool: "max_pool"
    case .averagePool: "average_pool"
    case .route: "route"
    case .dispatch: "dispatch"
    case .expertLinear: "expert_linear"
    case .combine: "combine"
    case .sigmoidGate: "sigmoid_gate"
    case .crossEntropy: "cross_entropy"
    case .selectMarkedToken: "select_marked_token"
    case .unitNorm: "unit_norm"
    case .similarity: "similarity"
    case .learnedScale: "learned_scale"
    case .broadcast: "broadcast"
    case .concatenate: "concatenate"
    case .contrastiveLoss: "contrastive_loss"
    }
  }

  /// The keys that say more than `op` does, in the order in which the documentation lists them.
  var attributes: [(key: String, value: JSON)] {
    switch self {
    case .embedding, .linear, .bias, .pass, .add, .multiply, .prependToken, .averagePool, .crossEntropy: []
    case .unitNorm, .similarity, .contrastiveLoss, .broadcast, .concatenate: []
    case .learnedScale(let function): [("function", .string(function.rawValue))]
    case .dispatch, .expertLinear, .combine, .sigmoidGate: []
    case .convolution(let stride, let padding): [("stride", .int(stride)), ("padding", .int(padding))]
    case .batchNorm(let epsilon): [("epsilon", .double(epsilon))]
    case .maxPool(let size, let stride, let padding): [("size", .int(size)), ("stride", .int(stride)), ("padding", .int(padding))]
    case .route(let topK, let renormalises): [("top_k", .int(topK)), ("renormalise", .bool(renormalises))]
    case .positionEmbedding(let offset): [("offset", .int(offset))]
    case .attention(let causal, let dropout): [("causal", .bool(causal))] + (dropout == 0 ? [] : [("dropout", .double(dropout))])
    case .rotary(let parameters): parameters.attributes
    case .layerNorm(let epsilon): [("epsilon", .double(epsilon))]
    case .rmsNorm(let epsilon, let addsOne): [("epsilon", .double(epsilon))] + (addsOne ? [("adds_one", true)] : [])
    case .activation(let function): [("function", .string(function.rawValue))]
    case .dropout(let probability): [("probability", .double(probability))]
    case .scale(let factor): [("factor", .double(factor))]
    case .patches(let size): [("size", .int(size))]
    case .selectMarkedToken(let id): id.map { [("id", .int($0))] } ?? []
    case .selectToken(let position): [("position", .int(position))]
    }
  }

  private static let formatNames = [
    "embedding", "position_embedding", "linear", "bias", "attention", "rotary", "layer_norm", "rms_norm", "activation", "dropout", "scale", "pass",
    "add", "multiply", "patches", "prepend_token", "select_token", "convolution", "batch_norm", "max_pool", "average_pool", "route", "dispatch",
    "expert_linear", "combine", "sigmoid_gate",
    "cross_entropy", "select_marked_token", "unit_norm", "similarity", "learned_scale", "broadcast", "concatenate", "contrastive_loss",
  ]

  /// Reads the key `op` and the keys that belong to it.
  ///
  /// - Throws: `DocumentError` for an operator that does not exist, and for a missing or unlawful attribute.
  init(reading object: ObjectReader) throws {
    let extent = Bound<Int>.within(0, GraphBuilder.largestExtent)
    let node = try object.node("op")
    switch try node.string() {
    case "embedding": self = .embedding
    case "position_embedding": self = .positionEmbedding(offset: try object.intIfPresent("offset", extent) ?? 0)
    case "linear": self = .linear
    case "bias": self = .bias
    case "attention":
      self = .attention(causal: try object.bool("causal"), dropout: try object.nodeIfPresent("dropout")?.probability() ?? 0)
    case "rotary": self = .rotary(try RotaryParameters(reading: object))
    case "layer_norm": self = .layerNorm(epsilon: try object.double("epsilon", .positive))
    case "rms_norm":
      self = .rmsNorm(epsilon: try object.double("epsilon", .positive), addsOne: try object.boolIfPresent("adds_one") ?? false)
    case "activation": self = .activation(try object.choice("function", of: ActivationFunction.self))
    case "dropout":
      self = .dropout(probability: try object.node("probability").probability())
    case "scale": self = .scale(factor: try object.double("factor", .positive))
    case "pass": self = .pass
    case "add": self = .add
    case "multiply": self = .multiply
    case "patches": self = .patches(size: try object.int("size", .within(1, 1 << 12)))
    case "prepend_token": self = .prependToken
    case "select_token": self = .selectToken(position: try object.int("position", extent))
    case "convolution":
      self = .convolution(stride: try object.intIfPresent("stride", .within(1, 1 << 12)) ?? 1, padding: try Self.padding(object))
    case "batch_norm": self = .batchNorm(epsilon: try object.double("epsilon", .positive))
    case "max_pool":
      self = .maxPool(
        size: try object.int("size", .within(1, 1 << 12)), stride: try object.int("stride", .within(1, 1 << 12)), padding: try Self.padding(object))
    case "average_pool": self = .averagePool
    case "route":
      self = .route(
        topK: try object.int("top_k", .within(1, GraphBuilder.largestExtent)), renormalises: try object.boolIfPresent("renormalise") ?? false)
    case "dispatch": self = .dispatch
    case "expert_linear": self = .expertLinear
    case "combine": self = .combine
    case "sigmoid_gate": self = .sigmoidGate
    case "cross_entropy": self = .crossEntropy
    case "select_marked_token": self = .selectMarkedToken(id: try object.intIfPresent("id", extent))
    case "unit_norm": self = .unitNorm
    case "similarity": self = .similarity
    case "learned_scale": self = .learnedScale(try object.choice("function", of: ScaleFunction.self))
    case "broadcast": self = .broadcast
    case "concatenate": self = .concatenate
    case "contrastive_loss": self = .contrastiveLoss
    default: throw node.invalid(expected: "an operator: " + Self.formatNames.joined(separator: ", "))
    }
  }

  private static func padding(_ object: ObjectReader) throws -> Int { try object.intIfPresent("padding", .within(0, 1 << 12)) ?? 0 }

  /// The axes of the result where the operands' axes determine them; nil for the kinds whose result must be stated, and for a wrong number
  /// of operands.
  func inferredResult(_ operands: [[AxisID]]) -> [AxisID]? {
    guard operandCounts.contains(operands.count) else { return nil }
    switch self {
    case .positionEmbedding, .patches, .prependToken, .convolution, .maxPool, .route, .dispatch, .combine, .similarity, .broadcast, .concatenate:
      return nil
    case .averagePool: return Array(operands[0].prefix(2))
    case .embedding: return operands[0] + operands[1].suffix(1)
    case .linear:
      let (x, weight) = (operands[0], operands[1])
      return x.filter { !weight.contains($0) } + weight.filter { !x.contains($0) }
    case .expertLinear:
      let (x, weight) = (operands[0], operands[1])
      return x.filter { $0 == x.first || !weight.contains($0) } + weight.filter { !x.contains($0) }
    case .selectToken, .selectMarkedToken: return operands[0].indices.filter { $0 != 1 }.map { operands[0][$0] }
    case .crossEntropy, .contrastiveLoss: return []
    case .bias, .attention, .rotary, .layerNorm, .rmsNorm, .activation, .dropout, .scale, .pass, .add, .multiply, .sigmoidGate, .batchNorm,
      .unitNorm, .learnedScale:
      return operands[0]
    }
  }
}

extension RotaryParameters {
  fileprivate var attributes: [(key: String, value: JSON)] {
    var members: [(String, JSON)] = [("base", .double(base))]
    if let scaling {
      members.append(
        (
          "llama3",
          [
            "factor": .double(scaling.factor), "low_frequency_factor": .double(scaling.lowFrequencyFactor),
            "high_frequency_factor": .double(scaling.highFrequencyFactor), "original_max_positions": .int(scaling.originalMaxPositions),
          ]
        ))
    }
    if let rotated { members.append(("rotated", .int(rotated))) }
    return members
  }

  fileprivate init(reading object: ObjectReader) throws {
    self.init(base: try object.double("base", .positive), rotated: try object.intIfPresent("rotated", .within(2, GraphBuilder.largestExtent)))
    guard let llama3 = try object.objectIfPresent("llama3") else { return }
    let scaling = Llama3Scaling(
      factor: try llama3.double("factor", .positive), lowFrequencyFactor: try llama3.double("low_frequency_factor", .positive),
      highFrequencyFactor: try llama3.double("high_frequency_factor", .positive),
      originalMaxPositions: try llama3.int("original_max_positions", .within(1, GraphBuilder.largestExtent)))
    guard scaling.lowFrequencyFactor < scaling.highFrequencyFactor else {
      throw try llama3.node("high_frequency_factor").invalid(expected: "more than low_frequency_factor, \(scaling.lowFrequencyFactor)")
    }
    try llama3.finish()
    self.scaling = scaling
  }
}
