// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Strategies

/// The groups of ranks that exchange data along axes of a stage's mesh, one communicator for each set of axes that any rank's program uses.
///
/// A group's members are in the row-major order of their coordinates, which is that of their ranks in the world.
final class MeshGroups {
  let world: Communicator
  private let mesh: [Int]
  /// By the set of axes, as bits; nil where no program uses it.
  private var communicators: [Communicator?]

  /// Collective over `world`: every rank takes part, with its own program of the same plan.
  init(_ program: Program, world: Communicator) throws(ExecutionError) {
    self.world = world
    mesh = program.mesh
    // Stages may have meshes of other numbers of axes.
    communicators = Array(repeating: nil, count: 1 << Layout.maximumAxes)
    // The stages hold different operators, so their ranks need different sets; a split is made by all of them.
    var isUsed = [UInt8](repeating: 0, count: communicators.count)
    for axes in program.collectiveAxes() { isUsed[bits(axes)] = 1 }
    let all = try world.gather(isUsed)
    isUsed = try world.broadcast(all.map { ranks in isUsed.indices.map { set in ranks.map { $0[set] }.max() ?? 0 } } ?? [])
    for set in isUsed.indices where set != 0 && isUsed[set] == 1 {
      var origin = program.coordinates
      for axis in mesh.indices where set & 1 << axis != 0 { origin[axis] = 0 }
      communicators[set] = try world.split(color: program.rank(at: origin), key: world.rank)
    }
  }

  /// The group along these mesh axes; nil where it is this rank alone.
  func communicator(over axes: [Int]) -> Communicator? {
    let set = bits(axes)
    if set == 0 { return nil }
    guard let group = communicators[set] else { preconditionFailure("the program does not use the mesh axes \(axes)") }
    return group
  }

  /// Axes of extent 1 are left out.
  private func bits(_ axes: [Int]) -> Int { axes.reduce(0) { mesh[$1] > 1 ? $0 | 1 << $1 : $0 } }
}

extension Program {
  /// The sets of mesh axes along which this rank's instructions exchange data.
  func collectiveAxes() -> [[Int]] {
    var sets: [[Int]] = []
    for instruction in instructions {
      switch instruction {
      case .reshard(let step, _, _): sets.append(step.axes)
      case .reduceGradient(_, let axes), .gatherParameter(_, let axes, _), .scatterGradient(_, let axes, _): sets.append(axes)
      case .kernel(let call):
        let rule = rules[call.op]
        for axis in rule.interior.map(\.axis) + [rule.ring?.axis].compactMap({ $0 }) { sets.append(meshAxes(of: call.op, on: axis)) }
      default: break
      }
    }
    return sets
  }

  /// The mesh axes that share out an iteration axis of an operator.
  func meshAxes(of op: Int, on iterationAxis: Int) -> [Int] { strategies[op].meshAxes(on: iterationAxis) }
}
