// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies
import Testing

@testable import Launches

/// Tensor-parallel plans of transformers: published ones, and what is wrong with others.
@Suite struct HuggingFaceTests {
  private func read(_ text: String) throws -> Launch { try HuggingFacePlan.reading(text, file: "plan.json") }

  /// What each operator of the model splits on the tensor axis, in words.
  private func words(_ styles: [ModuleStyle], _ graph: Graph, degree: Int = 2) -> (words: [String: String], findings: [Finding]) {
    let split = StyledSplit(graph, styles, degree: degree, matching: .names)
    var words: [String: String] = [:]
    for op in graph.operators.indices {
      words[graph.operators[op].name] = split.axes[op].map { OperatorRules.rule(for: op, in: graph).iteration[$0].name } ?? "-"
    }
    return (words, split.findings)
  }

  private func block(_ words: [String: String], _ path: String) -> [String] {
    words.filter { $0.key.contains(path) }.sorted { $0.key < $1.key }.map(\.value)
  }

  @Test("A plan as Python has it: a dictionary, or a configuration's class")
  func python() throws {
    let styles = [ModuleStyle("layers.*.self_attn.q_proj", "colwise"), ModuleStyle("layers.*.self_attn.o_proj", "rowwise")]
    let plan = "{\n  'layers.*.self_attn.q_proj': 'colwise',  # heads\n  \"layers.*.self_attn.o_proj\": \"rowwise\",\n}"
    let file = """
      # a configuration
      from transformers import PretrainedConfig


      class MyConfig(PretrainedConfig):
          model_type = "mine"
          base_model_tp_plan = \(plan)
          base_model_pp_plan = {"norm": (["x"], ["y"])}

          def __init__(self, size=3):
              self.size = size
      """
    let named = "{'tp_size': 4, 'tp_plan': \(plan)}"
    for text in [plan, file, named] {
      #expect(LaunchFormat(recognising: text) == .huggingFace)
      #expect(try read(text).styles == styles)
    }
    #expect(try read(named).degrees.tensor == 4 && (try read(plan).leavesTensorOpen))
    // What is neither is refused with its place.
    #expect { try read("{'a': 'colwise'") } throws: { "\($0)".hasPrefix("plan.json:") }
    #expect { try read("class A:\n    base_model_tp_plan = {\"a\": 1 +}") } throws: { "\($0)".hasPrefix("plan.json: line 2: ") }
    #expect { try read("class A:\n    tp_plan = dict(a=1)") } throws: { "\($0)".hasPrefix("plan.json: tp_plan: ") }
    #expect { try read("import this") } throws: { "\($0)".contains("has no tensor-parallel plan") }
  }

  // MARK: - Published plans

  @Test("Llama: attention by heads, the MLP by columns and rows, all else whole")
  func llama() throws {
    let launch = try read(LaunchFixtures.text("tp-plan-llama.json"))
    #expect(launch.leavesTensorOpen && !launch.leavesDataOpen && launch.styles?.count == 7)
    let (words, findings) = words(launch.styles!, try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 2))
    #expect(findings.isEmpty, "\(findings)")
    let expected = [
      "input_layernorm": "-", "self_attn.q_proj": "kv_heads", "self_attn.k_proj": "kv_heads", "self_attn.v_proj": "kv_heads",
      "self_attn.rotary_q": "kv_heads", "self_attn.core": "kv_heads", "self_attn.o_proj": "kv_heads", "self_attn.residual": "-",
      "post_attention_layernorm": "-", "mlp.gate_proj": "ffn", "mlp.act": "ffn", "mlp.multiply": "ffn", "mlp.down_proj": "ffn", "mlp.residual": "-",
    ]
    for (name, axis) in expected { #expect(words["model.layers.{i}.\(name)"] == axis, "\(name)") }
    for name in ["model.embed_tokens", "model.norm", "lm_head", "loss"] { #expect(words[name] == "-", "\(name)") }
  }

  @Test("Published plans go with their models", arguments: ["qwen3", "mixtral", "phi3", "gpt_neox"])
  func published(name: String) throws {
    let launch = try read(LaunchFixtures.text("tp-plan-\(name).json"))
    let graph = try LaunchFixtures.model(name)
    let (words, findings) = words(launch.styles!, graph)
    #expect(findings.isEmpty, "\(findings)")
    // Every product of a layer but routers is split.
    for op in graph.operators.indices where graph.operators[op].kind == .linear || graph.operators[op].kind == .expertLinear {
      let operatorName = graph.operators[op].name
      #expect(
        (words[operatorName] != "-") == (operatorName.contains("{i}") && !operatorName.hasSuffix("moe.gate") && !operatorName.hasSuffix("mlp.gate")),
        "\(operatorName)")
    }
    let attention = graph.operators.first { if case .attention = $0.kind { true } else { false } }!.name
    // Phi-3's fused projections are gathered, so that all devices do the whole attention.
    #expect(words[attention] == (name == "phi3" ? "-" : "kv_heads"))
    let hardware = try Samples.hardware("dgx-a100")
    let job = try LaunchJob(launch, graph: graph, on: hardware, devices: 2, batch: 2, sequence: 8)
    let decision = try job.planned().decision
    #expect(decision.mesh == [2] && job.degrees.tensor == 2 && job.degrees.data == 1)
    for (op, name) in graph.operators.map(\.name).enumerated() {
      let axis = decision.assignments[op][0].map { OperatorRules.rule(for: op, in: decision.graph).iteration[$0].name } ?? "-"
      #expect(axis == words[name], "\(name)")
    }
  }

  @Test("Biases go with their products: cut where the output is, whole where it is added up")
  func biases() throws {
    let styles = try #require(try read(LaunchFixtures.text("tp-plan-llama.json")).styles)
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4, bias: true)
    let (split, findings) = words(styles, graph)
    #expect(findings.isEmpty, "\(findings)")
    #expect(split["model.layers.{i}.self_attn.q_proj.bias"] == "kv_heads" && split["model.layers.{i}.mlp.down_proj.bias"] == "-")
    // A gathered module gathers after its bias.
    let (gathered, _) = words([.init("layers.*.mlp.gate_proj", "colwise_rep")], graph)
    #expect(gathered["model.layers.{i}.mlp.gate_proj.bias"] == "ffn" && gathered["model.layers.{i}.mlp.act"] == "-")
  }

  @Test("Sequence parallelism of norms, split embeddings, and a gathered head")
  func others() throws {
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4)
    let (split, findings) = words(
      [.init("norm", "sequence_parallel"), .init("model.embed_tokens", "embedding_rowwise"), .init("lm_head", "colwise_gather_output")], graph)
    #expect(findings.isEmpty, "\(findings)")
    #expect(split["model.norm"] == "seq" && split["model.embed_tokens"] == "vocab" && split["lm_head"] == "vocab" && split["loss"] == "-")
    let (old, _) = words([.init("model.embed_tokens", "rowwise"), .init("lm_head", "colwise_rep")], graph)
    #expect(old["model.embed_tokens"] == "vocab" && old["lm_head"] == "vocab" && old["loss"] == "-")
  }

  // MARK: - Files

  @Test("A plan stands alone, in a distributed configuration, or in a model's configuration")
  func files() throws {
    let distributed = try read(#"{"tp_size": 4, "tp_plan": {"lm_head": "colwise_rep"}}"#)
    #expect(distributed.degrees.tensor == 4 && distributed.leavesDataOpen && !distributed.leavesTensorOpen)
    let model = try read(
      #"""
      {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 96,
       "intermediate_size": 64, "torch_dtype": "bfloat16", "base_model_tp_plan": {"layers.*.mlp.up_proj": "colwise"}, "tp_plan": {"lm_head": "colwise_rep"}}
      """#)
    #expect(model.graph?.segments.map(\.repeats) == [1, 2, 1] && model.precision == .bf16)
    #expect(model.styles == [.init("lm_head", "colwise_rep"), .init("layers.*.mlp.up_proj", "colwise")])
  }

  @Test("A text without a plan is an error that says so")
  func malformed() {
    for text in [
      "[]", #"{"a": 3}"#, #"{"tp_plan": "auto"}"#, #"{"tp_plan": {"a": null}}"#, #"{"tp_size": 0, "tp_plan": {}}"#, #"{"model_type": "llama"}"#,
    ] {
      #expect(throws: LaunchError.self, "\(text)") { try read(text) }
    }
    #expect(throws: DocumentError.self) { try read("{") }
  }

  // MARK: - Findings

  private static let attention: [ModuleStyle] = ["q_proj", "k_proj", "v_proj"].map { .init("layers.*.self_attn.\($0)", "colwise") }

  /// Styles for a Llama of 4 heads on 2 devices, and one of the findings.
  private static let findings: [([ModuleStyle], Finding.Severity, String, String)] = [
    (attention, .illegal, "model.layers.*.self_attn.o_proj", "model.layers.*.self_attn.q_proj leaves its output split along kv_heads"),
    ([.init("layers.*.self_attn.o_proj", "rowwise")], .illegal, "model.layers.*.self_attn.o_proj", "gives whole ones"),
    ([attention[0]], .illegal, "model.layers.*.self_attn.core", "model.layers.*.self_attn.k_proj whole; give both the same style"),
    ([.init("layers.*.mlp.gate_proj", "colwise")], .illegal, "model.layers.*.mlp.multiply", "model.layers.*.mlp.up_proj whole"),
    (
      [.init("layers.*.mlp.gate_proj", "colwise"), .init("layers.*.mlp.up_proj", "colwise")], .illegal, "model.layers.*.mlp.down_proj",
      "give this module rowwise"
    ),
    ([.init("lm_head", "colwise")], .illegal, "loss", "give that colwise_gather_output"),
    ([.init("embed_tokens", "embedding_colwise")], .illegal, "model.embed_tokens", "the next layer takes it whole"),
    ([.init("layers.*.mlp.up_proj", "sequence_parallel")], .illegal, "model.layers.*.mlp.up_proj", "is no norm"),
    ([.init("layers.*.mlp.up_proj", "columnwise")], .illegal, "layers.*.mlp.up_proj", "no style \"columnwise\"; did you mean \"colwise\"?"),
    ([.init("layers.*.self_attn.oproj", "rowwise")], .doubtful, "layers.*.self_attn.oproj", "did you mean layers.*.self_attn.o_proj?"),
    ([.init("layers.*.mlp.uproj", "colwise")], .doubtful, "layers.*.mlp.uproj", "did you mean layers.*.mlp.up_proj?"),
    ([.init("model.layers.0.mlp.up_proj", "colwise")], .doubtful, "model.layers.0.mlp.up_proj", "write model.layers.*.mlp.up_proj"),
    ([.init("layers.*.mlp.up_proj", "grouped_gemm")], .ignored, "layers.*.mlp.up_proj", "expert parallelism"),
    (
      [
        .init("layers.*.mlp.down_proj", "local_rowwise"), .init("layers.*.mlp.up_proj", "local_colwise"),
        .init("layers.*.mlp.gate_proj", "local_colwise"),
      ], .illegal, "model.layers.*.mlp.down_proj", "partial sums that no module around it adds up"
    ),
  ]

  @Test("Each finding, with the module's name", arguments: findings)
  func finding(styles: [ModuleStyle], severity: Finding.Severity, place: String, text: String) throws {
    let (_, findings) = words(styles, try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4))
    #expect(LaunchFixtures.has(findings, severity, place, text), "\(findings)")
  }

  @Test("A module around local ones adds their results up")
  func container() throws {
    let styles: [ModuleStyle] = [
      .init("layers.*.mlp.down_proj", "local_rowwise"), .init("layers.*.mlp.up_proj", "local_colwise"),
      .init("layers.*.mlp.gate_proj", "local_colwise"),
      .init("layers.*.mlp", "gather"),
    ]
    let (_, findings) = words(styles, try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4))
    #expect(findings.isEmpty, "\(findings)")
  }

  @Test("Heads that the devices cannot share out, tied weights that are cut otherwise, and weights that are stored otherwise")
  func models() throws {
    let llama = try #require(try read(LaunchFixtures.text("tp-plan-llama.json")).styles)
    let few = words(llama, try LaunchFixtures.llama(layers: 2, heads: 8, keyValueHeads: 2), degree: 4).findings
    #expect(LaunchFixtures.has(few, .illegal, "model.layers.*.self_attn.k_proj", "2 key-value heads, which 4 devices cannot share out"), "\(few)")
    let tied = words([.init("lm_head", "colwise_rep")], try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4, isTied: true)).findings
    #expect(LaunchFixtures.has(tied, .illegal, "lm_head", "which is cut otherwise there"), "\(tied)")
    let conv = words([.init("h.*.mlp.c_fc", "colwise"), .init("h.*.mlp.c_proj", "rowwise")], try LaunchFixtures.gpt2(layers: 2)).findings
    #expect(LaunchFixtures.has(conv, .illegal, "transformer.h.*.mlp.c_fc", "is a Conv1D"), "\(conv)")
    let fused = words(
      [.init("layers.*.self_attn.qkv_proj", "colwise"), .init("layers.*.self_attn.o_proj", "rowwise")], try LaunchFixtures.model("phi3")
    ).findings
    #expect(LaunchFixtures.has(fused, .illegal, "model.layers.*.self_attn.qkv_proj", "is stored with others"), "\(fused)")
  }

  @Test("What is written is a distributed configuration")
  func written() throws {
    let graph = try LaunchFixtures.llama(layers: 2, heads: 4, keyValueHeads: 4)
    let hardware = try Samples.hardware("dgx-a100")
    let launch = try read(LaunchFixtures.text("tp-plan-llama.json"))
    let planned = try LaunchJob(launch, graph: graph, on: hardware, devices: 2, batch: 2, sequence: 32).planned()
    let text = try HuggingFacePlan.exporting(Samples.plan(planned, on: hardware))
    let json = try JSON(parsing: text.utf8, file: "plan.json")
    #expect(json["tp_size"] == 2 && json["tp_plan"]?["model.layers.*.self_attn.o_proj"] == "rowwise")
    guard case .object(let plan)? = json["tp_plan"] else { return }
    #expect(plan.members.map(\.key).count == 7)
  }
}
