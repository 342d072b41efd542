// SPDX-License-Identifier: GPL-3.0-or-later

/// Why a model cannot be taken as it stands.
package enum ModelError: Error, CustomStringConvertible {
  /// The operators, tensors or segments contradict each other. `where` names the operator or tensor.
  case inconsistent(where: String, problem: String)
  /// The file asks for something that is not implemented and would change the numbers.
  case unsupported(file: String, path: String, found: String, supported: String)
  /// A part of a file that has no operator in the graph. `place` names it: a node of an ONNX file.
  case unmapped(file: String, place: String, problem: String, expected: String)
  /// The file is JSON, but says neither that it is a native model nor which architecture it configures.
  case unrecognised(file: String, path: String)

  package var description: String {
    switch self {
    case .inconsistent(let place, let problem): "\(place): \(problem)"
    case .unsupported(let file, let path, let found, let supported): "\(file): \(path): \(found) is not supported; supported: \(supported)"
    case .unmapped(let file, let place, let problem, let expected): "\(file): \(place): \(problem); expected \(expected)"
    case .unrecognised(let file, let path):
      "\(file): \(path): not a model; expected the key \"format\" (\"\(NativeModel.format)\", a native model) or \"model_type\" (a Hugging Face "
        + "config.json: \(HuggingFace.modelTypes.joined(separator: ", ")))"
    }
  }
}

/// Collects axes, tensors, operators and segments, and checks them into a `Graph`.
package struct GraphBuilder {
  /// No axis may be longer; it keeps the product of two extents far from overflow.
  package static let largestExtent = 1 << 24
  /// No tensor, and no model's parameters together, may have more elements; a byte count of them still fits 64 bits.
  package static let mostElements = 1 << 53

  package var name: String
  package var workload = Workload()
  package var maximumSequence: Int?
  package var isPerMicroBatch = false
  package var loss: TensorID?
  package var outputs: [Graph.Output] = []
  package private(set) var axes: [Axis] = []
  package private(set) var tensors: [Tensor] = []
  package private(set) var operators: [Operator] = []
  package private(set) var segments: [Segment] = []
  private var openSegment: (name: String, repeats: Int, first: OperatorID, entries: [TensorID])?

  package init(name: String) { self.name = name }

  package mutating func axis(_ name: String, _ extent: Int, _ role: Axis.Role) -> AxisID {
    axes.append(Axis(name: name, extent: extent, role: role))
    return axes.count - 1
  }

  /// An axis of places for tokens at experts, whose extent follows that of the positions.
  package mutating func slots(_ name: String, _ slots: Axis.Slots) -> AxisID {
    axes.append(Axis(name: name, extent: slots.extent(in: axes), role: .slots, slots: slots))
    return axes.count - 1
  }

  package mutating func tensor(_ name: String, _ dimensions: [AxisID], _ kind: Tensor.Kind = .activation) -> TensorID {
    tensors.append(Tensor(name: name, dimensions: dimensions, kind: kind))
    return tensors.count - 1
  }

  package mutating func input(_ kind: InputKind, _ dimensions: [AxisID]) -> TensorID {
    if let known = tensors.firstIndex(where: { $0.kind == .input(kind) }) { return known }
    return tensor(kind.rawValue, dimensions, .input(kind))
  }

  /// Appends an operator to the open segment and returns its result, a new tensor of the operator's name.
  package mutating func apply(_ kind: OperatorKind, _ name: String, _ operands: [TensorID], to dimensions: [AxisID]) -> TensorID {
    let result = tensor(name, dimensions)
    append(Operator(name: name, kind: kind, operands: operands, result: result))
    return result
  }

  /// Appends an operator whose tensors exist already.
  package mutating func append(_ op: Operator) { operators.append(op) }

  /// Starts a segment; `entries` are tensors that come in from the copy before.
  package mutating func begin(segment name: String, repeats: Int = 1, entries: [TensorID] = []) {
    precondition(openSegment == nil, "a segment is open")
    openSegment = (name, repeats, operators.count, entries)
  }

  package mutating func end(exits: [TensorID] = []) {
    guard let open = openSegment else { preconditionFailure("no segment is open") }
    segments.append(
      Segment(name: open.name, repeats: open.repeats, operators: Array(open.first..<operators.count), entries: open.entries, exits: exits))
    openSegment = nil
  }

  package func extent(_ axis: AxisID) -> Int { axes[axis].extent }

  /// Checks everything and returns the graph.
  ///
  /// - Throws: `ModelError.inconsistent` for an extent below 1, a size beyond `mostElements`, a dimension that occurs twice, a tensor with two producers or none, an operand that is not computed before
  ///   its reader or lies in another segment, carries whose shapes differ, that are carried twice or handed on as they came in, or a name used twice.
  package func finish() throws -> Graph {
    var producer = [OperatorID?](repeating: nil, count: tensors.count)
    var consumers = [[Graph.OperandSite]](repeating: [], count: tensors.count)
    var segmentOf = [SegmentID](repeating: 0, count: operators.count)
    for axis in axes where axis.extent < 1 {
      throw ModelError.inconsistent(where: "axis \(axis.name)", problem: "its extent is \(axis.extent); it must be at least 1")
    }
    for tensor in tensors { try checkSize(of: tensor) }
    try checkNames()
    if segments.isEmpty { throw ModelError.inconsistent(where: name, problem: "the model has no operators") }
    var previous: Segment?
    for (index, segment) in segments.enumerated() {
      if segment.repeats < 1 {
        throw ModelError.inconsistent(where: "segment \(segment.name)", problem: "it repeats \(segment.repeats) times; at least 1 is needed")
      }
      if segment.operators.isEmpty { throw ModelError.inconsistent(where: "segment \(segment.name)", problem: "it has no operators") }
      try checkSeam(from: previous, to: segment)
      if segment.repeats > 1 { try checkSeam(from: segment, to: segment) }
      var available = Set(segment.entries)
      for op in segment.operators {
        segmentOf[op] = index
        for (position, operand) in operators[op].operands.enumerated() {
          if tensors[operand].isActivation && !available.contains(operand) {
            throw ModelError.inconsistent(
              where: operators[op].name, problem: "reads \(tensors[operand].name), which is not computed before it in segment \(segment.name)")
          }
          consumers[operand].append(Graph.OperandSite(op: op, operand: position))
        }
        let kinds = operators[op].operands.map { tensors[$0].isParameter }
        if kinds != kinds.sorted(by: { !$0 && $1 }) {
          throw ModelError.inconsistent(where: operators[op].name, problem: "reads a parameter before a computed operand; parameters come last")
        }
        let result = operators[op].result
        guard producer[result] == nil, tensors[result].isActivation, !segment.entries.contains(result) else {
          throw ModelError.inconsistent(where: operators[op].name, problem: "writes \(tensors[result].name), which has another source")
        }
        producer[result] = op
        available.insert(result)
        try operators[op].checkShapes(axes: axes, tensors: tensors)
      }
      try checkCarries(of: segment, available: available)
      previous = segment
    }
    for tensor in tensors {
      if let source = tensor.parameter { try check(source, of: tensor) }
    }
    try checkParameters(consumers, segmentOf)
    return Graph(
      name: name, axes: axes, tensors: tensors, operators: operators, segments: segments, outputs: outputs, loss: loss, workload: workload,
      isPerMicroBatch: isPerMicroBatch, maximumSequence: maximumSequence, producer: producer, consumers: consumers, segmentOfOperator: segmentOf)
  }
}
