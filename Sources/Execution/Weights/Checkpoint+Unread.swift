// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

extension Checkpoint {
  /// Buffers that models of the library compute themselves, and that files of theirs may hold: causal masks, rotary frequencies, numbers of positions,
  /// how many batches a norm has seen; and the second name of BERT's output bias.
  private static let buffers = [
    "attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias", "rotary_emb.inv_freq", "position_ids", "relative_position_index",
    "num_batches_tracked", "predictions.decoder.bias",
  ]

  /// The tensors that a model does not read, in order of name, but for those that say nothing of what the file is of.
  package func unread(by graph: Graph) -> [String] {
    if isModel { return [] }
    let stored = graph.storedParameters
    let read = Set(stored.map { ParameterValues.storedName(of: $0.name, in: self) })
    // A tied weight may be stored once more under the name that it would have if it were not.
    let tied = Set(stored.flatMap(\.readers).map { $0 + ".weight" })
    return names.filter { name in
      !read.contains(name) && !tied.contains(name) && !Self.buffers.contains { name == $0 || name.hasSuffix(".\($0)") }
    }
  }
}

extension Graph {
  /// Every stored tensor of which the model reads a part, and the operators that read it.
  fileprivate var storedParameters: [(name: String, readers: [String])] {
    parameterSites.flatMap { tensor, copy -> [(name: String, readers: [String])] in
      guard let parameter = tensors[tensor].parameter else { return [] }
      let readers = consumers[tensor].map { Graph.name(operators[$0.op].name, copy: copy) }
      let elements = parameter.isStacked ? (0..<shape(tensor)[0]).map(parameter.element) : [parameter]
      return elements.map { (Graph.name($0.checkpointName, copy: copy), readers) }
    }
  }
}
