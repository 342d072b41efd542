// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import ModelGraph

/// What is found in the steps that exporters write, and what is refused.
@Suite struct ONNXPatternTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func kinds(_ sketch: ONNXSketch, _ output: String) throws -> [OperatorKind] {
    try sketch.graph(giving: output, in: folder).operators.map(\.kind)
  }

  private func message(_ sketch: ONNXSketch, _ output: String) -> String {
    do {
      _ = try sketch.graph(giving: output, in: folder)
      return "no error"
    } catch {
      return "\(error)"
    }
  }

  // MARK: - Activation functions and norms

  @Test("GELU by erf or tanh in three orders of steps", arguments: 0..<3)
  func gelu(order: Int) throws {
    var sketch = ONNXSketch()
    let x = ONNXSketch.embedded
    let (half, one) = (sketch.number(0.5), sketch.number(1))
    let output: String
    switch order {
    case 0:
      let sum = sketch.node("Add", [sketch.node("Erf", [sketch.node("Div", [x, sketch.number(Float(2).squareRoot())])]), one])
      output = sketch.node("Mul", [sketch.node("Mul", [x, sum]), half])
    case 1:
      let sum = sketch.node("Add", [one, sketch.node("Erf", [sketch.node("Mul", [sketch.number(Float(0.5).squareRoot()), x])])])
      output = sketch.node("Mul", [sketch.node("Mul", [half, x]), sum])
    default:
      let square = sketch.node("Mul", [x, x])
      let inner = sketch.node("Add", [x, sketch.node("Mul", [sketch.node("Mul", [square, x]), sketch.number(0.044715)])])
      let sum = sketch.node("Add", [sketch.node("Tanh", [sketch.node("Mul", [inner, sketch.number(0.79788456)])]), one])
      output = sketch.node("Mul", [sum, sketch.node("Mul", [x, half])])
    }
    #expect(try kinds(sketch, output) == [.embedding, .activation(order < 2 ? .gelu : .geluTanh)])
  }

  @Test("Other functions are known by their values too")
  func activations() throws {
    var sketch = ONNXSketch()
    let x = ONNXSketch.embedded
    let wide = sketch.node("MatMul", [x, sketch.weight("up.weight", [16, 32])])
    let silu = sketch.node("Mul", [wide, sketch.node("Sigmoid", [wide])])
    #expect(try kinds(sketch, silu) == [.embedding, .linear, .activation(.silu)])
    let squared = sketch.node("Pow", [sketch.node("Relu", [wide]), sketch.number(2)])
    #expect(try kinds(sketch, squared) == [.embedding, .linear, .activation(.squaredRelu)])
  }

  @Test("A function that the graph does not have is refused by its node")
  func otherFunction() throws {
    var sketch = ONNXSketch()
    let output = sketch.node("Exp", [ONNXSketch.embedded], to: "odd")
    #expect(
      message(sketch, output).contains("(Exp, output \"odd\"): Exp of data [2, 4, 16] is nothing that is known here; expected an activation function")
    )
  }

  @Test("Layer norm in steps", arguments: [false, true])
  func layerNorm(dividesByRoot: Bool) throws {
    var sketch = ONNXSketch(opset: 13)
    let x = ONNXSketch.embedded
    func mean(_ value: String, _ sketch: inout ONNXSketch) -> String { sketch.node("ReduceMean", [value], ints: ["axes": [-1]]) }
    let difference = sketch.node("Sub", [x, mean(x, &sketch)])
    let square = dividesByRoot ? sketch.node("Pow", [difference, sketch.number(2)]) : sketch.node("Mul", [difference, difference])
    let root = sketch.node("Sqrt", [sketch.node("Add", [mean(square, &sketch), sketch.number(1e-5)])])
    let core = dividesByRoot ? sketch.node("Div", [difference, root]) : sketch.node("Mul", [sketch.node("Reciprocal", [root]), difference])
    let scaled = sketch.node("Mul", [core, sketch.weight("ln.weight", [16])])
    let output = sketch.node("Add", [sketch.weight("ln.bias", [16]), scaled])
    let graph = try sketch.graph(giving: output, in: folder)
    #expect(graph.operators.map(\.kind) == [.embedding, .layerNorm(epsilon: 1e-5)] && graph.operators[1].name == "ln")
    #expect(graph.operators[1].operands.dropFirst().map { graph.tensors[$0].name } == ["ln.weight", "ln.bias"])
  }

  // MARK: - Attention

  /// Attention whose scores go through a mask of positions, where `hides` says which.
  private func attention(scale: Float = 0.5, _ mask: (inout ONNXSketch, _ scores: String) -> String) -> (ONNXSketch, String) {
    var sketch = ONNXSketch()
    let (q, k, v) = sketch.heads(ONNXSketch.embedded)
    let scores = sketch.node("Mul", [sketch.node("MatMul", [q, k]), sketch.number(scale)])
    let probabilities = sketch.node("Softmax", [mask(&sketch, scores)], int: ["axis": -1])
    let output = sketch.joined(sketch.node("MatMul", [probabilities, v]))
    let projected = sketch.node("MatMul", [output, sketch.weight("o.weight", [16, 16])])
    return (sketch, projected)
  }

  /// Row and column numbers of a square of positions.
  private func square(_ sketch: inout ONNXSketch) -> (rows: String, columns: String) {
    let positions = sketch.positions()
    return (sketch.node("Unsqueeze", [positions, sketch.integers([1])]), sketch.node("Unsqueeze", [positions, sketch.integers([0])]))
  }

  @Test("Attention without a mask, and with a causal one that is added, or by Where")
  func causal() throws {
    let plain = attention { _, scores in scores }
    #expect(try kinds(plain.0, plain.1).contains(.attention(causal: false)))
    let added = attention { sketch, scores in
      let (rows, columns) = square(&sketch)
      let mask = sketch.node("Where", [sketch.node("Less", [rows, columns]), sketch.number(-1e9), sketch.number(0)])
      return sketch.node("Add", [scores, mask])
    }
    #expect(try kinds(added.0, added.1).contains(.attention(causal: true)))
    let chosen = attention { sketch, scores in
      let (rows, columns) = square(&sketch)
      return sketch.node("Where", [sketch.node("LessOrEqual", [columns, rows]), scores, sketch.number(-.infinity)])
    }
    #expect(try kinds(chosen.0, chosen.1).contains(.attention(causal: true)))
  }

  @Test("The padding of attention_mask is found, alone and with a causal mask", arguments: [false, true])
  func padding(isCausal: Bool) throws {
    let (sketch, output) = attention { sketch, scores in
      sketch.input("attention_mask", [nil, nil], type: 7)
      let kept = sketch.node("Unsqueeze", ["attention_mask", sketch.integers([1, 2])])
      var seen = sketch.node("Cast", [kept], int: ["to": 9])
      if isCausal {
        let (rows, columns) = square(&sketch)
        seen = sketch.node("And", [seen, sketch.node("GreaterOrEqual", [rows, columns])])
      }
      return sketch.node("Add", [scores, sketch.node("Where", [seen, sketch.number(0), sketch.number(-3.4e38)])])
    }
    let graph = try sketch.graph(giving: output, in: folder)
    let core = try #require(graph.operators.first { $0.kind == .attention(causal: isCausal) })
    #expect(core.operands.count == 4 && graph.tensors[core.operands[3]].kind == .input(.attentionMask))
  }

  @Test("One layer of queries, keys and values, cut after a reshape and a transpose, is three, each with its part of the weight")
  func fusedProjection() throws {
    var sketch = ONNXSketch()
    let product = sketch.node("MatMul", [ONNXSketch.embedded, sketch.weight("qkv.weight", [16, 48])])
    let sum = sketch.node("Add", [product, sketch.weight("qkv.bias", [48])])
    let heads = sketch.node("Transpose", [sketch.node("Reshape", [sum, sketch.integers([0, 0, 3, 4, 4])])], ints: ["perm": [2, 0, 3, 1, 4]])
    let parts = (0..<3).map { sketch.node("Gather", [heads, sketch.integers([$0], [])], int: ["axis": 0]) }
    let keys = sketch.node("Transpose", [parts[1]], ints: ["perm": [0, 1, 3, 2]])
    let scores = sketch.node("Mul", [sketch.node("MatMul", [parts[0], keys]), sketch.number(0.5)])
    let values = sketch.node("MatMul", [sketch.node("Softmax", [scores], int: ["axis": -1]), parts[2]])
    let output = sketch.node("MatMul", [sketch.joined(values), sketch.weight("o.weight", [16, 16])])
    let graph = try sketch.graph(giving: output, in: folder)
    #expect(
      graph.operators.map(\.kind) == [.embedding, .linear, .bias, .linear, .bias, .linear, .bias, .attention(causal: false), .linear])
    let weights = graph.tensors.compactMap(\.parameter).filter { $0.checkpointName == "qkv.weight" }
    #expect(weights.map(\.offset) == [0, 16, 32] && weights.allSatisfy { $0.checkpointShape == [16, 48] && $0.strides.first == 48 })
    #expect(graph.operators.filter { $0.name.hasPrefix("qkv") }.map(\.name) == ["q", "k", "v"].flatMap { ["qkv.\($0)", "qkv.\($0).bias"] })
  }

  @Test("A scale other than 1/√d is an operator of its own")
  func ownScale() throws {
    let (sketch, output) = attention(scale: 0.25) { _, scores in scores }
    #expect(try kinds(sketch, output).contains(.scale(factor: 0.5)))
  }

  @Test("Masks that are neither causal nor padding, and what is no mask, are refused")
  func otherMasks() throws {
    let window = attention { sketch, scores in
      let (rows, columns) = square(&sketch)
      let near = sketch.node("Less", [sketch.node("Sub", [rows, columns]), sketch.integers([3], [])])
      let seen = sketch.node("And", [near, sketch.node("GreaterOrEqual", [rows, columns])])
      return sketch.node("Where", [seen, scores, sketch.number(-1e9)])
    }
    #expect(
      message(window.0, window.1).contains("a mask that hides other keys; expected those after a query (causal), those that attention_mask marks"))
    let slopes = attention { sketch, scores in
      let (rows, columns) = square(&sketch)
      let distance = sketch.node("Cast", [sketch.node("Sub", [columns, rows])], int: ["to": 1])
      return sketch.node("Add", [scores, sketch.node("Mul", [distance, sketch.number(0.5)])])
    }
    #expect(
      message(slopes.0, slopes.1).contains("0.5 is added to scores; expected 0, or at most -10000.0")
        || message(slopes.0, slopes.1).contains("is added to scores"))
  }

  @Test("A mask that differs for long sequences alone is found by the second look")
  func longWindow() throws {
    let (sketch, output) = attention { sketch, scores in
      let (rows, columns) = square(&sketch)
      let near = sketch.node("Less", [sketch.node("Sub", [rows, columns]), sketch.integers([40], [])])
      let seen = sketch.node("And", [near, sketch.node("GreaterOrEqual", [rows, columns])])
      return sketch.node("Where", [seen, scores, sketch.number(-1e9)])
    }
    #expect(message(sketch, output).contains("a mask that hides other keys"))
  }

  @Test("A step of scores that is none of these is named")
  func otherStep() throws {
    let (sketch, output) = attention { sketch, scores in sketch.node("Tanh", [scores], to: "capped") }
    #expect(message(sketch, output).contains("(Tanh, output \"capped\"): it stands between scores and their softmax"))
  }

  // MARK: - Layers

  /// Three layers x + relu(x · a) · b, and what each gives.
  private func layers(shared: Bool = false) -> (sketch: ONNXSketch, results: [String]) {
    var sketch = ONNXSketch()
    var (x, results) = (ONNXSketch.embedded, [String]())
    for layer in 0..<3 {
      let (a, b) = ("h.\(shared ? 0 : layer).a.weight", "h.\(shared ? 0 : layer).b.weight")
      if !shared || layer == 0 { for (name, shape) in [(a, [16, 32]), (b, [32, 16])] { _ = sketch.weight(name, shape) } }
      let inner = sketch.node("Relu", [sketch.node("MatMul", [x, a])])
      x = sketch.node("Add", [x, sketch.node("MatMul", [inner, b])])
      results.append(x)
    }
    return (sketch, results)
  }

  @Test("Layers after which nothing follows hand their result to a pass")
  func lastLayer() throws {
    let (sketch, results) = layers()
    let graph = try sketch.graph(giving: results[2], in: folder)
    #expect(graph.segments.map(\.name) == ["embedding", "block", "head"] && graph.segments[1].repeats == 3)
    #expect(graph.operators.map(\.kind) == [.embedding, .linear, .activation(.relu), .linear, .add, .pass])
    #expect(graph.outputs.map(\.tensor) == [graph.operators[5].result])
    #expect(graph.operators[1].name == "h.{i}.a")
  }

  @Test("Layers whose weights are the same tensors, or of which one gives an output, are not folded")
  func notFolded() throws {
    let (sharing, results) = layers(shared: true)
    #expect(try sharing.graph(giving: results[2], in: folder).segments.map(\.repeats) == [1])
    let (plain, outputs) = layers()
    var sketch = plain
    sketch.model.graph.output = [.with { $0.name = outputs[0] }]
    let graph = try sketch.graph(giving: outputs[2], in: folder)
    #expect(graph.outputs.map(\.name) == [outputs[0], outputs[2]])
    let repeats = graph.segments.map(\.repeats)
    #expect(repeats.reduce(0, +) >= 2 && graph.operators.count { $0.kind == .activation(.relu) } >= 2, "\(repeats)")
  }

  // MARK: - Rotary positions

  /// Queries that are rotated, their sum with themselves; `spacing` is what positions count.
  private func rotation(base: Float = 10000, spacing: Float = 1) -> (ONNXSketch, String) {
    var sketch = ONNXSketch()
    let product = sketch.node("MatMul", [ONNXSketch.embedded, sketch.weight("q.weight", [16, 16])])
    let x = sketch.node("Transpose", [sketch.node("Reshape", [product, sketch.integers([0, 0, 4, 4])])], ints: ["perm": [0, 2, 1, 3]])
    let positions = sketch.node("Cast", [sketch.node("Unsqueeze", [sketch.positions(), sketch.integers([1])])], int: ["to": 1])
    let frequencies = sketch.weight("inv_freq", [2], [spacing, spacing / base.squareRoot()])
    let half = sketch.node("Mul", [positions, frequencies])
    let angles = sketch.node("Concat", [half, half], int: ["axis": -1])
    func part(_ start: Int, _ end: Int) -> String {
      sketch.node("Slice", [x, sketch.integers([start]), sketch.integers([end]), sketch.integers([3])])
    }
    let turned = sketch.node("Concat", [sketch.node("Neg", [part(2, 4)]), part(0, 2)], int: ["axis": -1])
    let sum = sketch.node(
      "Add", [sketch.node("Mul", [x, sketch.node("Cos", [angles])]), sketch.node("Mul", [turned, sketch.node("Sin", [angles])])], to: "rotated")
    let result = sketch.joined(sum)
    return (sketch, result)
  }

  @Test("Rotary positions are known by their angles, with any base", arguments: [10000, 500_000, 1_000_000] as [Float])
  func rotary(base: Float) throws {
    var (sketch, sum) = rotation(base: base)
    let output = sketch.node("MatMul", [sum, sketch.weight("o.weight", [16, 16])])
    #expect(try kinds(sketch, output) == [.embedding, .linear, .rotary(RotaryParameters(base: Double(base))), .linear])
  }

  @Test("Angles of other positions are refused")
  func otherAngles() throws {
    var (sketch, sum) = rotation(spacing: 0.5)
    let output = sketch.node("MatMul", [sum, sketch.weight("o.weight", [16, 16])])
    #expect(message(sketch, output).contains("(Add, output \"rotated\"): a rotation by other angles; expected position · base^(−2i/d)"))
  }

  // MARK: - Refusals

  @Test("An operator that is not known is refused with its node's name")
  func unknownOperator() throws {
    var sketch = ONNXSketch()
    let output = sketch.node("Hardmax", [ONNXSketch.embedded], to: "y")
    #expect(message(sketch, output).contains("m.onnx: node \"node_"))
    #expect(message(sketch, output).contains("(Hardmax, output \"y\"): the operator Hardmax is not known; expected one of Abs, Add,"))
  }

  @Test("What the graph cannot say is refused: positions of padding, an open image, a reshape that mixes axes, an input that is not known")
  func others() throws {
    var sketch = ONNXSketch()
    sketch.input("attention_mask", [nil, nil], type: 7)
    let counted = sketch.node("CumSum", ["attention_mask", sketch.integers([1], [])])
    let rows = sketch.node("Gather", [sketch.weight("wpe.weight", [64, 16]), counted], to: "rows")
    let sum = sketch.node("Add", [ONNXSketch.embedded, rows])
    #expect(
      message(sketch, sum).contains(
        "output \"rows\"): rows of a table at numbers that are computed of attention_mask; expected those of an input as it is"))

    sketch = ONNXSketch()
    let mixed = sketch.node("Reshape", [sketch.node("Transpose", [ONNXSketch.embedded], ints: ["perm": [0, 2, 1]]), sketch.integers([0, -1, 16])])
    let product = sketch.node("MatMul", [mixed, sketch.weight("fc.weight", [16, 16])])
    #expect(message(sketch, product).contains("; expected "))
    #expect(message(sketch, product) != "no error")

    sketch = ONNXSketch()
    sketch.input("past_key_values", [nil, nil], type: 7)
    #expect(message(sketch, ONNXSketch.embedded).contains("input \"past_key_values\": no such input is known; expected input_ids, attention_mask"))
  }

  @Test("A folder with a model.onnx stands for it")
  func folderOfModel() throws {
    var sketch = ONNXSketch()
    let output = sketch.node("Relu", [ONNXSketch.embedded])
    _ = try sketch.graph(giving: output, in: folder)
    try FileManager.default.moveItem(atPath: folder.file("m.onnx"), toPath: folder.file("model.onnx"))
    #expect(try ModelReader.read(folder.url.path).graph.operators.count == 2)
  }
}
