// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies
import Testing

/// Oracle: for each kind of operator, what every split of one mesh axis makes of its operands, its result and their gradients.
///
/// Layouts are written R (replicated), P (partial), S0, S1 … (split of that dimension), each with its gradient's after a slash: operands, then the
/// result. Written by hand from the operators' definitions; the rows of linear are Megatron-LM's.
@Suite struct RuleTableTests {
  /// Axes of 8 by name, and an activation `x` of any dimensions to begin with.
  private struct Bench {
    var builder = GraphBuilder(name: "rule")
    private var axes: [String: AxisID] = [:]

    init() { builder.begin(segment: "all") }

    mutating func axis(_ name: String) -> AxisID {
      if let known = axes[name] { return known }
      let roles: [String: Axis.Role] = [
        "b": .batch, "s": .sequence, "g": .heads, "r": .queries, "d": .whole, "v": .vocabulary, "e": .experts, "c": .candidates,
      ]
      // z: places of each of e for positions of s, 4 of 8 a token; k: weights and numbers of these 4.
      if name == "z" {
        axes[name] = builder.slots(name, Axis.Slots(positions: axis("s"), experts: axis("e"), perToken: 4))
      } else {
        axes[name] = builder.axis(name, 8, name == "k" ? .whole : roles[name] ?? .feature)
      }
      return axes[name]!
    }

    mutating func dims(_ names: String) -> [AxisID] { names.map { axis(String($0)) } }
    mutating func x(_ names: String) -> TensorID {
      let dims = dims(names)
      return builder.elementwise(.activation(.relu), "x", builder.input(.pixelValues, dims))
    }
    mutating func weight(_ name: String, _ names: String) -> TensorID { builder.parameter(name, stored: dims(names).map { [$0] }) }
    mutating func apply(_ kind: OperatorKind, _ operands: [TensorID], _ out: String) -> TensorID {
      let dims = dims(out)
      return builder.apply(kind, "op", operands, to: dims)
    }
  }

  private func expect(_ rows: [String: String], _ build: (inout Bench) -> TensorID, line: Int = #line) throws {
    var bench = Bench()
    _ = build(&bench)
    bench.builder.end()
    let graph = try bench.builder.finish()
    let rule = OperatorRules.rule(for: graph.operators.count - 1, in: graph)
    var found: [String: String] = [:]
    for strategy in Strategy.all(for: rule, mesh: [2]) {
      let operands = strategy.operands.map { "\(text($0.forward))/\(text($0.gradient))" }
      let key = strategy.assignment[0].map { rule.iteration[$0].name } ?? "-"
      found[key + " " + strategy.words(rule)[0]] = (operands + ["→ \(text(strategy.result))/\(text(strategy.resultGradient))"]).joined(separator: " ")
    }
    #expect(found == rows, "line \(line)")
  }

  private func text(_ layout: Layout) -> String {
    switch layout[0] {
    case .replicated: "R"
    case .partial: "P"
    case .split(let dimension): "S\(dimension)"
    }
  }

  @Test func products() throws {
    let rows = [
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "s sequence": "S1/S1 R/P → S1/S1", "i row": "S2/S2 S0/S0 → P/R",
      "o column": "R/P S1/S1 → S2/S2",
    ]
    try expect(rows) { $0.apply(.linear, [$0.x("bsi"), $0.weight("w", "io")], "bso") }
    // An output projection contracts heads: by rows. A vocabulary is produced: by vocabulary.
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "g row": "S1/S1 S0/S0 → P/R", "v vocab": "R/P S2/S2 → S1/S1",
    ]) { $0.apply(.linear, [$0.x("bgd"), $0.weight("w", "gdv")], "bv") }
  }

  @Test func embeddings() throws {
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "s sequence": "S1/S1 R/P → S1/S1", "v vocab": "R/P S0/S0 → P/R",
      "h column": "R/P S1/S1 → S2/S2",
    ]) { $0.apply(.embedding, [$0.builder.input(.inputIDs, $0.dims("bs")), $0.weight("w", "vh")], "bsh") }
    // Rows follow from positions, so the table is whole wherever positions are split.
    try expect(["- replicate": "R/R → R/R", "s sequence": "R/P → S0/S0", "h column": "S1/S1 → S1/S1"]) {
      $0.apply(.positionEmbedding(offset: 0), [$0.weight("w", "ph")], "sh")
    }
  }

  /// Keys and values are whole along the sequence where queries are split, a gather forward, partial gradients back; or split as queries are, and
  /// travel around a ring.
  @Test func attention() throws {
    try expect([
      "- replicate": "R/R R/R R/R → R/R", "b data": "S0/S0 S0/S0 S0/S0 → S0/S0", "s context": "S1/S1 R/P R/P → S1/S1",
      "s ring ring": "S1/S1 S1/S1 S1/S1 → S1/S1", "g heads": "S2/S2 S2/S2 S2/S2 → S2/S2", "r heads": "S3/S3 R/P R/P → S3/S3",
    ]) { bench in
      let x = bench.x("bsh")
      let (h, q, k) = (bench.dims("h"), bench.dims("grd"), bench.dims("gd"))
      let query = bench.builder.linear("q", x, from: h, to: q, bias: false)
      let key = bench.builder.linear("k", x, from: h, to: k, bias: false)
      let value = bench.builder.linear("v", x, from: h, to: k, bias: false)
      return bench.apply(.attention(causal: true), [query, key, value], "bsgrd")
    }
  }

  /// The normalised axis is not split; scale and bias see only a part of the rows.
  @Test func norms() throws {
    try expect(["- replicate": "R/R R/R R/R → R/R", "b data": "S0/S0 R/P R/P → S0/S0", "s sequence": "S1/S1 R/P R/P → S1/S1"]) {
      $0.apply(.layerNorm(epsilon: 1e-5), [$0.x("bsh"), $0.weight("w", "h"), $0.weight("c", "h")], "bsh")
    }
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "s sequence": "S1/S1 R/P → S1/S1"]) {
      $0.apply(.rmsNorm(epsilon: 1e-5), [$0.x("bsh"), $0.weight("w", "h")], "bsh")
    }
  }

  /// Split where their result is split; what is broadcast is whole where the split is on an axis that it lacks.
  @Test func elementWise() throws {
    let alike = ["- replicate": "R/R → R/R", "b data": "S0/S0 → S0/S0", "s sequence": "S1/S1 → S1/S1", "h column": "S2/S2 → S2/S2"]
    for function in ActivationFunction.allCases { try expect(alike) { $0.apply(.activation(function), [$0.x("bsh")], "bsh") } }
    for kind in [OperatorKind.dropout(probability: 0.1), .scale(factor: 2), .pass] { try expect(alike) { $0.apply(kind, [$0.x("bsh")], "bsh") } }
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "s sequence": "S1/S1 R/P → S1/S1", "h column": "S2/S2 S0/S0 → S2/S2"])
    {
      $0.apply(.bias, [$0.x("bsh"), $0.weight("c", "h")], "bsh")
    }
    let both = [
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 S0/S0 → S0/S0", "s sequence": "S1/S1 S1/S1 → S1/S1", "h column": "S2/S2 S2/S2 → S2/S2",
    ]
    for kind in [OperatorKind.add, .multiply] {
      try expect(both) { bench in
        let x = bench.x("bsh")
        return bench.apply(kind, [x, bench.builder.elementwise(.activation(.relu), "y", x)], "bsh")
      }
    }
    // A rotation turns pairs inside a head: head_dim stays whole.
    try expect(["- replicate": "R/R → R/R", "b data": "S0/S0 → S0/S0", "s sequence": "S1/S1 → S1/S1", "g heads": "S2/S2 → S2/S2"]) {
      $0.apply(.rotary(RotaryParameters(base: 1e4)), [$0.x("bsgd")], "bsgd")
    }
  }

  /// Splitting the classes is completed inside, so no partial sum leaves; splitting rows leaves partial sums of the loss.
  @Test func crossEntropy() throws {
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 S0/S0 → P/R", "s sequence": "S1/S1 S1/S1 → P/R", "v vocab": "S2/S2 R/P → R/R",
    ]) { $0.apply(.crossEntropy, [$0.x("bsv"), $0.builder.input(.labels, $0.dims("bs"))], "") }
  }

  @Test func tokensOfImages() throws {
    try expect(["- replicate": "R/R → R/R", "b data": "S0/S0 → S0/S0", "h column": "S2/S2 → S1/S1"]) {
      $0.apply(.selectToken(position: 0), [$0.x("bsh")], "bh")
    }
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "h column": "S2/S2 S0/S0 → S2/S2"]) { bench in
      let more = bench.builder.axis("m", 9, .whole)
      let (x, token) = (bench.x("bsh"), bench.weight("token", "h"))
      let dims = bench.dims("bh")
      return bench.builder.apply(.prependToken, "op", [x, token], to: [dims[0], more, dims[1]])
    }
  }

  /// Tokens are dispatched and combined where they are: slots are cut as positions are. Experts are cut without a collective: each rank
  /// dispatches to its own, and combining gives partial sums.
  @Test func experts() throws {
    try expect(["- replicate": "R/R → R/R", "b data": "S0/S0 → S0/S0", "s sequence": "S1/S1 → S1/S1"]) {
      $0.apply(.route(topK: 4, renormalises: true), [$0.x("bse")], "bsk")
    }
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 S0/S0 → S1/S1", "s sequence": "S1/S1 S1/S1 → S2/S2", "h column": "S2/S2 R/P → S3/S3",
      "e expert": "R/P R/P → S0/S0",
    ]) { bench in
      let (x, (h, e)) = (bench.x("bsh"), (bench.dims("h"), bench.dims("e")))
      let logits = bench.builder.linear("l", x, from: h, to: e, bias: false)
      let routed = bench.dims("bsk")
      let routes = bench.builder.apply(.route(topK: 4, renormalises: true), "routes", [logits], to: routed)
      return bench.apply(.dispatch, [x, routes], "ebzh")
    }
    try expect([
      "- replicate": "R/R R/R → R/R", "e expert": "S0/S0 S0/S0 → S0/S0", "b data": "S1/S1 R/P → S1/S1", "z sequence": "S2/S2 R/P → S2/S2",
      "i row": "S3/S3 S1/S1 → P/R", "o column": "R/P S2/S2 → S3/S3",
    ]) { $0.apply(.expertLinear, [$0.x("ebzi"), $0.weight("w", "eio")], "ebzo") }
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S1/S1 S0/S0 → S0/S0", "s sequence": "S2/S2 S1/S1 → S1/S1", "h column": "S3/S3 R/P → S2/S2",
      "e expert": "S0/S0 R/P → P/R",
    ]) { bench in
      let (x, (h, e)) = (bench.x("bsh"), (bench.dims("h"), bench.dims("e")))
      let logits = bench.builder.linear("l", x, from: h, to: e, bias: false)
      let (routed, sent) = (bench.dims("bsk"), bench.dims("ebzh"))
      let routes = bench.builder.apply(.route(topK: 4, renormalises: true), "routes", [logits], to: routed)
      return bench.apply(.combine, [bench.builder.apply(.dispatch, "sent", [x, routes], to: sent), routes], "bsh")
    }
  }

  /// Channels are split as features of a product are; the rims of windows would have to be exchanged, so images stay whole.
  @Test func images() throws {
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "i row": "S1/S1 S1/S1 → P/R", "o column": "R/P S0/S0 → S1/S1",
    ]) { bench in
      let (height, width) = (bench.builder.axis("H", 8, .whole), bench.builder.axis("W", 8, .whole))
      let (down, across) = (bench.builder.axis("kH", 3, .whole), bench.builder.axis("kW", 3, .whole))
      let (b, i, o) = (bench.axis("b"), bench.axis("i"), bench.axis("o"))
      let x = bench.builder.elementwise(.activation(.relu), "x", bench.builder.input(.pixelValues, [b, i, height, width]))
      let weight = bench.builder.parameter("w", stored: [o, i, down, across].map { [$0] })
      return bench.builder.apply(.convolution(stride: 1, padding: 1), "op", [x, weight], to: [b, o, height, width])
    }
    func image(_ bench: inout Bench) -> TensorID {
      let dimensions = [
        bench.axis("b"), bench.axis("n"), bench.builder.axis("H", 8, .whole), bench.builder.axis("W", 8, .whole),
      ]
      return bench.builder.elementwise(.activation(.relu), "x", bench.builder.input(.pixelValues, dimensions))
    }
    // Statistics are completed inside, so a split of the samples leaves nothing partial but the gradients of scale and bias.
    try expect([
      "- replicate": "R/R R/R R/R → R/R", "b data": "S0/S0 R/P R/P → S0/S0", "n column": "S1/S1 S0/S0 S0/S0 → S1/S1",
    ]) { bench in
      let x = image(&bench)
      return bench.builder.apply(
        .batchNorm(epsilon: 1e-5), "op", [x, bench.weight("w", "n"), bench.weight("v", "n")], to: bench.builder.tensors[x].dimensions)
    }
    try expect(["- replicate": "R/R → R/R", "b data": "S0/S0 → S0/S0", "n column": "S1/S1 → S1/S1"]) { bench in
      let x = image(&bench)
      return bench.builder.apply(.averagePool, "op", [x], to: Array(bench.builder.tensors[x].dimensions.prefix(2)))
    }
  }

  @Test func gates() throws {
    try expect([
      "- replicate": "R/R R/R → R/R", "b data": "S0/S0 S0/S0 → S0/S0", "s sequence": "S1/S1 S1/S1 → S1/S1", "h column": "S2/S2 R/P → S2/S2",
    ]) { bench in
      let x = bench.x("bsh")
      let one = bench.builder.axis("one", 1, .feature)
      let gate = bench.builder.linear("gate", x, from: bench.dims("h"), to: [one], bias: false)
      return bench.apply(.sigmoidGate, [x, gate], "bsh")
    }
  }

  /// Texts are split with the batch, all images are gathered for them, and their gradients are partial; the loss completes columns inside, and
  /// leaves partial sums of its rows.
  @Test func pairs() throws {
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0", "h row": "S1/S1 S1/S1 → P/R"]) { bench in
      let x = bench.x("bh")
      return bench.apply(.similarity, [x, bench.builder.elementwise(.activation(.relu), "y", x)], "bc")
    }
    try expect(["- replicate": "R/R → R/R", "b data": "S0/S0 → P/R"]) { $0.apply(.contrastiveLoss, [$0.x("bc")], "") }
    try expect(["- replicate": "R/R → R/R", "b data": "S0/S0 → S0/S0"]) { $0.apply(.unitNorm, [$0.x("bh")], "bh") }
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 R/P → S0/S0"]) { bench in
      let one = bench.builder.axis("one", 1, .whole)
      let (x, scale) = (bench.x("bc"), bench.builder.parameter("scale", stored: [[one]]))
      return bench.apply(.learnedScale(.exponential), [x, scale], "bc")
    }
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 S0/S0 → S0/S0", "h column": "S2/S2 R/P → S1/S1"]) {
      $0.apply(.selectMarkedToken(id: nil), [$0.x("bsh"), $0.builder.input(.inputIDs, $0.dims("bs"))], "bh")
    }
  }

  /// A table for every sample is whole where samples are split; sequences are put together whole.
  @Test func sequencesOfDifferentOrigin() throws {
    try expect(["- replicate": "R/R → R/R", "b data": "R/P → S0/S0", "s sequence": "S0/S0 → S1/S1", "h column": "S1/S1 → S2/S2"]) {
      let (table, dims) = ($0.weight("w", "sh"), $0.dims("bsh"))
      return $0.builder.apply(.broadcast, "op", [table], to: dims)
    }
    try expect(["- replicate": "R/R R/R → R/R", "b data": "S0/S0 S0/S0 → S0/S0", "h column": "S2/S2 S2/S2 → S2/S2"]) { bench in
      let both = bench.builder.axis("both", 16, .sequence)
      let (x, dims) = (bench.x("bsh"), bench.dims("bh"))
      return bench.builder.apply(.concatenate, "op", [x, bench.builder.elementwise(.activation(.relu), "y", x)], to: [dims[0], both, dims[1]])
    }
  }

  /// Each mesh axis goes to one iteration axis or none, as long as every rank gets a part.
  @Test func strategiesOnTwoAxesAreAllPairsThatLeaveEveryRankAPart() throws {
    var bench = Bench()
    _ = bench.apply(.linear, [bench.x("bi"), bench.weight("w", "io")], "bo")
    bench.builder.end()
    let graph = try bench.builder.finish()
    let rule = OperatorRules.rule(for: 1, in: graph)
    #expect(Strategy.all(for: rule, mesh: [2, 4]).count == 16)
    // 3 × 4 parts of one axis of 8 are too many, so the three pairs of equal axes fall away.
    #expect(Strategy.all(for: rule, mesh: [3, 4]).count == 13)
    #expect(Strategy.all(for: rule, mesh: [1, 2]).count == 4)
    // Two axes on inputs and outputs: 2D tensor parallelism.
    let both = try #require(Strategy.all(for: rule, mesh: [2, 4]).first { $0.words(rule) == ["row", "column"] })
    #expect(both.operands[1].forward == Layout([.split(0), .split(1)]))
    #expect(both.result == Layout([.partial, .split(1)]))
  }
}
