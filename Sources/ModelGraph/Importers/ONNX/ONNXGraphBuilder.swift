// SPDX-License-Identifier: GPL-3.0-or-later
import ONNXFormat

/// Writes a network that was found as the graph, and says which stored tensor each of its weights is.
struct ONNXGraphBuilder {
  private let network: ONNXNetwork
  private let segments: [ONNXSegments.Segment]
  private var builder: GraphBuilder
  private var axes: [[AxisTable.Class]: AxisID] = [:]
  private var axisNames: Set<String> = []
  /// By operator of the network.
  private var results: [Int: TensorID] = [:]
  private var parameters: [ONNXParameter: TensorID] = [:]
  private var operatorNames: Set<String> = []
  /// Names in the graph, of stored tensors.
  private var storedNames: [Int: String] = [:]
  /// The number of the stored tensor by the name that the graph has for it, of each copy.
  private(set) var weights: [String: Int] = [:]

  private var recognition: ONNXRecognition { network.recognition }

  /// The sequence for which a graph is written whose file leaves it open and has no table of positions.
  private static let usualSequence = 1024

  init(_ network: ONNXNetwork, name: String) {
    self.network = network
    segments = ONNXSegments(network).segments
    builder = GraphBuilder(name: name)
    builder.workload = Workload(batch: network.recognition.evaluation.fixedBatch, sequence: network.recognition.evaluation.fixedSequence)
    builder.maximumSequence = network.recognition.evaluation.fixedSequence ?? network.recognition.maximumSequence
  }

  /// - Throws: `ModelError.inconsistent` where the operators that were found do not fit together.
  mutating func graph() throws -> Graph {
    var carried: Int?
    for (number, segment) in segments.enumerated() {
      let (range, isLast) = (segment.operators, number == segments.count - 1)
      let name = title(number)
      let names = range.map { operatorName($0, segment, name) }
      begin(name, segment.repeats, path: Self.commonPath(names) ?? name, carried)
      for (op, name) in zip(range, names) { try write(op, name, segment) }
      if isLast, segment.repeats == 1 { writeLoss() }
      // What goes on, as the last copy gives it: an output, where nothing else follows layers.
      let end = range.upperBound + (segment.repeats - 1) * range.count
      carried =
        isLast
        ? (segment.repeats > 1 ? network.outputs.first { $0.op == end - 1 }?.op : nil)
        : network.operators[end...].lazy.flatMap(\.results).first { $0 < end }
      let exit = carried.flatMap { results[$0 - (segment.repeats - 1) * range.count] }
      builder.end(exits: exit.map { [$0] } ?? [])
    }
    if let carried {
      begin("head", 1, path: "head", carried)
      if let entry = results[carried] { results[carried] = builder.apply(.pass, "head.pass", [entry], to: dimensions(network.axes(carried))) }
      writeLoss()
      builder.end()
    }
    for output in network.outputs {
      if let tensor = results[output.op] { builder.outputs.append(Graph.Output(name: output.name, tensor: tensor)) }
    }
    return try builder.finish()
  }

  // MARK: - Segments

  /// What a segment is called, by its place.
  private func title(_ number: Int) -> String {
    let areLayers = segments.map { $0.repeats > 1 }
    if !areLayers.contains(true) { return "model" }
    let before = areLayers[..<number].count { $0 == areLayers[number] }
    if areLayers[number] { return before == 0 ? "block" : "block_\(before + 1)" }
    return number == 0 ? "embedding" : number == segments.count - 1 ? "head" : "middle_\(number)"
  }

  /// Starts a segment that takes in what the one before hands on.
  private mutating func begin(_ name: String, _ repeats: Int, path: String, _ carried: Int?) {
    if let carried {
      results[carried] = builder.begin(segment: name, repeats: repeats, path: path, carry: dimensions(network.axes(carried)))
    } else {
      builder.begin(segment: name, repeats: repeats)
    }
  }

  /// The mean cross-entropy of outputs that are called logits.
  private mutating func writeLoss() {
    guard let output = network.outputs.first(where: { $0.name == "logits" }), let logits = results[output.op] else { return }
    let axes = network.axes(output.op)
    guard (2...3).contains(axes.count), network.role(axes[axes.count - 1]) == .vocabulary else { return }
    builder.crossEntropyLoss(logits)
  }

  // MARK: - Operators

  private mutating func write(_ op: Int, _ name: String, _ segment: ONNXSegments.Segment) throws {
    let source = network.operators[op]
    var operands: [TensorID] = []
    for operand in source.operands {
      switch operand {
      case .result(let result):
        guard let tensor = results[result] else { throw ModelError.inconsistent(where: source.place, problem: "reads what its layer does not have") }
        operands.append(tensor)
      case .input(let kind): operands.append(builder.input(kind, dimensions(network.axes(kind))))
      case .parameter(let parameter): operands.append(write(parameter, of: op, name, operands.count, segment))
      }
    }
    results[op] = builder.apply(source.kind, name, operands, to: dimensions(network.axes(op)))
  }

  private mutating func write(
    _ parameter: ONNXParameter, of op: Int, _ operatorName: String, _ position: Int, _ segment: ONNXSegments.Segment
  ) -> TensorID {
    if let known = parameters[parameter] { return known }
    let kind = network.operators[op].kind
    let isNamedAlike = [.bias, .prependToken].contains(kind)
    let ending = operands(before: position, of: op) > 0 ? "bias" : "weight"
    let name = isNamedAlike ? operatorName : "\(operatorName).\(ending)"
    let stored = storedName(parameter.tensor, of: op, position, otherwise: name, segment)
    let axes = network.axes(parameter)
    let tensor = builder.parameter(
      name, dimensions(axes.map(\.axis)), checkpoint: stored, shape: recognition.stored[parameter.tensor].shape, offset: parameter.offset,
      strides: axes.map(\.stride), isNormWeight: parameter.isNormWeight)
    parameters[parameter] = tensor
    return tensor
  }

  /// How many parameters an operator reads before a position.
  private func operands(before position: Int, of op: Int) -> Int {
    network.operators[op].operands[..<position].count { if case .parameter = $0 { true } else { false } }
  }

  /// The name by which the graph knows a stored tensor: the file's, where it is one for all copies, else one made of the operator's.
  private mutating func storedName(
    _ tensor: Int, of op: Int, _ position: Int, otherwise made: String, _ segment: ONNXSegments.Segment
  ) -> String {
    if let known = storedNames[tensor] { return known }
    let copies = (0..<segment.repeats).compactMap { copy -> Int? in
      guard case .parameter(let own)? = network.operators[op + copy * segment.operators.count].operands[position] as ONNXOperator.Operand? else {
        return nil
      }
      return own.tensor
    }
    let names = copies.map { recognition.stored[$0].name }
    let own = segment.repeats > 1 ? ONNXNames.pattern(names) : Graph.isPerCopy(names[0]) || names[0].isEmpty ? nil : names[0]
    let name = own ?? unused(made, segment.repeats)
    for (copy, tensor) in copies.enumerated() {
      weights[Graph.name(name, copy: copy)] = tensor
      storedNames[tensor] = name
    }
    return name
  }

  /// A name that no tensor of the file, and none that was named, has in any copy.
  private func unused(_ made: String, _ copies: Int) -> String {
    let taken = Set(recognition.stored.map(\.name)).union(weights.keys)
    var (name, number) = (made, 2)
    while (0..<copies).contains(where: { taken.contains(Graph.name(name, copy: $0)) }) {
      name = "\(made)_\(number)"
      number += 1
    }
    return name
  }

  /// The name of an operator in all copies of its segment, different from all others.
  private mutating func operatorName(_ op: Int, _ segment: ONNXSegments.Segment, _ title: String) -> String {
    let length = segment.operators.count
    let plain = network.name(op)
    var name = plain
    if segment.repeats > 1 {
      let fallback = "\(title).{i}.\(plain.split(separator: ".").filter { Int($0) == nil }.suffix(2).joined(separator: "."))"
      name = ONNXNames.pattern((0..<segment.repeats).map { network.name(op + $0 * length) }) ?? fallback
    }
    var (unique, number) = (name, 2)
    while !operatorNames.insert(unique).inserted {
      unique = "\(name)_\(number)"
      number += 1
    }
    return unique
  }

  /// The modules that all names of a segment begin with.
  private static func commonPath(_ names: [String]) -> String? {
    let parts = names.map { $0.split(separator: ".").dropLast() }
    guard var common = parts.first.map(Array.init) else { return nil }
    for part in parts { common = zip(common, part).prefix { $0 == $1 }.map(\.0) }
    return common.isEmpty ? nil : common.joined(separator: ".")
  }

  // MARK: - Axes

  private mutating func dimensions(_ list: [[AxisTable.Class]]) -> [AxisID] { list.map { axis($0) } }

  private mutating func axis(_ axis: [AxisTable.Class]) -> AxisID {
    if let known = axes[axis] { return known }
    let evaluation = recognition.evaluation
    let role = network.role(axis)
    var extent = network.extent(axis)
    if axis == [recognition.axes.root(recognition.batch)] { extent = evaluation.fixedBatch ?? 1 }
    if axis == [recognition.axes.root(recognition.sequence)] {
      extent = evaluation.fixedSequence ?? recognition.maximumSequence ?? Self.usualSequence
    }
    let hidden = axes.first { builder.axes[$0.value].name == "hidden" }.map { network.extent($0.key) } ?? 0
    let known = network.axisName(axis)
    let title = known.isEmpty ? (extent > hidden && hidden > 0 ? "ffn" : "features") : known
    var (name, number) = (title, 2)
    while !axisNames.insert(name).inserted {
      name = "\(title)_\(number)"
      number += 1
    }
    let id = builder.axis(name, extent, role)
    axes[axis] = id
    return id
  }
}
