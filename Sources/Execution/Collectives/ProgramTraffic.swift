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

  /// An all-to-all of slots is expected to send every slot.
  private func add(_ instruction: Instruction, to traffic: inout Traffic) {
    for exchange in exchanges(of: instruction) {
      let bytes = exchange.elements * MemoryLayout<Float>.stride
      switch exchange {
      case .collective(.allReduce, _, _): traffic.add(.allReduce, bytes: bytes)
      case .collective(.allGather, _, _): traffic.add(.allGather, bytes: bytes)
      case .collective(.reduceScatter, _, _): traffic.add(.reduceScatter, bytes: bytes)
      case .collective(.allToAll, _, _): traffic.add(.allToAll, bytes: bytes)
      case .send: traffic.add(.sendReceive, bytes: bytes)
      case .receive: break
      }
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

  private func isGroup(_ axes: [Int]) -> Bool { axes.contains { mesh[$0] > 1 } }
}
