// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans

extension MegatronModel {
  /// The architecture of a plan's model, where options describe it in full: what they build is the plan's model.
  init?(of decision: Decision) {
    let graph = decision.graph
    let layers = graph.segments.indices.filter { graph.holdsLayers($0) }
    func extent(_ name: String) -> Int? { graph.axes.first { $0.name == name }?.extent }
    guard let first = layers.first, let hidden = extent("hidden"), let heads = extent("kv_heads"), let queries = extent("queries"),
      let size = extent("head_dim"), let vocabulary = extent("vocab"), let ffn = extent("ffn"), let positions = graph.maximumSequence
    else { return nil }
    self.init(
      layers: layers.reduce(0) { $0 + graph.segments[$1].repeats }, hidden: hidden, heads: heads * queries, positions: positions,
      vocabulary: vocabulary)
    (keyValueHeads, headSize, self.ffn) = (heads, size, ffn)
    readOperators(graph)
    if let count = graph.axes.first(where: { $0.role == .experts })?.extent, let routes = extent("routes") {
      let isMixtral = graph.operators.contains { $0.name.contains("block_sparse_moe") }
      experts = Experts(count: count, perToken: routes / 2, ffn: ffn, hasOwnWidth: !isMixtral, sharedFFN: extent("shared_ffn"))
    }
    let parts = layers.map { graph.segments[$0].repeats }
    guard var built = try? self.graph(name: graph.name, workload: graph.workload), built.segments.indices.contains(first) else { return nil }
    if parts.count > 1, built.segments[first].repeats == parts.reduce(0, +) { built = built.dividing(first, into: parts).graph }
    if built.sized(batch: decision.job.batch / decision.job.microBatches, sequence: decision.job.sequence) != graph { return nil }
  }

  private mutating func readOperators(_ graph: Graph) {
    (isRMS, isRotary, hasBias, hasQueryKeyValueBias, attentionDropout, hiddenDropout) = (false, false, false, false, 0, 0)
    for op in graph.operators {
      switch op.kind {
      case .rmsNorm(let epsilon, _): (isRMS, self.epsilon) = (true, epsilon)
      case .layerNorm(let epsilon): self.epsilon = epsilon
      case .rotary(let parameters):
        isRotary = true
        rotaryBase = Int(exactly: parameters.base.rounded()) ?? rotaryBase
        rotaryShare = parameters.rotated.map { Double($0) / Double(headSize) } ?? 1
      case .activation(.silu): activation = .swiglu
      case .activation(.squaredRelu): activation = .squaredRelu
      case .dropout(let probability): hiddenDropout = probability
      case .attention(_, let dropout): attentionDropout = dropout
      case .bias:
        if ["q_proj", "k_proj", "v_proj"].contains(where: op.name.contains) { hasQueryKeyValueBias = true } else { hasBias = true }
      default: break
      }
      if op.name.hasSuffix("q_norm") { normalisesQueriesAndKeys = true }
    }
    hasQueryKeyValueBias = hasQueryKeyValueBias || hasBias
    // A table that is read twice is the head's too.
    tiesEmbeddings = graph.tensors.indices.contains { graph.tensors[$0].isParameter && graph.consumers[$0].count > 1 }
  }

  /// The options that describe it.
  var flags: [String] {
    var flags = [
      "--num-layers \(layers)", "--hidden-size \(hidden)", "--ffn-hidden-size \(ffn)", "--num-attention-heads \(heads)",
      "--kv-channels \(headSize)", "--max-position-embeddings \(positions)", "--vocab-size \(vocabulary)", "--make-vocab-size-divisible-by 1",
      "--normalization \(isRMS ? "RMSNorm" : "LayerNorm")", "--norm-epsilon \(epsilon)",
      "--position-embedding-type \(isRotary ? "rope" : "learned_absolute")", "--attention-dropout \(attentionDropout)",
      "--hidden-dropout \(hiddenDropout)",
    ]
    if keyValueHeads != heads { flags.append("--group-query-attention --num-query-groups \(keyValueHeads)") }
    if isRotary { flags.append("--rotary-base \(rotaryBase)" + (rotaryShare < 1 ? " --rotary-percent \(rotaryShare)" : "")) }
    switch activation {
    case .gelu: break
    case .squaredRelu: flags.append("--squared-relu")
    case .swiglu: flags.append("--swiglu")
    }
    if !tiesEmbeddings { flags.append("--untie-embeddings-and-output-weights") }
    if !hasBias { flags.append("--disable-bias-linear" + (hasQueryKeyValueBias ? " --add-qkv-bias" : "")) }
    if normalisesQueriesAndKeys { flags.append("--qk-layernorm") }
    if let experts {
      flags.append("--num-experts \(experts.count) --moe-router-topk \(experts.perToken)")
      if experts.hasOwnWidth { flags.append("--moe-ffn-hidden-size \(experts.ffn)") }
      if let shared = experts.sharedFFN { flags.append("--moe-shared-expert-intermediate-size \(shared) --moe-shared-expert-gate") }
    }
    return flags
  }
}
