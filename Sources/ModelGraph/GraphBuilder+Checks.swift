// SPDX-License-Identifier: GPL-3.0-or-later

/// What `finish` checks, beside the order in which operators use their tensors.
extension GraphBuilder {
  /// What one segment, or one copy of it, sends on is what the next takes in.
  func checkSeam(from previous: Segment?, to segment: Segment) throws {
    let outgoing = previous?.exits ?? []
    // A seam may rename an axis, but not change what it is: BERT's tied decoder contracts the axis that the embedding made.
    let shapesOut = outgoing.map { tensors[$0].dimensions.map { axes[$0].unnamed } }
    let shapesIn = segment.entries.map { tensors[$0].dimensions.map { axes[$0].unnamed } }
    if shapesOut != shapesIn {
      func text(_ carried: [TensorID]) -> String {
        if carried.isEmpty { return "nothing" }
        return carried.map { "\(tensors[$0].name) \(tensors[$0].dimensions.map { "\(axes[$0].name) \(axes[$0].extent)" })" }.joined(separator: ", ")
      }
      let source = previous.map { $0.name == segment.name ? "its copy before" : "segment \($0.name)" } ?? "the model's start"
      throw ModelError.inconsistent(
        where: "segment \(segment.name)", problem: "takes in \(text(segment.entries)), but \(source) sends on \(text(outgoing))")
    }
  }

  /// Each tensor is carried once, and what a segment sends on it computes itself: a stage sends its gradient back to the operator that made it.
  func checkCarries(of segment: Segment, available: Set<TensorID>) throws {
    func failure(_ problem: String) -> ModelError { .inconsistent(where: "segment \(segment.name)", problem: problem) }
    var seen = Set<TensorID>()
    for entry in segment.entries where !seen.insert(entry).inserted { throw failure("takes in \(tensors[entry].name) twice; take it in once") }
    seen = []
    for exit in segment.exits {
      let name = tensors[exit].name
      if !available.contains(exit) { throw failure("sends on \(name), which it does not compute") }
      if segment.entries.contains(exit) {
        throw failure("sends on \(name) as it came in; let an operator of the segment give what it sends on (a `pass`)")
      }
      if !seen.insert(exit).inserted { throw failure("sends on \(name) twice; send it once, and let all that read it share it") }
    }
  }

  /// A tensor's dimensions are different axes, and its elements and those of the stored tensor can be counted.
  func checkSize(of tensor: Tensor) throws {
    if Set(tensor.dimensions).count != tensor.dimensions.count {
      throw ModelError.inconsistent(where: tensor.name, problem: "has a dimension twice: \(tensor.dimensions.map { axes[$0].name })")
    }
    let shapes = [tensor.dimensions.map(extent)] + (tensor.parameter.map { [$0.checkpointShape] } ?? [])
    for shape in shapes where elements(shape) == nil {
      throw ModelError.inconsistent(
        where: tensor.name, problem: "its shape \(shape) has an extent below 1 or more than \(Self.mostElements) elements")
    }
  }

  /// Operators have different names; so have parameters; so have all other tensors.
  func checkNames() throws {
    let kinds = [
      ("operators", operators.map(\.name)), ("parameters", tensors.filter(\.isParameter).map(\.name)),
      ("tensors", tensors.filter { !$0.isParameter }.map(\.name)), ("segments", segments.map(\.name)),
    ]
    for (kind, list) in kinds {
      var names = Set<String>()
      for name in list where !names.insert(name).inserted { throw ModelError.inconsistent(where: name, problem: "two \(kind) have this name") }
    }
  }

  /// Every parameter is read, by one segment whose copies it is named after or by any that occur once, and all together can be counted.
  func checkParameters(_ consumers: [[Graph.OperandSite]], _ segmentOf: [SegmentID]) throws {
    var total = 0
    for (id, tensor) in tensors.enumerated() where tensor.isParameter {
      guard let reader = consumers[id].first else {
        throw ModelError.inconsistent(where: tensor.name, problem: "no operator reads this parameter")
      }
      let copies = segments[segmentOf[reader.op]].repeats
      let isPerCopy = tensor.parameter.map { Graph.isPerCopy($0.checkpointName) } ?? false
      for site in consumers[id] where isPerCopy ? segmentOf[site.op] != segmentOf[reader.op] : segments[segmentOf[site.op]].repeats > 1 {
        throw ModelError.inconsistent(
          where: tensor.name,
          problem: isPerCopy
            ? "its checkpoint name has {i}, so only one segment may read it"
            : "the copies of segment \(segments[segmentOf[site.op]].name) read it; its checkpoint name needs {i} for the copy's index")
      }
      guard let count = elements(tensor.dimensions.map(extent) + [copies]), total + count <= Self.mostElements else {
        throw ModelError.inconsistent(where: tensor.name, problem: "the model has more than \(Self.mostElements) parameters")
      }
      total += count
    }
  }

  /// The product of a shape's extents; nil where one is below 1 or the product is above `mostElements`.
  private func elements(_ shape: [Int]) -> Int? {
    var product = 1
    for extent in shape {
      let (next, overflow) = product.multipliedReportingOverflow(by: extent)
      guard extent >= 1, !overflow, next <= Self.mostElements else { return nil }
      product = next
    }
    return product
  }

  /// A view stays inside the stored tensor.
  func check(_ source: ParameterSource, of tensor: Tensor) throws {
    let shape = tensor.dimensions.map { axes[$0].extent }
    guard source.strides.count == shape.count, source.strides.allSatisfy({ $0 >= 0 }), source.offset >= 0 else {
      throw ModelError.inconsistent(where: tensor.name, problem: "one stride per dimension is needed, and none below 0")
    }
    if source.isStacked, source.strides.first != 0 {
      throw ModelError.inconsistent(
        where: tensor.name,
        problem: "\(source.checkpointName) stands for one stored tensor for each element of the first dimension; its first stride must be 0")
    }
    let stored = source.checkpointShape.reduce(1, *)
    var last = source.offset
    for (extent, stride) in zip(shape, source.strides) {
      let (reach, overflow) = (extent - 1).multipliedReportingOverflow(by: stride)
      // A reach beyond the tensor ends the sum, so it cannot overflow.
      guard !overflow, reach < stored, last < stored else {
        last = stored
        break
      }
      last += reach
    }
    if last >= stored {
      throw ModelError.inconsistent(
        where: tensor.name, problem: "reaches beyond the end of \(source.checkpointName), which has \(stored) elements")
    }
  }
}
