// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Strategies

extension Program {
  /// What this rank sends in one step, from the instructions alone: the figures that a run's ledger must show.
  ///
  /// Definitions are those of `Traffic.Kind`; groups of one rank move nothing.
  package func expectedTraffic() -> Traffic {
    var traffic = Traffic()
    for instruction in instructions {
      switch instruction {
      case .reshard(let step, let source, let destination):
        guard let kind = step.collective, isGroup(step.axes) else { continue }
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
      case .send(let buffer, _, _): traffic.add(.sendReceive, bytes: bytes(buffer))
      case .gatherParameter(let parameter, _, _): traffic.add(.allGather, bytes: wholeBytes(parameters[parameter]))
      case .scatterGradient(let parameter, _, _): traffic.add(.reduceScatter, bytes: wholeBytes(parameters[parameter]))
      case .reduceGradient(let parameter, let axes) where isGroup(axes):
        traffic.add(.allReduce, bytes: bytes(parameters[parameter].value))
      case .reduceTied(let parameter, let ranks):
        for _ in ranks.dropFirst() { traffic.add(.sendReceive, bytes: bytes(parameters[parameter].value)) }
      default: break
      }
    }
    return traffic
  }

  private func isGroup(_ axes: [Int]) -> Bool { axes.contains { mesh[$0] > 1 } }
  private func wholeBytes(_ parameter: LocalParameter) -> Int { parameter.region.elementCount * MemoryLayout<Float>.stride }
  private func bytes(_ buffer: BufferID) -> Int { buffers[buffer].count * MemoryLayout<Float>.stride }
}
