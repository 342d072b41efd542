// SPDX-License-Identifier: GPL-3.0-or-later

/// A mixture of experts that stands for a block's MLP (Shazeer et al. 2017; Jiang et al. 2024, "Mixtral of Experts"): a router sends each token to
/// a few gated MLPs, and adds their results up by its weights.
///
/// No token is dropped: there is no capacity factor, and prices assume that the tokens spread evenly over the experts.
package struct ExpertLayer: Hashable, Sendable {
  /// What a checkpoint calls the layer and the three products of an expert.
  package enum Naming: Hashable, Sendable {
    case mixtral
    case qwen
  }

  package var naming: Naming
  package var count: Int
  /// Experts that each token visits.
  package var perToken: Int
  /// The width of one expert's MLP.
  package var ffn: Int
  /// Whether the weights of the chosen experts add up to 1.
  package var renormalises: Bool
  /// The width of the MLP that every token visits besides; nil where there is none.
  package var sharedFFN: Int?

  package init(naming: Naming, count: Int, perToken: Int, ffn: Int, renormalises: Bool, sharedFFN: Int? = nil) {
    self.naming = naming
    self.count = count
    self.perToken = perToken
    self.ffn = ffn
    self.renormalises = renormalises
    self.sharedFFN = sharedFFN
  }

  /// The layer's name within its block.
  var module: String { naming == .mixtral ? "block_sparse_moe" : "mlp" }

  private var products: (gate: String, up: String, down: String) {
    naming == .mixtral ? ("w1", "w3", "w2") : ("gate_proj", "up_proj", "down_proj")
  }

  /// The layer's result for normed tokens `[batch, positions, features]`.
  ///
  /// - Parameter width: the axis of `ffn`.
  func apply(_ path: String, _ x: TensorID, width: AxisID, activation: ActivationFunction, _ builder: inout GraphBuilder) -> TensorID {
    let tokens = builder.tensors[x].dimensions
    let experts = builder.axis("experts", count, .experts)
    let routes = builder.axis("routes", 2 * perToken, .whole)
    let slots = builder.slots("slots", Axis.Slots(positions: tokens[1], experts: experts, perToken: perToken))

    let logits = builder.linear(path + ".gate", x, from: [tokens[2]], to: [experts], bias: false)
    let routed = builder.apply(
      .route(topK: perToken, renormalises: renormalises), path + ".route", [logits], to: [tokens[0], tokens[1], routes])
    let places = [experts, tokens[0], slots]
    let sent = builder.apply(.dispatch, path + ".dispatch", [x, routed], to: places + [tokens[2]])
    let gate = product(products.gate, path, sent, from: tokens[2], to: width, &builder)
    let act = builder.elementwise(.activation(activation), path + ".experts.act", gate)
    let up = product(products.up, path, sent, from: tokens[2], to: width, &builder)
    let inner = builder.apply(.multiply, path + ".experts.multiply", [act, up], to: places + [width])
    let down = product(products.down, path, inner, from: width, to: tokens[2], &builder)
    let combined = builder.apply(.combine, path + ".combine", [down, routed], to: tokens)
    guard let sharedFFN else { return combined }

    let sharedWidth = builder.axis("shared_ffn", sharedFFN, .feature)
    let shared = builder.gatedMLP(path + ".shared_expert", x, width: sharedWidth, activation: activation, bias: false)
    let one = builder.axis("shared_gate", 1, .feature)
    let opening = builder.linear(path + ".shared_expert_gate", x, from: [tokens[2]], to: [one], bias: false)
    let gated = builder.apply(.sigmoidGate, path + ".shared_expert.gated", [shared, opening], to: tokens)
    return builder.add(path + ".shared_expert.add", combined, gated)
  }

  /// Each expert's product, with one stored weight for each expert.
  private func product(
    _ name: String, _ path: String, _ x: TensorID, from input: AxisID, to output: AxisID, _ builder: inout GraphBuilder
  ) -> TensorID {
    let dimensions = [builder.tensors[x].dimensions[0], output, input]
    let stored = ParameterSource.contiguous(dimensions.map(builder.extent), isStacked: true)
    let weight = builder.parameter(
      "\(path).experts.\(ParameterSource.elementMark).\(name).weight", dimensions, shape: stored.shape, strides: stored.strides)
    return builder.apply(.expertLinear, "\(path).experts.\(name)", [x, weight], to: builder.tensors[x].dimensions.dropLast() + [output])
  }
}
