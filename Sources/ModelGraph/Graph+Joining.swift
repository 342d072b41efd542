// SPDX-License-Identifier: GPL-3.0-or-later

extension Graph {
  /// The model before `dividing`: consecutive segments that are parts of one block, which differ in the copies that they start with alone, are one again.
  ///
  /// - Returns: the graph, and for each operator of this one the one that it becomes; nil where no segment is divided.
  package func joiningParts() -> (graph: Graph, origins: [OperatorID])? {
    let groups = groupsOfParts
    if groups.count == segments.count { return nil }
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = maximumSequence
    builder.isPerMicroBatch = isPerMicroBatch
    for axis in axes { _ = axis.slots.map { builder.slots(axis.name, $0) } ?? builder.axis(axis.name, axis.extent, axis.role) }
    var origins = [OperatorID](repeating: 0, count: operators.count)
    var places = [TensorID?](repeating: nil, count: tensors.count)
    func place(_ id: TensorID) -> TensorID {
      if let known = places[id] { return known }
      places[id] = builder.tensor(tensors[id].name, tensors[id].dimensions, tensors[id].kind)
      return places[id]!
    }
    for group in groups {
      let first = segments[group.lowerBound]
      builder.begin(segment: first.name, repeats: group.reduce(0) { $0 + segments[$1].repeats }, entries: first.entries.map(place))
      for op in first.operators {
        origins[op] = builder.operators.count
        var copy = operators[op]
        copy.operands = copy.operands.map(place)
        copy.result = place(copy.result)
        builder.append(copy)
      }
      builder.end(exits: first.exits.map(place))
      for other in group.dropFirst().map({ segments[$0] }) {
        for (tensor, own) in zip(other.entries, first.entries) { places[tensor] = places[own] }
        for (op, own) in zip(other.operators, first.operators) {
          origins[op] = origins[own]
          for (tensor, own) in zip(operators[op].operands + [operators[op].result], operators[own].operands + [operators[own].result]) {
            places[tensor] = places[own]
          }
        }
      }
    }
    builder.outputs = outputs.map { Output(name: $0.name, tensor: places[$0.tensor]!) }
    builder.loss = loss.flatMap { places[$0] }
    // Parts that differ in more than names, in shapes or in what they read, do not become this model again.
    guard let joined = try? builder.finish() else { return nil }
    var divided = joined
    for (segment, group) in groups.enumerated().reversed() where group.count > 1 {
      divided = divided.dividing(segment, into: group.map { segments[$0].repeats }).graph
    }
    return divided == self ? (joined, origins) : nil
  }

  /// The segments, with those that follow one another as parts of a block together.
  private var groupsOfParts: [Range<SegmentID>] {
    func names(_ segment: SegmentID) -> [String] { segments[segment].operators.map { Graph.withoutFirstCopy(operators[$0].name) } }
    var groups: [Range<SegmentID>] = []
    for segment in segments.indices {
      if let last = groups.last, copies(of: segment).lowerBound > 0, copies(of: segment).lowerBound == copies(of: segment - 1).upperBound,
        names(segment) == names(last.lowerBound)
      {
        groups[groups.count - 1] = last.lowerBound..<segment + 1
      } else {
        groups.append(segment..<segment + 1)
      }
    }
    return groups
  }
}
