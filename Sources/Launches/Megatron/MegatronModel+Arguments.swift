// SPDX-License-Identifier: GPL-3.0-or-later

extension MegatronModel {
  /// Options that describe an architecture; where none is given, none is described.
  static let options = ["--num-layers", "--hidden-size", "--num-attention-heads", "--ffn-hidden-size", "--max-position-embeddings"]

  /// Those without a default.
  static let required = ["--num-layers", "--hidden-size", "--num-attention-heads", "--max-position-embeddings"]

  /// The vocabulary of GPT-2's tokenizer (Radford et al. 2019), which `--merge-file` is a part of.
  static let vocabularyOfGPT2 = 50257
  /// Of Llama 2's (Touvron et al. 2023).
  static let vocabularyOfLlama2 = 32000

  /// By parts of the names under which tokenizers are published (the models' `config.json` on Hugging Face).
  static let vocabulariesByName = [
    (name: "llama-3", size: 128256, model: "Llama 3"), (name: "llama-2", size: vocabularyOfLlama2, model: "Llama 2"),
    (name: "mixtral-8x7b", size: 32000, model: "Mixtral 8x7B"), (name: "mistral-7b-v0.1", size: 32000, model: "Mistral 7B"),
  ]

  /// The architecture of a command line.
  ///
  /// - Parameter tensor: the tensor-parallel degree, of which the vocabulary is padded to a multiple.
  /// - Throws: `Unknown` where a part of it is missing or beyond what importers build.
  init(_ arguments: inout MegatronArguments, tensor: Int) throws {
    for (flag, what) in MegatronFlags.beyondModels where arguments.has(flag) {
      throw Unknown(reason: "\(flag): no importer builds \(what); name a model with --model")
    }
    guard let layers = arguments.int("--num-layers", atMost: 1 << 14), let hidden = arguments.int("--hidden-size", atMost: Self.mostExtent),
      let heads = arguments.int("--num-attention-heads", atMost: Self.mostExtent)
    else { throw Unknown(reason: "--num-layers, --hidden-size and --num-attention-heads are needed together; or name a model with --model") }
    let given = arguments.int("--max-position-embeddings", atMost: Self.mostExtent)
    guard let positions = given ?? arguments.int("--seq-length", atMost: Self.mostExtent) else {
      throw Unknown(reason: "--max-position-embeddings is missing")
    }
    self.init(
      layers: layers, hidden: hidden, heads: heads, positions: positions, vocabulary: try Self.vocabulary(&arguments, tensor: tensor))
    if let size = arguments.int("--kv-channels", atMost: Self.mostExtent) {
      headSize = size
    } else if hidden % heads != 0 {
      throw Unknown(reason: "--num-attention-heads \(heads) does not divide --hidden-size \(hidden)")
    }
    readMLP(&arguments)
    readNorms(&arguments)
    if arguments.has("--group-query-attention") { keyValueHeads = arguments.int("--num-query-groups", atMost: Self.mostExtent) ?? 1 }
    guard heads % keyValueHeads == 0 else {
      throw Unknown(reason: "--num-query-groups \(keyValueHeads) does not divide --num-attention-heads \(heads)")
    }
    try readPositions(&arguments)
    tiesEmbeddings = !arguments.has("--untie-embeddings-and-output-weights")
    hasBias = !arguments.has("--disable-bias-linear")
    hasQueryKeyValueBias = hasBias || arguments.has("--add-qkv-bias")
    attentionDropout = arguments.double("--attention-dropout", { 0..<1 ~= $0 }, "a probability below 1") ?? 0.1
    hiddenDropout = arguments.double("--hidden-dropout", { 0..<1 ~= $0 }, "a probability below 1") ?? 0.1
    try readExperts(&arguments)
  }

  private static let mostExtent = 1 << 30

  /// Padded to a multiple of `--make-vocab-size-divisible-by` times the tensor-parallel degree. A multiple of the degree alone adds nothing to the largest
  /// part of the vocabulary, which is what counts: then it stays as it is.
  private static func vocabulary(_ arguments: inout MegatronArguments, tensor: Int) throws -> Int {
    if let padded = arguments.int("--padded-vocab-size", atMost: mostExtent) { return padded }
    let tokenizer = arguments.text("--tokenizer-type")
    let usual = usualVocabulary(tokenizer, arguments)
    if let usual, !arguments.has("--vocab-size") {
      arguments.find(.ignored, "--vocab-size", "is left out; taken for \(usual.size), the tokens of \(usual.model)'s tokenizer")
    }
    guard let size = arguments.int("--vocab-size", atMost: mostExtent) ?? usual?.size else {
      throw Unknown(reason: "--vocab-size is missing, and the tokenizer is not known to tell it; add it to the launch, or name a model with --model")
    }
    let multiple = arguments.int("--make-vocab-size-divisible-by", atMost: 1 << 20) ?? 128
    if multiple == 1 { return size }
    let step = multiple * tensor
    return (size + step - 1) / step * step
  }

  /// The vocabulary that a tokenizer is known to have, by its kind or its name.
  private static func usualVocabulary(_ tokenizer: String?, _ arguments: MegatronArguments) -> (size: Int, model: String)? {
    if tokenizer == "GPT2BPETokenizer" || (tokenizer == nil && arguments.has("--merge-file")) { return (vocabularyOfGPT2, "GPT-2") }
    if tokenizer == "Llama2Tokenizer" { return (vocabularyOfLlama2, "Llama 2") }
    guard let name = arguments.text("--tokenizer-model")?.lowercased() else { return nil }
    return vocabulariesByName.first { name.contains($0.name) }.map { ($0.size, $0.model) }
  }

  private mutating func readMLP(_ arguments: inout MegatronArguments) {
    if arguments.has("--swiglu") { activation = .swiglu } else if arguments.has("--squared-relu") { activation = .squaredRelu }
    // As many parameters with three products as with two, in multiples of 64.
    let usual = activation == .swiglu ? 4 * hidden * 2 / 3 / 64 * 64 : 4 * hidden
    ffn = arguments.int("--ffn-hidden-size", atMost: Self.mostExtent) ?? max(1, usual)
  }

  private mutating func readNorms(_ arguments: inout MegatronArguments) {
    isRMS = arguments.choice("--normalization", ["LayerNorm", "RMSNorm"]) == "RMSNorm"
    let name = arguments.has("--layernorm-epsilon") ? "--layernorm-epsilon" : "--norm-epsilon"
    epsilon = arguments.double(name, { $0 > 0 }, "a number above 0") ?? 1e-5
    normalisesQueriesAndKeys = arguments.has("--qk-layernorm")
  }

  private mutating func readPositions(_ arguments: inout MegatronArguments) throws {
    let kinds = ["learned_absolute", "rope", "yarn", "mrope", "relative", "none"]
    let kind = arguments.choice("--position-embedding-type", kinds) ?? "learned_absolute"
    isRotary = kind == "rope" || arguments.has("--use-rotary-position-embeddings")
    if !isRotary, kind != "learned_absolute" { throw Unknown(reason: "no importer builds positions of the type \(kind); name a model with --model") }
    rotaryBase = arguments.int("--rotary-base", atMost: 1 << 50) ?? rotaryBase
    rotaryShare = arguments.double("--rotary-percent", { $0 > 0 && $0 <= 1 }, "a part above 0 and at most 1") ?? 1
    if arguments.has("--use-rope-scaling") { rotaryScaling = arguments.double("--rope-scaling-factor", { $0 > 0 }, "a number above 0") ?? 8 }
  }

  private mutating func readExperts(_ arguments: inout MegatronArguments) throws {
    guard let count = arguments.int("--num-experts", atLeast: 0, atMost: 1 << 20), count > 0 else { return }
    if let frequency = arguments.text("--moe-layer-freq"), frequency != "1" {
      throw Unknown(reason: "--moe-layer-freq \(frequency): no importer builds layers with and without experts; name a model with --model")
    }
    let shared = arguments.int("--moe-shared-expert-intermediate-size", atMost: Self.mostExtent)
    if shared != nil, !arguments.has("--moe-shared-expert-gate") {
      throw Unknown(reason: "no importer builds a shared expert without a gate (--moe-shared-expert-gate); name a model with --model")
    }
    let perToken = arguments.int("--moe-router-topk", atMost: 1 << 20) ?? 2
    guard perToken <= count else { throw Unknown(reason: "--moe-router-topk \(perToken) is more than --num-experts \(count)") }
    let width = arguments.int("--moe-ffn-hidden-size", atMost: Self.mostExtent)
    experts = Experts(count: count, perToken: perToken, ffn: width ?? ffn, hasOwnWidth: width != nil, sharedFFN: shared)
  }
}
