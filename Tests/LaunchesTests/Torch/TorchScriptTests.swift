// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import Planner
import Plans
import Strategies
import TestSupport
import Testing

@testable import Launches

/// What `export --to torch` writes. That the scripts compute what plans do is tried by `make check-export`, with PyTorch.
@Suite struct TorchScriptTests {
  // MARK: - Golden

  @Test("Golden: the script of a plan (TPPLAN_RECORD=1 writes it again)", arguments: ["gpt2", "llama"])
  func golden(model: String) throws {
    let plan = try TorchModels.plan(model == "gpt2" ? TorchModels.gpt2 : TorchModels.llama) { ($0.tensor, $0.isSequenceParallel) = (2, true) }
    let text = try TorchScript.exporting(plan)
    let path = "\(TorchModels.packageFolder)/Tests/LaunchesTests/Golden/\(model)-tp2-sp.py"
    if ProcessInfo.processInfo.environment["TPPLAN_RECORD"] == "1" { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
    #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
  }

  // MARK: - Round trip

  @Test("Plans of given degrees that are exported and read again are the same", arguments: 0..<28)
  func degrees(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    let model = TorchModels.all[seed % TorchModels.all.count]
    let plan = try TorchModels.plan(model, batch: 8) {
      // Of Llama more ranks than key-value heads would be two mesh axes.
      $0.tensor = random.pick(seed % TorchModels.all.count == 1 ? [1, 2] : [1, 2, 4])
      $0.data = random.pick([1, 2, 4])
      // A picture's patches and its class token are no even number.
      $0.isSequenceParallel = $0.tensor > 1 && seed % TorchModels.all.count < 6 && random.chance(0.5)
      $0.zero = random.pick(ZeROStage.allCases)
      $0.recompute = random.pick([.none, .full, .selective])
      $0.microBatchSize = random.pick([nil, 1])
    }
    #expect(try TorchModels.again(plan, model).equalsAlone(plan.decision))
  }

  @Test(
    "Plans that a search finds on one axis are refused with an operator, or are the same when they are exported and read again", arguments: 0..<14)
  func searched(seed: Int) throws {
    let model = TorchModels.all[seed % TorchModels.all.count]
    var request = try TorchModels.request(model, devices: seed < 7 ? 2 : 4, batch: 8)
    (request.pipelineDegree, request.mesh, request.shares, request.isZigzag) = (1, [request.cluster.deviceCount], [], false)
    (request.recompute, request.layersMayDiffer) = (Recompute.none, false)
    // Left alone, the search would not split so small a model.
    request.constraints = [try StrategyConstraint(parsing: "*=replicate", isForbidden: true)].filter { _ in seed % 2 == 0 }
    let plan = try TorchModels.plan(request)
    do {
      #expect(try TorchModels.again(plan, model).equalsAlone(plan.decision))
    } catch let refusal as Inexpressible {
      #expect(plan.decision.graph.operators.contains { $0.name == refusal.place }, "\(refusal)")
    }
  }

  @Test(
    "Plans in which some operators are split otherwise are refused with an operator, or are the same when they are exported and read again",
    arguments: 0..<6)
  func mixed(seed: Int) throws {
    var random = SeededGenerator(seed: 200 + seed)
    var same = 0
    for number in 0..<12 {
      let model = TorchModels.all[(seed + number) % 6]
      let first = try TorchModels.plan(model, batch: 8) {
        ($0.tensor, $0.data, $0.isSequenceParallel) = (2, random.pick([1, 2]), random.chance(0.5))
      }
      var request = try TorchModels.request(model, devices: first.decision.ranks, batch: 8)
      (request.pipelineDegree, request.mesh, request.microBatches, request.shares) = (1, first.decision.mesh, 1, [])
      (request.recompute, request.layersMayDiffer, request.isZigzag) = (Recompute.none, false, false)
      request.zero = random.pick([nil, ZeROStage.none, .gradients, .weights])
      var assignments = first.decision.assignments
      let (graph, mesh) = (first.decision.graph, first.decision.mesh)
      for _ in 0..<random.int(1...3) {
        let op = random.int(0...assignments.count - 1)
        let others = Strategy.all(for: OperatorRules.rule(for: op, in: graph), mesh: mesh).map(\.assignment)
          .filter { $0.dropLast() == assignments[op].dropLast() }
        assignments[op] = random.pick(others)
      }
      for (op, assignment) in assignments.enumerated() {
        let rule = OperatorRules.rule(for: op, in: graph)
        request.constraints.append(.init(operator: graph.operators[op].name, strategy: Strategy(assignment: assignment, rule: rule), rule: rule))
      }
      guard case .planned = try Planner.search(request) else { continue }
      let plan = try TorchModels.plan(request)
      do {
        #expect(try TorchModels.again(plan, model).equalsAlone(plan.decision))
        same += 1
      } catch let refusal as Inexpressible {
        #expect(graph.operators.contains { $0.name == refusal.place }, "\(refusal)")
      }
    }
    #expect(same >= 3)
  }

  @Test("Rows of positions that are gathered for an addition owe their gradients; what a script was priced with holds for its optimum too")
  func positionsAndOverlap() throws {
    var request = try TorchModels.request(TorchModels.gpt2, devices: 2, batch: 8)
    (request.pipelineDegree, request.mesh, request.microBatches, request.shares) = (1, [2], 1, [])
    (request.recompute, request.layersMayDiffer, request.zero) = (Recompute.none, false, .weights)
    request.software.overlap = .weights
    for text in ["transformer.wte=data", "transformer.wpe=sequence", "transformer.wpe.add=data", "transformer.h.*=data"] {
      request.constraints.append(try StrategyConstraint(parsing: text, isForbidden: false))
    }
    let plan = try TorchModels.plan(request)
    let text = try TorchScript.exporting(plan)
    let style =
      "PrepareModuleInputOutput(input_layouts=(Shard(0), Shard(0)), desired_input_layouts=(Shard(0), Replicate()), output_layouts=Shard(0), "
      + "desired_output_layouts=Shard(0))"
    #expect(text.contains(#""transformer.wpe.add": Op("data", \#(style)),"#) && text.contains("PrepareModuleInputOutput,"))
    #expect(try TorchModels.again(plan, TorchModels.gpt2).equalsAlone(plan.decision))
    let job = try LaunchJob(TorchScript.reading(text).launch, graph: TorchModels.graph(TorchModels.gpt2), on: TorchModels.hardware.get())
    #expect(job.request.software == plan.decision.job.software && job.request.software.overlap == .weights)
  }

  @Test("Layers of two kinds are two parts, and are read as such")
  func kinds() throws {
    let plan = try TorchModels.plan(TorchModels.gpt2) { ($0.tensor, $0.data, $0.recompute, $0.recomputedLayers) = (2, 2, .full, 1) }
    #expect(plan.decision.graph.segments.count == 4)
    let text = try TorchScript.exporting(plan)
    #expect(text.contains(#"Part("block", "transformer.h.{i}", copies=1, recompute="full")"#))
    #expect(text.contains(#"Part("block+1", "transformer.h.{i}", first=1, copies=2)"#))
    #expect(text.contains("class Layer(Graph)") && !text.contains("class Layer2(Graph)"))
    #expect(try TorchModels.again(plan, TorchModels.gpt2).equalsAlone(plan.decision))
  }

  // MARK: - What the tables say

  @Test("Sequence parallelism is torch's styles: products by columns read what is gathered once for all of them")
  func styles() throws {
    let read = try TorchScript.reading(
      try TorchScript.exporting(TorchModels.plan(TorchModels.llama) { ($0.tensor, $0.isSequenceParallel) = (2, true) }))
    func style(_ row: String) -> String? { read.parts[1].rows.first { $0.name == row }?.style?.description }
    #expect(style("input_layernorm") == "SequenceParallel(use_local_output=True)")
    #expect(
      style("shared.input_layernorm")
        == "PrepareModuleOutput(output_layouts=Shard(1), desired_output_layouts=Replicate(), use_local_output=False)")
    #expect(style("self_attn.q_proj") == "ColwiseParallel()" && style("self_attn.core") == nil)
    #expect(style("self_attn.o_proj") == "RowwiseParallel(output_layouts=Shard(1))")
    #expect(read.parts[2].rows.map(\.name) == ["model.norm", "lm_head", "loss"])
    #expect(
      read.parts[2].rows[1].style?.description == "ColwiseParallel(input_layouts=Shard(1), use_local_output=False)")
  }

  @Test("A row that was changed by hand is found")
  func changedRow() throws {
    let plan = try TorchModels.plan(TorchModels.llama) { ($0.tensor, $0.data) = (2, 2) }
    let row = #""mlp.down_proj": Op("row", RowwiseParallel("#
    let text = try TorchScript.exporting(plan).replacing(row, with: row + "output_layouts=Shard(1)")
    let read = try TorchScript.reading(text)
    let findings = try read.findings(against: plan.decision)
    #expect(findings.count == 1 && findings[0].severity == .illegal)
    #expect(findings.first?.place == #"PLAN["block"]["mlp.down_proj"]"#)
  }

  @Test("What is changed or missing below the tables is named by its line")
  func changedBelow() throws {
    let plan = try TorchModels.plan(TorchModels.llama) { $0.tensor = 2 }
    let lines = try TorchScript.exporting(plan).split(separator: "\n", omittingEmptySubsequences: false)
    func finding(_ lines: some Sequence<Substring>) throws -> [Finding] {
      try TorchScript.reading(lines.joined(separator: "\n")).findings(against: plan.decision)
    }
    var changed = lines
    let place = lines.count - 20
    changed[place] += "  # mine"
    #expect(try finding(changed).map(\.place) == ["line \(place + 1)"])
    let cut = try finding(lines.dropLast(30))
    #expect(cut.map(\.severity) == [.doubtful] && cut.first?.place == "line \(lines.count - 30)")
  }

  // MARK: - Refusals

  private func refusal(_ plan: Plan) -> Inexpressible? {
    do {
      _ = try TorchScript.exporting(plan)
      return nil
    } catch { return error as? Inexpressible }
  }

  @Test("What PyTorch's styles cannot do is refused by name")
  func refusals() throws {
    let meshes = try #require(
      refusal(TorchModels.plan(TorchModels.gpt2) { ($0.pipeline, $0.tensor, $0.stageMeshes, $0.microBatchSize) = (2, 2, [[1, 2], [2, 1]], 2) }))
    #expect(meshes.place == "stage 1" && meshes.reason.contains("a mesh of 2x1"))
    let experts = try #require(refusal(TorchModels.plan(TorchModels.mixtral) { $0.data = 2 }))
    #expect(experts.place == "model.layers.{i}.block_sparse_moe.gate.route" || experts.place.hasPrefix("model.layers.{i}.block_sparse_moe"))
    let context = try #require(refusal(TorchModels.plan(TorchModels.llama) { ($0.context, $0.contextWay) = (2, .ring) }))
    #expect(context.place == "model.layers.{i}.self_attn.core")
    let queries = try #require(refusal(TorchModels.plan(TorchModels.llama) { $0.tensor = 4 }))
    #expect(queries.place.hasPrefix("model.layers.{i}.") || queries.place.hasPrefix("model.embed_tokens"))
    let gathered = try #require(
      refusal(TorchModels.plan(TorchModels.gpt2) { ($0.tensor, $0.isSequenceParallel, $0.recompute) = (2, true, .gathered) }))
    #expect(gathered.place == "transformer.h.0")
    let parts = try #require(refusal(TorchModels.plan(TorchModels.vit) { ($0.tensor, $0.isSequenceParallel) = (2, true) }))
    #expect(parts.place.hasPrefix("vit.") && parts.reason.contains("17 of seq"))
  }

  @Test("Logits that a product sums and the loss splits have to have an even vocabulary", arguments: [61, 62])
  func logits(vocabulary: Int) throws {
    let model: JSON = [
      "name": "tiny-llama", "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "intermediate_size": 48, "vocab_size": .int(vocabulary), "max_position_embeddings": 16, "tie_word_embeddings": false,
    ]
    func refusal(of head: String) throws -> Inexpressible? {
      var request = try TorchModels.request(model, devices: 2, batch: 8)
      (request.pipelineDegree, request.mesh, request.shares, request.isZigzag) = (1, [2], [], false)
      request.constraints = try ["lm_head=\(head)", "loss=vocab"].map { try StrategyConstraint(parsing: $0, isForbidden: false) }
      return try self.refusal(TorchModels.plan(request))
    }
    let refused = try refusal(of: "row")
    #expect(refused?.place == (vocabulary == 62 ? nil : "loss"))
    #expect(refused?.reason.contains("shares 61 of vocab out over 2 ranks") ?? true)
    // What a product by columns makes is a DTensor, which knows its parts.
    #expect(try refusal(of: "vocab") == nil)
  }

  @Test("A bias and its product of two ZeRO stages are refused by the bias, for one module has both")
  func biases() throws {
    var decision = try TorchModels.plan(TorchModels.gpt2) { ($0.data, $0.zero) = (2, .gradients) }.decision
    let bias = try #require(decision.graph.operators.firstIndex { $0.name == "transformer.h.{i}.mlp.c_fc.bias" })
    decision.zero[bias] = .weights
    let refused = #expect(throws: Inexpressible.self) { _ = try TorchScript.exporting(decision) }
    #expect(refused?.place == "transformer.h.{i}.mlp.c_fc.bias" && refused?.reason.contains("ZeRO stage 3 and its product 2") ?? false)
    decision.zero[bias] = .none
    let read = try TorchScript.reading(TorchScript.exporting(decision))
    #expect(read.parts[1].rows.filter { $0.name.hasPrefix("mlp.c_fc") }.map(\.zero) == [.gradients, .none])
  }

  @Test("Files that are no such scripts are refused with the line or the table")
  func unreadable() throws {
    func problem(_ text: String) -> LaunchError? {
      do {
        _ = try TorchScript.reading(text, file: "train.py")
        return nil
      } catch { return error as? LaunchError }
    }
    #expect(problem("print(1)")?.problem.contains("jobs of torchtitan are read as TOML") ?? false)
    #expect(problem("JOB = {}")?.place == "MESH")
    #expect(problem("MESH = {\"dp\": 2,\n  tp: 2}")?.place == "line 2")
    #expect(problem("MESH = {\"dp\": 0}\n")?.place == "MESH[\"dp\"]")
    let text = try TorchScript.exporting(TorchModels.plan(TorchModels.gpt2) { $0.tensor = 2 })
    #expect(problem(text) == nil)
    #expect(problem(text.replacing("\"optimizer\": \"adamw\"", with: "\"optimizer\": \"lion\""))?.place == "JOB[\"optimizer\"]")
    #expect(problem(text.replacing("\"block\": {", with: "\"blocks\": {"))?.place == "PLAN[\"block\"]")
    let other = try TorchScript.reading(text)
    #expect(throws: LaunchError.self) {
      _ = try other.request(for: TorchModels.graph(TorchModels.llama), on: TorchModels.hardware.get().cluster(devices: 2))
    }
  }

  @Test("Tables whose numbers a script cannot carry out are refused")
  func counts() throws {
    let text = try TorchScript.exporting(TorchModels.plan(TorchModels.gpt2) { ($0.tensor, $0.data) = (2, 2) })
    for (own, other, place) in [
      (#""micro_batches": 1"#, #""micro_batches": 4"#, "JOB"), (#""batch": 4"#, #""batch": 3"#, "JOB"),
      (#""batch": 4, "micro_batches": 1"#, #""batch": 9223372036854775807, "micro_batches": 9223372036854775807"#, #"JOB["batch"]"#),
      (#""dp": 2, "tp": 2"#, #""a": 1048576, "b": 1048576, "c": 1048576, "tp": 1048576"#, "JOB"), ("copies=3", "copies=0", "PARTS[1]"),
    ] {
      #expect(text.contains(own))
      let refused = #expect(throws: LaunchError.self) { _ = try TorchScript.reading(text.replacing(own, with: other)) }
      #expect(refused?.place == place, "\(other): \(refused?.description ?? "")")
    }
  }

  @Test("A batch and a sequence that are given go before the script's, in its plan too")
  func given() throws {
    let plan = try TorchModels.plan(TorchModels.gpt2, batch: 8) { ($0.tensor, $0.data, $0.microBatchSize) = (2, 2, 2) }
    let launch = try TorchScript.reading(TorchScript.exporting(plan)).launch
    func job(_ batch: Int?, _ sequence: Int?) throws -> LaunchJob {
      try LaunchJob(launch, graph: TorchModels.graph(TorchModels.gpt2), on: plan.hardware, batch: batch, sequence: sequence, isModelGiven: true)
    }
    #expect(try job(nil, nil).planned().decision == plan.decision && job(nil, nil).degrees.microBatchSize == 2)
    let other = try job(16, 8).planned().decision.job
    #expect(other.batch == 16 && other.sequence == 8 && other.microBatches == 2)
    #expect(throws: PlannerError.self) { try job(6, nil) }
  }

  @Test("A model's name does not go on behind the comment that has it")
  func nameOfLines() throws {
    guard case .object(var model) = TorchModels.gpt2 else { return }
    model["name"] = "a\"\nb"
    let plan = try TorchModels.plan(.object(model)) { $0.data = 2 }
    #expect(try TorchScript.exporting(plan).contains("\"\"\"a b on 2 ranks"))
    #expect(try MegatronLaunch.exporting(plan).contains("\n# a\" b on 2 devices"))
    #expect("a\u{0}\r\nb".onOneLine == "a   b")
  }

  @Test("Operators of any name have variables of their own, and are refused where torch's modules have such an attribute")
  func names() throws {
    func script(_ module: String, _ first: String, _ second: String) throws -> String {
      func weight(_ name: String, _ axes: JSON) -> JSON { [["name": .string(name + ".weight"), "axes": axes]] }
      let layer = "\(module).{i}."
      let model: JSON = [
        "format": "tpplan/model/1", "name": "odd", "workload": ["batch": 4, "sequence": 16], "maximum_sequence": 16,
        "axes": [
          ["name": "batch", "role": "batch"], ["name": "seq", "role": "sequence"], ["name": "vocab", "extent": 64, "role": "vocabulary"],
          ["name": "hidden", "extent": 32, "role": "feature"], ["name": "ffn", "extent": 64, "role": "feature"],
        ],
        "inputs": [["name": "input_ids", "axes": ["batch", "seq"]], ["name": "labels", "axes": ["batch", "seq"]]],
        "segments": [
          [
            "name": "embedding",
            "operators": [["name": "emb", "op": "embedding", "in": ["input_ids"], "weights": weight("emb", ["vocab", "hidden"])]],
            "exits": ["emb"],
          ],
          [
            "name": "block", "repeats": 2, "entries": [["name": .string(layer + "in"), "axes": ["batch", "seq", "hidden"]]],
            "operators": [
              ["name": .string(layer + first), "op": "linear", "in": [.string(layer + "in")], "weights": weight(layer + first, ["ffn", "hidden"])],
              [
                "name": .string(layer + second), "op": "linear", "in": [.string(layer + first)],
                "weights": weight(layer + second, ["hidden", "ffn"]),
              ],
              ["name": .string(layer + "res"), "op": "add", "in": [.string(layer + "in"), .string(layer + second)]],
            ],
            "exits": [.string(layer + "res")],
          ],
          [
            "name": "head", "entries": [["name": "head.in", "axes": ["batch", "seq", "hidden"]]],
            "operators": [
              ["name": "head", "op": "linear", "in": ["head.in"], "weights": weight("head", ["vocab", "hidden"])],
              ["name": "loss", "op": "cross_entropy", "in": ["head", "labels"]],
            ],
          ],
        ],
        "loss": "loss",
      ]
      return try TorchScript.exporting(TorchModels.plan(model) { $0.data = 2 })
    }
    #expect(
      try script("h", "x", "a").contains(
        """
            def run(self, x):
                x_ = self.x(x)
                a = self.a(x_)
                res = self.res(x, a)
                return res
        """))
    #expect(try script("layers", "a.b", "a_b").contains("        a_b = self.a.b(x)\n        a_b_ = self.a_b(a_b)\n"))
    for (module, first, second) in [("h", "run", "a"), ("h", "a", "b.forward"), ("train", "a", "b"), ("stage", "a", "b")] {
      let refused = #expect(throws: Inexpressible.self) { _ = try script(module, first, second) }
      #expect(refused?.reason.contains("is an attribute of every module") ?? false, "\(module) \(first) \(second): \(refused?.description ?? "")")
    }
  }

  @Test("No edit of one character makes the reader do anything but read or refuse", arguments: 0..<200)
  func mutations(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    let head = try TorchScript.exporting(TorchModels.plan(TorchModels.gpt2) { $0.tensor = 2 }).components(separatedBy: "\n\noptions = ")[0]
    var bytes = Array(head.utf8)
    bytes[random.int(0...bytes.count - 1)] = random.pick(Array("(){}[],\"=: \n#0aN".utf8))
    do { _ = try TorchScript.reading(String(decoding: bytes, as: UTF8.self)) } catch { #expect(error is LaunchError) }
  }
}
