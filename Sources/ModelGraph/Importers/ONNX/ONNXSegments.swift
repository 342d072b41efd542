// SPDX-License-Identifier: GPL-3.0-or-later

/// Finds the layers that a file has unrolled: parts of the network, one after the other, that are equal but for their weights.
///
/// The network is cut wherever one value alone goes on, and each piece between two cuts has a key that says what it computes. A run of equal
/// keys, or of equal groups of keys, is one segment with repeats.
struct ONNXSegments {
  struct Segment {
    /// The operators of the first copy.
    let operators: Range<Int>
    let repeats: Int
  }

  let segments: [Segment]

  init(_ network: ONNXNetwork) {
    let pieces = Self.pieces(network)
    var numbers: [[OperatorKey]: Int] = [:]
    let sharedTensors = Self.sharedTensors(network, pieces)
    let keys = pieces.map { piece -> Int in
      let key = Self.key(network, piece, sharedTensors)
      return numbers[key]
        ?? {
          numbers[key] = numbers.count
          return numbers.count - 1
        }()
    }
    segments = Self.fold(keys, pieces, network, 0..<pieces.count)
  }

  // MARK: - Pieces

  /// Operators between two places where one value alone goes on, which was computed since the place before.
  private static func pieces(_ network: ONNXNetwork) -> [Range<Int>] {
    let count = network.operators.count
    var lastUse = Array(0..<count)
    for (index, op) in network.operators.enumerated() { for source in op.results { lastUse[source] = max(lastUse[source], index) } }
    var (pieces, start, live) = ([Range<Int>](), 0, Set<Int>())
    for index in 0..<count {
      if lastUse[index] > index { live.insert(index) }
      for source in network.operators[index].results where lastUse[source] == index { live.remove(source) }
      if live.count == 1, let only = live.first, only >= start {
        pieces.append(start..<index + 1)
        start = index + 1
      }
    }
    if start < count { pieces.append(start..<count) }
    return pieces
  }

  /// What an operator computes, told by places in its piece: equal for the same operator of another layer.
  private struct OperatorKey: Hashable {
    enum Operand: Hashable {
      case local(Int)
      case entry
      case input(InputKind)
      /// `shared` differs in every operator that reads a tensor of several pieces: a layer's copies cannot have it in common.
      case parameter(shape: [Int], offset: Int, axes: [Int], strides: [Int], isNormWeight: Bool, shared: Int?)
    }

    let kind: OperatorKind
    let operands: [Operand]
    let axes: [Int]
    /// Extents and roles of the axes that occur first here.
    let newAxes: [[Int]]
    let roles: [Axis.Role]
    /// Set where a layer would have an output that its copies lack.
    let output: String?
  }

  /// Stored tensors that operators of several pieces read.
  private static func sharedTensors(_ network: ONNXNetwork, _ pieces: [Range<Int>]) -> Set<Int> {
    var (readers, shared) = ([Int: Int](), Set<Int>())
    for (number, piece) in pieces.enumerated() {
      for op in piece {
        for parameter in network.operators[op].parameters where readers.updateValue(number, forKey: parameter.tensor) ?? number != number {
          shared.insert(parameter.tensor)
        }
      }
    }
    return shared
  }

  private static func key(_ network: ONNXNetwork, _ piece: Range<Int>, _ shared: Set<Int>) -> [OperatorKey] {
    var numbers: [[AxisTable.Class]: Int] = [:]
    return piece.map { index in
      let op = network.operators[index]
      var (new, roles) = ([[Int]](), [Axis.Role]())
      func number(_ axis: [AxisTable.Class]) -> Int {
        if let known = numbers[axis] { return known }
        numbers[axis] = numbers.count
        new.append(axis.map { network.extent([$0]) })
        roles.append(network.role(axis))
        return numbers.count - 1
      }
      let operands = op.operands.map { operand -> OperatorKey.Operand in
        switch operand {
        case .result(let source):
          if piece.contains(source) { return .local(source - piece.lowerBound) }
          for axis in network.axes(source) { _ = number(axis) }
          return .entry
        case .input(let kind): return .input(kind)
        case .parameter(let parameter):
          let axes = network.axes(parameter)
          return .parameter(
            shape: network.recognition.stored[parameter.tensor].shape, offset: parameter.offset, axes: axes.map { number($0.axis) },
            strides: axes.map(\.stride), isNormWeight: parameter.isNormWeight, shared: shared.contains(parameter.tensor) ? index : nil)
        }
      }
      let axes = network.axes(index).map(number)
      let output = index == piece.upperBound - 1 ? nil : network.outputs.first { $0.op == index }?.name
      return OperatorKey(kind: op.kind, operands: operands, axes: axes, newAxes: new, roles: roles, output: output)
    }
  }

  // MARK: - Runs

  /// The segments of some pieces: the longest run of equal groups, and what stands before and after it.
  private static func fold(_ keys: [Int], _ pieces: [Range<Int>], _ network: ONNXNetwork, _ range: Range<Int>) -> [Segment] {
    if range.isEmpty { return [] }
    // What a piece hands on may be an output: of a run's last copy alone.
    let hasOutput = pieces.map { piece in network.outputs.contains { $0.op == piece.upperBound - 1 } }
    var best: (start: Int, period: Int, repeats: Int, covered: Int, fitting: Int)?
    if range.count > 1 {
      for period in 1...range.count / 2 {
        for start in range.lowerBound...range.upperBound - 2 * period {
          var repeats = 1
          /// Whether a copy gives an output before its end, which its segment could not.
          func givesOutput(_ copy: Int, before end: Int) -> Bool { hasOutput[start + copy * period..<start + copy * period + end].contains(true) }
          while start + (repeats + 1) * period <= range.upperBound,
            keys[start..<start + period].elementsEqual(keys[start + repeats * period..<start + (repeats + 1) * period]),
            !givesOutput(repeats - 1, before: period), !givesOutput(repeats, before: period - 1)
          {
            repeats += 1
          }
          guard repeats > 1, start > 0 else { continue }
          let covered = pieces[start + repeats * period - 1].upperBound - pieces[start].lowerBound
          if let best, (best.covered, -best.period) > (covered, -period) { continue }
          // Of runs that are as good, the one that starts where the names of layers start.
          let copy = pieces[start].lowerBound..<pieces[start + period - 1].upperBound
          let fitting = copy.count { op in ONNXNames.pattern((0..<repeats).map { network.name(op + $0 * copy.count) }) != nil }
          if let best, best.covered == covered, best.period == period, best.fitting >= fitting { continue }
          best = (start, period, repeats, covered, fitting)
        }
      }
    }
    guard let best else { return [Segment(operators: pieces[range.lowerBound].lowerBound..<pieces[range.upperBound - 1].upperBound, repeats: 1)] }
    let end = best.start + best.period * best.repeats
    let copy = pieces[best.start].lowerBound..<pieces[best.start + best.period - 1].upperBound
    return fold(keys, pieces, network, range.lowerBound..<best.start) + [Segment(operators: copy, repeats: best.repeats)]
      + fold(keys, pieces, network, end..<range.upperBound)
  }
}

/// Names of layers' copies.
enum ONNXNames {
  /// The name that stands for those of all copies, in order: with `{i}` for a number that counts up from 0, or `{i+5}` from 5; nil where they differ in
  /// another way.
  static func pattern(_ names: [String]) -> String? {
    let parts = names.map { $0.split(separator: ".", omittingEmptySubsequences: false) }
    guard let first = parts.first, parts.allSatisfy({ $0.count == first.count }) else { return nil }
    var place: Int?
    for index in first.indices where parts.contains(where: { $0[index] != first[index] }) {
      if place != nil { return nil }
      place = index
    }
    guard let place, let start = Int(first[place]), start >= 0 else { return nil }
    for (copy, part) in parts.enumerated() where part[place] != "\(start + copy)" { return nil }
    var pattern = first.map(String.init)
    pattern[place] = start == 0 ? "{i}" : "{i+\(start)}"
    return pattern.joined(separator: ".")
  }
}
