// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension ExpertLayer {
  /// Reads the keys of Mixtral's mixture of experts.
  ///
  /// - Parameter ffn: the width that `intermediate_size` gives.
  /// - Throws: as `HuggingFace.graph` documents.
  static func mixtral(_ file: inout ConfigurationReader, ffn: Int) throws -> ExpertLayer {
    let count = try file.extent("num_local_experts", default: 8)
    let perToken = try file.extent("num_experts_per_tok", default: 2)
    // Noise on the router's inputs in training.
    if let node = file.optional("router_jitter_noise"), try node.double() != 0 { throw file.unsupported(node, supported: "0") }
    try refuseBalanceLoss(&file)
    return ExpertLayer(
      naming: .mixtral, count: count, perToken: try check(perToken, of: count, countKey: "num_local_experts", file), ffn: ffn, renormalises: true)
  }

  /// Reads the keys of Qwen's mixtures of experts.
  ///
  /// - Parameters:
  ///   - defaults: the library's values of the family.
  ///   - layers: blocks of the model, all of which must have experts.
  /// - Throws: as `HuggingFace.graph` documents.
  static func qwen(_ file: inout ConfigurationReader, defaults: ExpertLayer) throws -> ExpertLayer {
    var layer = defaults
    layer.count = try file.extent("num_experts", default: layer.count)
    layer.perToken = try file.extent("num_experts_per_tok", default: layer.perToken)
    layer.ffn = try file.extent("moe_intermediate_size", default: layer.ffn)
    layer.renormalises = try file.bool("norm_topk_prob", default: layer.renormalises)
    if let shared = layer.sharedFFN { layer.sharedFFN = try file.extent("shared_expert_intermediate_size", default: shared) }
    _ = try check(layer.perToken, of: layer.count, countKey: "num_experts", file)
    // Blocks that have a dense MLP between those with experts.
    try file.require("decoder_sparse_step", 1)
    if let node = file.optional("mlp_only_layers"), try !node.elements().isEmpty { throw file.unsupported(node, supported: "an empty list") }
    try refuseBalanceLoss(&file)
    return layer
  }

  /// The router's balance loss would be part of the loss. Its weight alone changes nothing.
  private static func refuseBalanceLoss(_ file: inout ConfigurationReader) throws {
    try file.require("output_router_logits", false)
    _ = file.optional("router_aux_loss_coef")
  }

  private static func check(_ perToken: Int, of count: Int, countKey: String, _ file: ConfigurationReader) throws -> Int {
    if perToken > count { throw file.invalid("num_experts_per_tok", found: "\(perToken)", expected: "at most \(countKey), \(count)") }
    return perToken
  }
}
