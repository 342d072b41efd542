// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// A collective or a message in which a rank takes part while it carries out an instruction.
package enum Exchange: Hashable, Sendable {
  /// The elements of an all-reduce's vector, of what an all-gather makes, and of what each rank has before a reduce-scatter or all-to-all.
  case collective(CollectiveKind, elements: Int, ranks: [Int])
  /// A tag is the program's, which its sender uses once. Messages without one are taken in the order in which they are sent to a rank.
  case send(elements: Int, to: Int, tag: Int?)
  case receive(elements: Int, from: Int, tag: Int?)

  package var elements: Int {
    switch self {
    case .collective(_, let elements, _), .send(let elements, _, _), .receive(let elements, _, _): elements
    }
  }

  package var isReceived: Bool { if case .receive = self { true } else { false } }

  /// As plans and reports name it; messages as a pair.
  package var kindName: String { if case .collective(let kind, _, _) = self { kind.rawValue } else { Self.messageName } }
  package static let messageName = "send-receive"
}

extension Program {
  /// All that an instruction exchanges, in order. Groups of one rank exchange nothing; an all-to-all of slots sends every slot.
  package func exchanges(of instruction: Instruction) -> [Exchange] {
    switch instruction {
    case .reshard(let step, let source, let destination):
      step.collective.map { collective($0, elements: buffers[$0 == .allGather ? destination : source].count, over: step.axes) } ?? []
    case .kernel(let call): interiorExchanges(of: call) + ringExchanges(of: call).joined()
    case .send(let buffer, let rank, let tag): [.send(elements: buffers[buffer].count, to: rank, tag: tag)]
    case .receive(let buffer, let rank, let tag): [.receive(elements: buffers[buffer].count, from: rank, tag: tag)]
    case .sendBoxes(_, let boxes, let tag): boxes.map { .send(elements: $0.region.elementCount, to: $0.rank, tag: tag) }
    case .receiveBoxes(_, let boxes, let tag): boxes.map { .receive(elements: $0.region.elementCount, from: $0.rank, tag: tag) }
    case .gatherParameter(let parameter, let axes, _):
      collective(.allGather, elements: parameters[parameter].region.elementCount, over: axes)
    case .scatterGradient(let parameter, let axes, _):
      collective(.reduceScatter, elements: parameters[parameter].region.elementCount, over: axes)
    case .reduceGradient(let parameter, let axes): collective(.allReduce, elements: buffers[parameters[parameter].value].count, over: axes)
    case .reduceTied(let parameter, let ranks): tiedExchanges(of: parameter, ranks)
    case .exchangeTied(_, let sent, let received, _):
      sent.map { Exchange.send(elements: $0.region.elementCount, to: $0.rank, tag: nil) }
        + received.joined().map { Exchange.receive(elements: $0.region.elementCount, from: $0.rank, tag: nil) }
    case .load, .accumulate, .zero, .update, .free: []
    }
  }

  /// Of attention around a ring, the messages of each of its steps; else none.
  package func ringExchanges(of call: KernelCall) -> [[Exchange]] {
    guard let rule = rules[call.op].ring, let ring = AttentionRing(for: call, in: self) else { return [] }
    return ring.exchanges(of: call, rule)
  }

  private func collective(_ kind: CollectiveKind, elements: Int, over axes: [Int]) -> [Exchange] {
    guard axes.contains(where: { mesh[$0] > 1 }) else { return [] }
    return [.collective(kind, elements: elements, ranks: group(over: axes).map { rank(at: $0) })]
  }

  /// The sums and maxima inside an operator, such as those of a softmax whose vocabulary is split.
  private func interiorExchanges(of call: KernelCall) -> [Exchange] {
    rules[call.op].interior.flatMap { interior -> [Exchange] in
      let elements = interior.spans.reduce(1) { $0 * iterationRegions[call.op][$1].count }
      let one = collective(.allReduce, elements: elements, over: strategies[call.op].meshAxes(on: interior.axis))
      return (0..<(call.phase == .backward ? interior.backwardCount : interior.count)).flatMap { _ in one }
    }
  }

  private func tiedExchanges(of parameter: Int, _ ranks: [Int]) -> [Exchange] {
    let elements = buffers[parameters[parameter].value].count
    return ranks.filter { $0 != rank }.flatMap {
      [Exchange.send(elements: elements, to: $0, tag: nil), .receive(elements: elements, from: $0, tag: nil)]
    }
  }
}
