// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Names of copies: `{i}` stands for a copy's index in its segment, and `{i+5}` for five more, where a segment starts with the sixth layer.
extension Graph {
  private static func placeholder(in pattern: String) -> (range: Range<String.Index>, first: Int)? {
    guard let open = pattern.range(of: "{i"), let close = pattern[open.upperBound...].firstIndex(of: "}") else { return nil }
    let range = open.lowerBound..<pattern.index(after: close)
    let text = pattern[open.upperBound..<close]
    if text.isEmpty { return (range, 0) }
    guard text.first == "+", let first = Int(text.dropFirst()), first >= 0 else { return nil }
    return (range, first)
  }

  /// Whether a name differs from copy to copy.
  package static func isPerCopy(_ pattern: String) -> Bool { placeholder(in: pattern) != nil }

  /// A name with the copy's number in place of `{i}`.
  package static func name(_ pattern: String, copy index: Int) -> String {
    guard let (range, first) = placeholder(in: pattern) else { return pattern }
    return pattern.replacingCharacters(in: range, with: String(first + index))
  }

  /// The name in a segment that starts so many copies later.
  private static func name(_ pattern: String, startingAt start: Int) -> String {
    guard let (range, first) = placeholder(in: pattern), start > 0 else { return pattern }
    return pattern.replacingCharacters(in: range, with: "{i+\(first + start)}")
  }

  /// A pattern as its layers' names have it, whichever copy its segment starts with.
  package static func withoutFirstCopy(_ pattern: String) -> String {
    guard let (range, _) = placeholder(in: pattern) else { return pattern }
    return pattern.replacingCharacters(in: range, with: "{i}")
  }

  /// The numbers of a segment's copies.
  package func copies(of segment: SegmentID) -> Range<Int> {
    let first = segments[segment].operators.first.map { Graph.firstCopy(operators[$0].name) } ?? 0
    return first..<first + segments[segment].repeats
  }

  /// The number of the copy that a pattern's segment starts with.
  package static func firstCopy(_ pattern: String) -> Int { placeholder(in: pattern)?.first ?? 0 }

  /// The same model with the copies of one segment written as several segments in a row, of so many copies each.
  ///
  /// - Returns: the graph, and for each of its operators the one that it stems from.
  /// - Precondition: the counts are positive and add up to the segment's copies, unless `countsAreSymbolic`.
  package func dividing(_ segment: SegmentID, into counts: [Int], countsAreSymbolic: Bool = false) -> (graph: Graph, origins: [OperatorID]) {
    precondition(countsAreSymbolic || (counts.allSatisfy { $0 > 0 } && counts.reduce(0, +) == segments[segment].repeats), "all copies are kept")
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = maximumSequence
    builder.isPerMicroBatch = isPerMicroBatch
    for axis in axes { _ = axis.slots.map { builder.slots(axis.name, $0) } ?? builder.axis(axis.name, axis.extent, axis.role) }
    var origins: [OperatorID] = []
    // What stands outside the divided segment, or in its part that was written last.
    var places = [TensorID?](repeating: nil, count: tensors.count)
    for (number, old) in segments.enumerated() {
      var first = 0
      for count in number == segment ? counts : [old.repeats] {
        var own: Set<TensorID> = []
        /// The tensor in this part, made when it is first met.
        func place(_ id: TensorID) -> TensorID {
          if let known = places[id], number != segment || own.contains(id) || !isOwn(id, of: number) { return known }
          own.insert(id)
          var copy = tensors[id]
          if number == segment {
            copy.name = Graph.name(copy.name, startingAt: first)
            if var source = copy.parameter {
              source.checkpointName = Graph.name(source.checkpointName, startingAt: first)
              copy.kind = .parameter(source)
            }
          }
          places[id] = builder.tensor(copy.name, copy.dimensions, copy.kind)
          return places[id]!
        }
        builder.begin(segment: Graph.partName(old.name, startingAt: first), repeats: count, entries: old.entries.map(place))
        for op in old.operators {
          var copy = operators[op]
          if number == segment { copy.name = Graph.name(copy.name, startingAt: first) }
          copy.operands = copy.operands.map(place)
          copy.result = place(copy.result)
          builder.append(copy)
          origins.append(op)
        }
        builder.end(exits: old.exits.map(place))
        first += count
      }
    }
    builder.outputs = outputs.map { Output(name: $0.name, tensor: places[$0.tensor]!) }
    builder.loss = loss.flatMap { places[$0] }
    do { return (try builder.finish(), origins) } catch { preconditionFailure("a part of a valid graph is valid: \(error)") }
  }

  /// The name of a divided segment's part that starts so many copies later: `block`, `block+5`.
  private static func partName(_ segment: String, startingAt first: Int) -> String { first == 0 ? segment : "\(segment)+\(first)" }

  /// A segment's name without the number of the copy that it starts with, which `copies(of:)` tells.
  package func nameOfLayers(_ segment: SegmentID) -> String {
    let (name, number) = (segments[segment].name, "+\(copies(of: segment).lowerBound)")
    return name.hasSuffix(number) ? String(name.dropLast(number.count)) : name
  }

  /// Whether each part of a divided segment has a tensor of its own.
  private func isOwn(_ tensor: TensorID, of segment: SegmentID) -> Bool {
    if let source = tensors[tensor].parameter { return Graph.isPerCopy(source.checkpointName) }
    return tensors[tensor].isActivation
  }

  /// Whether a segment holds layers: it occurs several times, or is named after its number.
  package func holdsLayers(_ segment: SegmentID) -> Bool {
    segments[segment].repeats > 1 || segments[segment].operators.contains { Graph.isPerCopy(operators[$0].name) }
  }
}

extension Graph {
  /// Every parameter of every copy by its own name.
  package var namedParameters: [(name: String, shape: [Int])] {
    parameterSites.map { (name(ofParameter: $0.tensor, copy: $0.copy), shape($0.tensor)) }
  }

  /// Every parameter of every copy.
  package var parameterSites: [(tensor: TensorID, copy: Int)] {
    tensors.indices.filter { tensors[$0].isParameter }.flatMap { tensor in
      (0..<(consumers[tensor].first.map { segments[segmentOfOperator[$0.op]].repeats } ?? 1)).map { (tensor, $0) }
    }
  }

  /// A parameter's own name, which no other has, whatever segments the layers are cut into.
  package func name(ofParameter tensor: TensorID, copy: Int) -> String {
    let (name, source) = (tensors[tensor].name, tensors[tensor].parameter?.checkpointName ?? "")
    // A model of one's own may number only what it reads.
    return Graph.isPerCopy(source) && !Graph.isPerCopy(name) ? "\(name) (\(Graph.name(source, copy: copy)))" : Graph.name(name, copy: copy)
  }
}
