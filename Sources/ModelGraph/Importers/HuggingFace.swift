// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// Reads a Hugging Face `config.json`. Which architecture it describes is what `model_type` says, never a guess.
package enum HuggingFace {
  /// The architectures that are implemented, by `model_type`, in the order in which messages list them.
  private static let architectures: [(modelType: String, graph: @Sendable (inout ConfigurationReader) throws -> Graph)] = [
    ("gpt2", { try GPT2Configuration(reading: &$0).graph() }),
    ("llama", { try LlamaConfiguration(reading: &$0, family: .llama).graph() }),
    ("mistral", { try LlamaConfiguration(reading: &$0, family: .mistral).graph() }),
    ("qwen2", { try LlamaConfiguration(reading: &$0, family: .qwen2).graph() }),
    ("qwen3", { try LlamaConfiguration(reading: &$0, family: .qwen3).graph() }),
    ("gemma", { try LlamaConfiguration(reading: &$0, family: .gemma).graph() }),
    ("phi3", { try LlamaConfiguration(reading: &$0, family: .phi3).graph() }),
    ("gpt_neox", { try GPTNeoXConfiguration(reading: &$0).graph() }),
    ("opt", { try OPTConfiguration(reading: &$0).graph() }),
    ("bert", { try BertConfiguration(reading: &$0).graph() }),
    ("clip", { try CLIPConfiguration(reading: &$0).graph() }),
    ("vit", { try ViTConfiguration(reading: &$0).graph() }),
    ("mixtral", { try LlamaConfiguration(reading: &$0, family: .mixtral).graph() }),
    ("qwen2_moe", { try LlamaConfiguration(reading: &$0, family: .qwen2MoE).graph() }),
    ("qwen3_moe", { try LlamaConfiguration(reading: &$0, family: .qwen3MoE).graph() }),
  ]

  /// The values of `model_type` that are implemented.
  package static var modelTypes: [String] { architectures.map(\.modelType) }

  /// The graph of a configuration, with the head that its key `architectures` names.
  ///
  /// Keys that are left out have the value that the `transformers` library gives them.
  ///
  /// - Returns: also the extents that are left out, with their values.
  /// - Throws: `ModelError.unsupported` for a model type, a head or a key's value that is not implemented and would change the model's numbers;
  ///   `DocumentError` for a key that is not known, or has a value of another type or range; `ModelError.inconsistent` where the dimensions
  ///   do not fit together. Each names the key's JSON path.
  package static func graph(_ node: Node) throws -> (graph: Graph, defaults: [String]) {
    let modelType = try node.object().node("model_type")
    let name = try modelType.string()
    guard let architecture = architectures.first(where: { $0.modelType == name }) else {
      throw ModelError.unsupported(file: node.file, path: modelType.path, found: "\"\(name)\"", supported: modelTypes.joined(separator: ", "))
    }
    var reader = try ConfigurationReader(node)
    let graph = try architecture.graph(&reader)
    return (graph, reader.defaults)
  }
}
