// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph
import Testing

@testable import Execution

struct UnreadTests {
  private func unread(_ more: [String], by model: GPT2Configuration, in folder: TemporaryDirectory) throws -> [String] {
    let graph = try model.graph()
    var writer = SafetensorsWriter()
    var shapes: [String: [Int]] = [:]
    for (tensor, copy) in graph.parameterSites {
      guard let source = graph.tensors[tensor].parameter else { continue }
      shapes[Graph.name(source.checkpointName, copy: copy)] = source.checkpointShape
    }
    for name in more { shapes[name] = [1] }
    for (name, shape) in shapes.sorted(by: { $0.key < $1.key }) {
      writer.add(name, shape: shape, .float32([Float](repeating: 0, count: shape.reduce(1, *))))
    }
    let path = "\(folder.path)/model.safetensors"
    try writer.write(to: path)
    return try Checkpoint(path: path).unread(by: graph)
  }

  @Test("tensors that a model does not read are named, but for those that say nothing of it")
  func names() throws {
    let folder = try TemporaryDirectory()
    var model = GPT2Configuration()
    (model.layers, model.hidden, model.heads, model.ffn, model.vocabulary, model.positions) = (2, 4, 2, 4, 5, 6)
    let harmless = [
      "lm_head.weight", "transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias", "model.layers.0.self_attn.rotary_emb.inv_freq",
    ]
    #expect(try unread(harmless, by: model, in: folder) == [])
    #expect(try unread(harmless + ["score.weight"], by: model, in: folder) == ["score.weight"])
    model.layers = 1
    let unread = try Checkpoint(path: folder.path).unread(by: try model.graph())
    #expect(unread.count == 13 && unread[0] == "score.weight" && unread.dropFirst().allSatisfy { $0.hasPrefix("transformer.h.1.") })
  }
}
