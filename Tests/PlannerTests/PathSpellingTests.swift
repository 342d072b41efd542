// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Planner

/// What is suggested for a name that no operator has.
@Suite struct PathSpellingTests {
  @Test(
    "Near misses, part by part",
    arguments: [
      ("gpt2", "transfomer.h.*.mlp.cfc", ["transformer.h.{i}.mlp.c_fc"]), ("gpt2", "mlp.cfc", ["transformer.h.{i}.mlp.c_fc"]),
      ("gpt2", "c_proj", ["transformer.h.{i}.attn.c_proj", "transformer.h.{i}.mlp.c_proj"]), ("gpt2", "*.mpl.c_fc", ["transformer.h.{i}.mlp.c_fc"]),
      ("gpt2", "h.*.attn.cattn.q", ["transformer.h.{i}.attn.c_attn.q"]), ("gpt2", "wte", ["transformer.wte"]), ("gpt2", "lmhead", ["lm_head"]),
      ("gpt2", "foo", []), ("gpt2", "*", []), ("gpt2", "", []), ("llama-3-8b", "model.layers.0.mlp.up", ["model.layers.{i}.mlp.up_proj"]),
      ("llama-3-8b", "layers.*.self_attn.q", ["model.layers.{i}.self_attn.q_proj"]),
      ("llama-3-8b", "attn.q_proj", ["model.layers.{i}.self_attn.q_proj"]),
    ])
  func suggestions(model: String, typed: String, expected: [String]) throws {
    let request = try Shipped.request(model, on: Shipped.hardware("dgx-a100"), devices: 1, batch: 1, sequence: 64)
    #expect(request.graph.operatorNames(like: typed) == expected)
  }
}
