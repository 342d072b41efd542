// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension NativeModel {
  /// Reads a graph in the native format, strictly: a key that the format does not have is an error.
  ///
  /// - Throws: `DocumentError` and `ModelError.inconsistent`, each with the JSON path of what is wrong.
  package static func decode(_ node: Node) throws -> Graph {
    var decoder = GraphDecoder(name: "")
    return try decoder.decode(node)
  }
}

/// The state of reading one native model: names so far, and the builder that takes what they stand for.
private struct GraphDecoder {
  private var builder: GraphBuilder
  private var axes: [String: AxisID] = [:]
  /// Declared inputs that no operator has read yet.
  private var unreadInputs: [(kind: InputKind, axes: [AxisID], node: Node)] = []
  private var parameters: [String: TensorID] = [:]
  /// Inputs that were read, and every entry and result of any segment.
  private var values: [String: TensorID] = [:]
  /// The entries and results of the segment that is being read.
  private var local = Set<TensorID>()

  init(name: String) { builder = GraphBuilder(name: name) }

  mutating func decode(_ node: Node) throws -> Graph {
    let root = try node.object(
      format: NativeModel.format,
      keys: ["name", "source", "workload", "maximum_sequence", "per_microbatch", "axes", "inputs", "segments", "outputs", "loss"])
    builder.name = try root.string("name")
    _ = try root.stringIfPresent("source")
    builder.workload = try root.nodeIfPresent("workload").map { try Workload(reading: $0) } ?? Workload()
    builder.maximumSequence = try root.intIfPresent("maximum_sequence", .within(1, GraphBuilder.largestExtent))
    builder.isPerMicroBatch = try root.boolIfPresent("per_microbatch") ?? false
    for axis in try root.elements("axes") { try readAxis(axis) }
    for input in try root.elementsIfPresent("inputs") ?? [] { try readInput(input) }
    for segment in try root.elements("segments") { try readSegment(segment) }
    if let unread = unreadInputs.first { throw unread.node.invalid(expected: "an input that an operator reads") }
    for output in try root.elementsIfPresent("outputs") ?? [] { try readOutput(output) }
    if let loss = root.nodeIfPresent("loss") {
      let tensor = try computed(loss)
      guard builder.tensors[tensor].dimensions.isEmpty else { throw loss.invalid(expected: "the name of a scalar, such as a cross_entropy") }
      builder.loss = tensor
    }
    try root.finish()
    return try builder.finish()
  }

  private mutating func readAxis(_ node: Node) throws {
    let object = try node.object(keys: ["name", "role", "extent"])
    let name = try object.node("name")
    let role = try object.choice("role", of: Axis.Role.self)
    let fromWorkload: Int? =
      switch role {
      case .batch, .candidates: builder.workload.batch
      case .sequence: builder.workload.sequence
      default: nil
      }
    let bound = Bound<Int>.within(1, GraphBuilder.largestExtent)
    let axis: AxisID
    if role == .slots {
      axis = builder.slots(try name.string(), try readSlots(object.object("extent")))
    } else {
      let extent = try object.contains("extent") || fromWorkload == nil ? object.int("extent", bound) : fromWorkload ?? 1
      axis = builder.axis(try name.string(), extent, role)
    }
    object.ignore("extent")
    try object.finish()
    guard axes.updateValue(axis, forKey: try name.string()) == nil else {
      throw name.invalid(expected: "a name that no other axis has")
    }
  }

  /// What the extent of an axis of role `slots` follows.
  private func readSlots(_ object: ObjectReader) throws -> Axis.Slots {
    func axis(_ key: String, _ what: String, _ isRight: (Axis.Role) -> Bool) throws -> AxisID {
      let node = try object.node(key)
      guard let axis = axes[try node.string()], isRight(builder.axes[axis].role) else {
        throw node.invalid(expected: "the name of \(what), declared before")
      }
      return axis
    }
    let slots = Axis.Slots(
      positions: try axis("positions", "an axis of positions") { $0 != .slots },
      experts: try axis("experts", "an axis of role \"experts\"") { $0 == .experts },
      perToken: try object.int("top_k", .within(1, GraphBuilder.largestExtent)))
    try object.finish()
    return slots
  }

  private mutating func readInput(_ node: Node) throws {
    let object = try node.object(keys: ["name", "axes"])
    let kind = try object.choice("name", of: InputKind.self)
    let axes = try dimensions(object.node("axes"))
    try object.finish()
    if unreadInputs.contains(where: { $0.kind == kind }) { throw try object.node("name").invalid(expected: "an input that is not there yet") }
    unreadInputs.append((kind, axes, node))
  }

  private mutating func readSegment(_ node: Node) throws {
    let object = try node.object(keys: ["name", "repeats", "entries", "operators", "exits"])
    let name = try object.string("name")
    let repeats = try object.intIfPresent("repeats", .within(1, ConfigurationReader.mostLayers)) ?? 1
    local = []
    var entries: [TensorID] = []
    for entry in try object.elementsIfPresent("entries") ?? [] {
      let reader = try entry.object(keys: ["name", "axes"])
      entries.append(try addValue(reader.node("name"), dimensions(reader.node("axes"))))
      try reader.finish()
    }
    builder.begin(segment: name, repeats: repeats, entries: entries)
    for op in try object.elements("operators") { try readOperator(op) }
    let exits = try (object.elementsIfPresent("exits") ?? []).map { try operand($0) }
    builder.end(exits: exits)
    try object.finish()
  }

  private mutating func readOperator(_ node: Node) throws {
    let object = try node.object(keys: ["name", "op", "in", "weights", "axes", "result"])
    let name = try object.node("name")
    let kind = try OperatorKind(reading: object)
    var operands = try object.elementsIfPresent("in")?.map { try operand($0) } ?? []
    for weight in try object.elementsIfPresent("weights") ?? [] { operands.append(try readWeight(weight)) }
    let stated = try object.nodeIfPresent("axes").map { try dimensions($0) }
    let result = object.nodeIfPresent("result") ?? name
    try object.finish()
    guard let axes = stated ?? kind.inferredResult(operands.map { builder.tensors[$0].dimensions }) else {
      let counts = kind.operandCounts
      if !counts.contains(operands.count) {
        throw node.invalid(expected: "\(counts.lowerBound) to \(counts.upperBound) operands of \(kind.formatName), not \(operands.count)")
      }
      throw DocumentError.missingKey(file: node.file, path: node.path, key: "axes", misspelt: nil)
    }
    let op = Operator(name: try name.string(), kind: kind, operands: operands, result: try addValue(result, axes))
    do {
      try op.checkShapes(axes: builder.axes, tensors: builder.tensors)
    } catch ModelError.inconsistent(let place, let problem) {
      throw ModelError.inconsistent(where: "\(node.path) (\(place))", problem: problem)
    }
    builder.append(op)
  }

  /// A weight that is written out, or the name of one that was before.
  private mutating func readWeight(_ node: Node) throws -> TensorID {
    if case .string(let name) = node.value {
      guard let known = parameters[name] else { throw node.invalid(expected: "the name of a weight that is written out before, or a weight") }
      return known
    }
    let object = try node.object(keys: ["name", "axes", "stored", "norm_weight", "frozen"])
    let name = try object.string("name")
    let axes = try dimensions(object.node("axes"))
    let shape = axes.map(builder.extent)
    let size = Bound<Int>.within(0, GraphBuilder.mostElements)
    let stored = try object.objectIfPresent("stored")
    let checkpoint = try stored?.stringIfPresent("name")
    let plain = ParameterSource.contiguous(shape, isStacked: (checkpoint ?? name).contains(ParameterSource.elementMark))
    let tensor = builder.parameter(
      name, axes, checkpoint: checkpoint,
      shape: try stored?.intsIfPresent("shape", size) ?? plain.shape, offset: try stored?.intIfPresent("offset", size) ?? 0,
      strides: try stored?.intsIfPresent("strides", size) ?? plain.strides,
      isNormWeight: try object.boolIfPresent("norm_weight") ?? false, isFrozen: try object.boolIfPresent("frozen") ?? false)
    try stored?.finish()
    try object.finish()
    guard parameters.updateValue(tensor, forKey: name) == nil else {
      throw try object.node("name").invalid(expected: "a name that no other weight has; to use a weight again, write its name only")
    }
    return tensor
  }

  /// An input, or what the segment holds so far.
  private mutating func operand(_ node: Node) throws -> TensorID {
    let name = try node.string()
    if let index = unreadInputs.firstIndex(where: { $0.kind.rawValue == name }) {
      let input = unreadInputs.remove(at: index)
      values[name] = builder.input(input.kind, input.axes)
    }
    guard let tensor = values[name], builder.tensors[tensor].isInput || local.contains(tensor) else {
      throw node.invalid(expected: "an input, an entry of this segment, or the result of an operator before in this segment")
    }
    return tensor
  }

  private mutating func addValue(_ name: Node, _ axes: [AxisID]) throws -> TensorID {
    let text = try name.string()
    let tensor = builder.tensor(text, axes)
    guard values.updateValue(tensor, forKey: text) == nil, InputKind(rawValue: text) == nil else {
      throw name.invalid(expected: "a name that no other input, entry or result has")
    }
    local.insert(tensor)
    return tensor
  }

  private mutating func readOutput(_ node: Node) throws {
    let object = try node.object(keys: ["name", "tensor"])
    builder.output(try object.string("name"), try computed(object.node("tensor")))
    try object.finish()
  }

  /// An entry or result of any segment.
  private func computed(_ node: Node) throws -> TensorID {
    guard let tensor = values[try node.string()], builder.tensors[tensor].isActivation else {
      throw node.invalid(expected: "the name of an operator's result or a segment's entry")
    }
    return tensor
  }

  private func dimensions(_ node: Node) throws -> [AxisID] {
    try node.elements().map { element in
      guard let axis = axes[try element.string()] else { throw element.invalid(expected: "the name of an axis") }
      return axis
    }
  }
}
