// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Strategies

extension Program {
  /// What this rank sends in one step, from the instructions alone: the figures that a run's ledger must show.
  ///
  /// Definitions are those of `Traffic.Kind`; groups of one rank move nothing. All-to-alls of slots are expected to send every slot.
  package func expectedTraffic() -> Traffic { expectedTraffic(routes: nil) }

  /// - Parameter routes: what the routers chose in that step; the all-to-alls of slots are then expected to send a row for each route from this
  ///   rank's tokens, or on the way back from its experts, to a member of the group.
  func expectedTraffic(routes: ChosenRoutes?) -> Traffic {
    var traffic = Traffic()
    let slots = routes.map { _ in RoutedSlots(self) }
    // Of each buffer of slots, the pass whose routes fill them.
    var passes = [RoutePass?](repeating: nil, count: slots == nil ? 0 : buffers.count)
    for instruction in instructions {
      switch instruction {
      case .kernel(let call):
        for case .some(let buffer) in [call.result] + call.operandGradients where slots?.rows[buffer] ?? 0 > 0 {
          guard let route = slots?.route(of: buffers[buffer].tensor, in: graph) else { continue }
          passes[buffer] = RoutePass(op: route, copy: call.copy, microBatch: call.microBatch)
        }
      case .reshard(let step, let source, let destination) where slots != nil:
        passes[destination] = passes[source]
        if step.collective == .allToAll, isGroup(step.axes), let routes, let pass = passes[source] {
          traffic.add(.allToAll, bytes: routedBytes(step, source, destination, routes, pass))
          continue
        }
      default: break
      }
      add(instruction, to: &traffic)
    }
    return traffic
  }

  /// The same of one instruction; an all-to-all of slots is expected to send every slot.
  package func traffic(of instruction: Instruction) -> Traffic {
    var traffic = Traffic()
    add(instruction, to: &traffic)
    return traffic
  }

  private func add(_ instruction: Instruction, to traffic: inout Traffic) {
    switch instruction {
    case .reshard(let step, let source, let destination):
      guard let kind = step.collective, isGroup(step.axes) else { return }
      switch kind {
      case .allReduce: traffic.add(.allReduce, bytes: bytes(source))
      case .allGather: traffic.add(.allGather, bytes: bytes(destination))
      case .reduceScatter: traffic.add(.reduceScatter, bytes: bytes(source))
      case .allToAll: traffic.add(.allToAll, bytes: bytes(source))
      }
    case .kernel(let call):
      for interior in rules[call.op].interior where isGroup(meshAxes(of: call.op, on: interior.axis)) {
        let elements = interior.spans.reduce(1) { $0 * iterationRegions[call.op][$1].count }
        for _ in 0..<(call.phase == .backward ? interior.backwardCount : interior.count) {
          traffic.add(.allReduce, bytes: elements * MemoryLayout<Float>.stride)
        }
      }
      for bytes in ringMessages(of: call) { traffic.add(.sendReceive, bytes: bytes) }
    case .send(let buffer, _, _): traffic.add(.sendReceive, bytes: bytes(buffer))
    case .sendBoxes(_, let boxes, _), .exchangeTied(_, let boxes, _, _):
      for box in boxes { traffic.add(.sendReceive, bytes: box.region.elementCount * MemoryLayout<Float>.stride) }
    case .gatherParameter(let parameter, _, _): traffic.add(.allGather, bytes: wholeBytes(parameters[parameter]))
    case .scatterGradient(let parameter, _, _): traffic.add(.reduceScatter, bytes: wholeBytes(parameters[parameter]))
    case .reduceGradient(let parameter, let axes) where isGroup(axes):
      traffic.add(.allReduce, bytes: bytes(parameters[parameter].value))
    case .reduceTied(let parameter, let ranks):
      for _ in ranks.dropFirst() { traffic.add(.sendReceive, bytes: bytes(parameters[parameter].value)) }
    default: break
    }
  }

  /// The rows that hold tokens, each with its number, which this rank gives to every member of its group.
  private func routedBytes(
    _ step: ReshardingStep, _ source: BufferID, _ destination: BufferID, _ routes: ChosenRoutes, _ pass: RoutePass
  ) -> Int {
    group(over: step.axes).reduce(0) { total, member in
      let box = buffers[source].region.intersection(region(of: buffers[source].tensor, in: buffers[destination].layout, at: member))
      if box.elementCount == 0 { return total }
      return total + routes.rows(in: box.rows, of: pass) * (1 + box.rowElements.elementCount) * MemoryLayout<Float>.stride
    }
  }

  /// The bytes of every message that this rank sends around an operator's ring.
  ///
  /// Forward it passes on its own block and those of all ranks but the next one, whose block came past before; backward the gradients too, up to
  /// those of the next one, which go home.
  private func ringMessages(of call: KernelCall) -> [Int] {
    guard let rule = rules[call.op].ring, let ring = AttentionRing(for: call, in: self) else { return [] }
    return rule.operands.flatMap { operand -> [Int] in
      let isLearned = call.phase == .backward && call.operandGradients[operand] != nil
      let hops = OperatorRule.Ring.hops(ranks: ring.count, isBackward: call.phase == .backward, isLearned: isLearned)
      return (0..<hops).map { hop in
        ring.elements(ofBlock: ring.owner(inStep: hop < ring.count - 1 ? hop : hop - (ring.count - 1))) * MemoryLayout<Float>.stride
      }
    }
  }

  private func isGroup(_ axes: [Int]) -> Bool { axes.contains { mesh[$0] > 1 } }
  private func wholeBytes(_ parameter: LocalParameter) -> Int { parameter.region.elementCount * MemoryLayout<Float>.stride }
  private func bytes(_ buffer: BufferID) -> Int { buffers[buffer].count * MemoryLayout<Float>.stride }
}
