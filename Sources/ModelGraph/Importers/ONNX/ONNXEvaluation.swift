// SPDX-License-Identifier: GPL-3.0-or-later
import ONNXFormat

/// A first look at a model: every value that does not need the model's data is computed, for one choice of the extents that a file leaves open,
/// and of all others the shape is known.
///
/// What is left, `data`, is the network itself; arithmetic of shapes, position numbers and masks is gone.
struct ONNXEvaluation {
  let file: ONNXFile
  let probe: ONNXProbe
  /// In topological order.
  private(set) var data: [DataNode] = []
  /// Initializers, then constants of nodes.
  private(set) var stored: [ONNXTensor]
  /// Values of the model's inputs of whole numbers.
  private(set) var inputs: [InputKind: Literal] = [:]
  /// In the file's order.
  private(set) var outputs: [(name: String, value: ONNXValue)] = []
  /// Whether the file fixes these extents.
  private(set) var fixedBatch: Int?
  private(set) var fixedSequence: Int?
  private var values: [String: ONNXValue] = [:]

  /// - Throws: `ModelError.unmapped` for a node that is not known or whose operands do not fit together; `ONNXError`.
  init(_ file: ONNXFile, probe: ONNXProbe) throws {
    (self.file, self.probe, stored) = (file, probe, file.initializers)
    for (index, tensor) in stored.enumerated() { values[tensor.name] = Self.constant(tensor, index) }
    try readInputs()
    var opsets: [String: Int] = [:]
    for opset in file.model.opsetImport { opsets[opset.domain] = Int(opset.version) }
    for proto in file.model.graph.node {
      let node = ONNXNode(proto: proto, file: file.path, opset: opsets[proto.domain] ?? opsets[""] ?? 0)
      let operands = try proto.input.map { name in
        if name.isEmpty { return ONNXValue.absent }
        guard let value = values[name] else {
          throw node.refusal("it reads \"\(name)\", which no node before it gives", expected: "nodes in the order in which they are computed")
        }
        return value
      }
      for (name, value) in zip(proto.output, try results(node, operands)) where !name.isEmpty { values[name] = value }
    }
    for output in file.model.graph.output {
      guard let value = values[output.name] else {
        throw ModelError.unmapped(file: file.path, place: "output \"\(output.name)\"", problem: "no node gives it", expected: "the result of a node")
      }
      outputs.append((output.name, value))
    }
  }

  /// Floating-point tensors stay in the file; others are numbers that shapes and masks are computed of.
  private static func constant(_ tensor: ONNXTensor, _ index: Int) -> ONNXValue {
    let view = StridedView(whole: tensor.shape)
    return tensor.element.isFloatingPoint || tensor.count > Literal.mostElements
      ? .weight(WeightView(tensor: index, view: view)) : .literal(Literal(tensor, view))
  }

  /// The numbers of a known value; nil for data, and for more weights than are looked at.
  func literal(_ value: ONNXValue) -> Literal? {
    switch value {
    case .literal(let literal): literal
    case .weight(let weight): weight.view.count <= Literal.mostElements ? Literal(stored[weight.tensor], weight.view) : nil
    case .data, .absent: nil
    }
  }

  func shape(_ value: ONNXValue) -> [Int] {
    switch value {
    case .literal(let literal): literal.shape
    case .weight(let weight): weight.view.shape
    case .data(let index): data[index].shape
    case .absent: []
    }
  }

  // MARK: - Inputs

  private mutating func readInputs() throws {
    let proper = file.model.graph.input.filter { values[$0.name] == nil }
    for input in proper {
      func refusal(_ problem: String, _ expected: String) -> ModelError {
        .unmapped(file: file.path, place: "input \"\(input.name)\"", problem: problem, expected: expected)
      }
      let type = input.type.tensorType
      let isWhole = ONNXElement(rawValue: type.elemType)?.isFloatingPoint == false
      let dims = type.shape.dim
      let pixels = proper.count == 1 && !isWhole && dims.count == 4
      let onlyIDs = proper.count == 1 && isWhole && dims.count == 2
      guard let kind = InputKind(rawValue: input.name) ?? (pixels ? .pixelValues : onlyIDs ? .inputIDs : nil), kind != .labels else {
        throw refusal(
          "no such input is known", "input_ids, attention_mask, token_type_ids [batch, sequence] or pixel_values [batch, channels, height, width]")
      }
      guard dims.count == (kind == .pixelValues ? 4 : 2) else { throw refusal("it has \(dims.count) axes", kind == .pixelValues ? "4" : "2") }
      var shape: [Int] = []
      for (axis, dim) in dims.enumerated() {
        if dim.dimValue > 0 {
          guard dim.dimValue <= Int64(GraphBuilder.largestExtent) else {
            throw refusal("an axis of \(dim.dimValue)", "at most \(GraphBuilder.largestExtent)")
          }
          if axis == 0 { fixedBatch = Int(dim.dimValue) }
          if axis == 1, kind != .pixelValues { fixedSequence = Int(dim.dimValue) }
          shape.append(Int(dim.dimValue))
        } else if axis == 0 || (axis == 1 && kind != .pixelValues) {
          shape.append(axis == 0 ? probe.batch : probe.sequence)
        } else {
          throw refusal("axis \(axis) is left open", "an image of a size that the file says; export it with batch alone as a dynamic axis")
        }
      }
      guard DataShapes.isCountable(shape) else { throw refusal("its shape is \(shape)", "at most \(GraphBuilder.mostElements) elements") }
      if kind.isInteger {
        guard shape.reduce(1, *) <= Literal.mostElements else { throw refusal("its shape is \(shape)", "at most \(Literal.mostElements) elements") }
        let numbers = probe.values(kind, shape)
        let elements: Literal.Elements = isWhole ? .integers(numbers) : .reals(numbers.map { Double($0) })
        let literal = Literal(shape, elements, inputs: [kind])
        inputs[kind] = literal
        values[input.name] = .literal(literal)
      } else {
        data.append(DataNode(node: nil, operands: [], output: 0, shape: shape, input: kind))
        values[input.name] = .data(data.count - 1)
      }
    }
  }

  // MARK: - Nodes

  /// What a node gives, one for each of its outputs.
  private mutating func results(_ node: ONNXNode, _ x: [ONNXValue]) throws -> [ONNXValue] {
    if let same = identity(node, x) { return [same, .absent, .absent] }
    if node.op == "Constant" { return [try constant(of: node)] }
    if node.op == "Shape" || node.op == "Size" { return [.literal(try shapeOf(node, x))] }
    if let views = try views(node, x) { return views }
    if x.allSatisfy({ $0.data == nil }) {
      let isLookUp = try isLookUp(node, x)
      if !isLookUp {
        if let known = try computed(node, x) { return known.map { .literal($0) } }
      }
    }
    let shapes = try DataShapes.results(node, x, self)
    return shapes.enumerated().map { output, shape in
      data.append(DataNode(node: node, operands: x, output: output, shape: shape))
      return .data(data.count - 1)
    }
  }

  /// Operators that give what they read, when a model is run: Dropout does nothing, and numbers of all floating-point formats are computed alike.
  private mutating func identity(_ node: ONNXNode, _ x: [ONNXValue]) -> ONNXValue? {
    guard let first = x.first else { return nil }
    switch node.op {
    case "Identity":
      // Exporters keep one of several initializers that are equal, and give it the names of the others so.
      guard case .weight(let weight) = first, let name = node.proto.output.first else { return first }
      stored.append(stored[weight.tensor].renamed(name))
      return .weight(WeightView(tensor: stored.count - 1, view: weight.view))
    case "Dropout": return first
    case "Cast":
      let isReal = ONNXElement(rawValue: Int32(truncatingIfNeeded: node.int("to", default: 1)))?.isFloatingPoint == true
      if case .literal = first { return nil }
      return isReal ? first : nil
    case "CastLike":
      guard case .literal(let known) = first, x.count > 1 else { return first }
      if case .literal = x[1] { return nil }
      return .literal(Literal(known.shape, .reals(known.reals), inputs: known.inputs))
    default: return nil
    }
  }

  private mutating func constant(of node: ONNXNode) throws -> ONNXValue {
    if let proto = node.tensor("value") {
      let tensor = try file.tensor(proto, named: node.proto.output.first ?? "", place: node.place)
      stored.append(tensor)
      return Self.constant(tensor, stored.count - 1)
    }
    if node.has("value_int") { return .literal(Literal([], .integers([node.int("value_int", default: 0)]))) }
    if let value = node.float("value_float"), node.has("value_float") { return .literal(Literal([], .reals([value]))) }
    if let values = node.ints("value_ints") { return .literal(Literal(values)) }
    throw node.refusal("it has no value that is known here", expected: "value, value_int, value_ints or value_float")
  }

  private func shapeOf(_ node: ONNXNode, _ x: [ONNXValue]) throws -> Literal {
    guard let first = x.first, !first.isAbsent else { throw node.refusal("it has no operand", expected: "one") }
    let shape = shape(first)
    if node.op == "Size" { return Literal([], .integers([shape.reduce(1, *)])) }
    func bound(_ name: String, _ otherwise: Int) -> Int {
      let given = node.int(name, default: otherwise)
      return min(max(given < 0 ? given &+ shape.count : given, 0), shape.count)
    }
    let (start, end) = (bound("start", 0), bound("end", shape.count))
    return Literal(start < end ? Array(shape[start..<end]) : [])
  }

  /// Results that are parts, transposes or repetitions of a weight or of known numbers.
  private func views(_ node: ONNXNode, _ x: [ONNXValue]) throws -> [ONNXValue]? {
    guard let first = x.first else { return nil }
    switch first {
    case .weight(let weight):
      if node.op == "Gather", x.count > 1, let indices = literal(x[1]) { return try rows(node, weight, indices) }
      return try ViewOperators.views(node, weight.view, x.dropFirst().map(literal))?.map { .weight(WeightView(tensor: weight.tensor, view: $0)) }
    case .literal(let known):
      if node.op == "Reshape", x.count > 1, let target = literal(x[1]) {
        let shape = try ViewOperators.shape(node, of: known.shape, target.integers)
        return [.literal(Literal(shape, known.elements, inputs: known.inputs))]
      }
      return try ViewOperators.views(node, StridedView(whole: known.shape), x.dropFirst().map(literal))?.map {
        _ = try LiteralOperators.checked(node, $0.shape)
        return .literal(known.viewed($0))
      }
    case .data, .absent: return nil
    }
  }

  /// Rows of a weight at known indices, which are evenly spaced: positions. nil where the indices are an input's.
  private func rows(_ node: ONNXNode, _ weight: WeightView, _ indices: Literal) throws -> [ONNXValue]? {
    let axis = try node.axis(node.int("axis", default: 0), of: weight.view.shape.count)
    guard indices.inputs.isEmpty, let numbers = indices.affine else { return nil }
    let (extent, stride) = (weight.view.shape[axis], weight.view.strides[axis])
    for index in indices.integers where !(-extent..<extent ~= index) {
      throw node.refusal("index \(index) of an axis of \(extent)", expected: "an index in it")
    }
    if indices.integers.contains(where: { $0 < 0 }), indices.count > 1 { return nil }
    let first = numbers.offset < 0 ? numbers.offset + extent : numbers.offset
    var view = weight.view
    view.offset += first * stride
    view.shape.replaceSubrange(axis...axis, with: numbers.shape)
    view.strides.replaceSubrange(axis...axis, with: numbers.strides.map { $0 * stride })
    try DataShapes.checkCount(node, view.shape)
    return [.weight(WeightView(tensor: weight.tensor, view: view))]
  }

  /// Whether a node looks the model's token numbers up in a table.
  private func isLookUp(_ node: ONNXNode, _ x: [ONNXValue]) throws -> Bool {
    guard node.op == "Gather", x.count > 1, x[0].weight != nil, let indices = literal(x[1]) else { return false }
    return !indices.inputs.isEmpty
  }

  private func computed(_ node: ONNXNode, _ x: [ONNXValue]) throws -> [Literal]? {
    let known = x.map(literal)
    for (operand, value) in zip(x, known) where !operand.isAbsent && value == nil { return nil }
    switch node.op {
    case "Gather":
      guard known.count > 1, let value = known[0], let indices = known[1] else { return nil }
      return [try LiteralOperators.gather(node, value, indices)]
    case "Concat": return [try ViewOperators.concatenated(node, known.compactMap { $0 })]
    case "ConstantOfShape":
      guard let filled = try LiteralOperators.results(node, known)?.first, let proto = node.tensor("value") else { break }
      let tensor = try file.tensor(proto, named: "", place: node.place)
      guard tensor.count == 1 else { throw node.refusal("its value has \(tensor.count) elements", expected: "1") }
      let value = Literal(tensor, StridedView(whole: tensor.shape))
      return [value.picking([Int](repeating: 0, count: filled.count), filled.shape)].map { Literal($0.shape, $0.elements, inputs: filled.inputs) }
    default: break
    }
    return try LiteralOperators.results(node, known)
  }
}
