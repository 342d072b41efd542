// SPDX-License-Identifier: GPL-3.0-or-later

/// How a tensor gets from the ranks of one mesh to those of another: every receiving rank is sent its shard by ranks that hold it, in boxes.
///
/// Ranks are named by their places in their meshes, row-major. Of a source's equal copies each receiver takes the one whose place, as a share of
/// all, is its own, so that the work is shared out. Where the source is partial every addend is sent, and the receiver adds them up.
package struct MeshCrossing: Sendable {
  package struct Message: Hashable, Sendable {
    package let sender: Int
    package let receiver: Int
    /// In indices of the tensor; lies in both shards.
    package let box: [Range<Int>]
    /// Whether the receiver has an addend for this box already.
    package let isAdded: Bool

    package var count: Int { box.reduce(1) { $0 * $1.count } }
  }

  /// By receivers, in the order of their places; those of one receiver in the order of senders, first addends first.
  package let messages: [Message]

  /// - Precondition: the target is nowhere partial.
  package init(shape: [Int], from source: Layout, on mesh: [Int], to target: Layout, on other: [Int]) {
    precondition(!target.hasPartial && source.axes == mesh.count && target.axes == other.count)
    let senders = MeshPlace.all(in: mesh)
    let regions = senders.map { Shard.region(shape: shape, layout: source, mesh: mesh, coordinates: $0) }
    let copied = mesh.indices.filter { source[$0] == .replicated }
    let copies = copied.reduce(1) { $0 * mesh[$1] }
    let receivers = MeshPlace.all(in: other)
    var messages: [Message] = []
    for (receiver, coordinates) in receivers.enumerated() {
      let wanted = Shard.region(shape: shape, layout: target, mesh: other, coordinates: coordinates)
      let copy = receiver * copies / receivers.count
      for addend in [false, true] {
        for (sender, place) in senders.enumerated() where copied.reduce(0, { $0 * mesh[$1] + place[$1] }) == copy {
          if source.partialAxes.contains(where: { place[$0] > 0 }) != addend { continue }
          let box = zip(wanted, regions[sender]).map { $0.clamped(to: $1) }
          if box.contains(where: \.isEmpty) { continue }
          messages.append(Message(sender: sender, receiver: receiver, box: box, isAdded: addend))
        }
      }
    }
    self.messages = messages
  }

  /// What one rank sends, or receives, at most.
  package struct Load: Hashable, Sendable {
    package let elements: Int
    package let messages: Int

    package init(elements: Int, messages: Int) { (self.elements, self.messages) = (elements, messages) }
  }

  /// The most elements, and the most messages, that one rank sends or receives.
  package var heaviest: Load {
    var sums: [Int: (elements: Int, messages: Int)] = [:]
    for message in messages {
      // Senders have even keys, receivers odd ones.
      for key in [2 * message.sender, 2 * message.receiver + 1] {
        sums[key, default: (0, 0)].elements += message.count
        sums[key, default: (0, 0)].messages += 1
      }
    }
    return Load(elements: sums.values.map(\.elements).max() ?? 0, messages: sums.values.map(\.messages).max() ?? 0)
  }

  /// The elements of all messages together.
  package var count: Int { messages.reduce(0) { $0 + $1.count } }
}

/// Places of ranks in a mesh.
package enum MeshPlace {
  /// The coordinates of the rank that is number `place` in row-major order.
  package static func coordinates(of place: Int, in mesh: [Int]) -> [Int] {
    var rest = place
    var coordinates = [Int](repeating: 0, count: mesh.count)
    for axis in mesh.indices.reversed() {
      coordinates[axis] = rest % mesh[axis]
      rest /= mesh[axis]
    }
    return coordinates
  }

  /// The coordinates of all ranks in row-major order.
  package static func all(in mesh: [Int]) -> [[Int]] { (0..<mesh.reduce(1, *)).map { coordinates(of: $0, in: mesh) } }
}
