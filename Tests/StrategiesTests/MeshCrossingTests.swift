// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies
import TestSupport
import Testing

@Suite struct MeshCrossingTests {
  /// Carried out on paper: every element of a receiver's shard is put there once, by a rank that holds it, and every other addend is added to it.
  @Test("oracle: every receiver gets its shard, with each addend once", arguments: 0..<40) func shardsArrive(seed: Int) {
    var random = SeededGenerator(seed: seed)
    let shape = (0..<random.pick([1, 2, 3])).map { _ in random.pick([4, 5, 7, 12]) }
    let (mesh, other) = (random.pick([[1], [2], [4], [2, 2], [3], [6], [2, 3]]), random.pick([[1], [3], [2, 2], [4], [1, 3], [8], [2, 4]]))
    func layout(_ mesh: [Int], mayBePartial: Bool) -> Layout {
      var layout = Layout(replicatedOn: mesh.count)
      for axis in mesh.indices where mesh[axis] > 1 {
        let splits = shape.indices.filter { layout.axesSplitting($0).isEmpty && shape[$0] >= mesh[axis] }.map(Placement.split)
        layout[axis] = random.pick([.replicated] + (mayBePartial ? [.partial] : []) + splits)
      }
      return layout
    }
    let (source, target) = (layout(mesh, mayBePartial: true), layout(other, mayBePartial: false))
    let crossing = MeshCrossing(shape: shape, from: source, on: mesh, to: target, on: other)
    let addends = source.partialAxes.reduce(1) { $0 * mesh[$1] }
    var received = 0
    for (place, coordinates) in MeshPlace.all(in: other).enumerated() {
      let wanted = Shard.region(shape: shape, layout: target, mesh: other, coordinates: coordinates)
      let own = crossing.messages.filter { $0.receiver == place }
      for message in own {
        let held = Shard.region(shape: shape, layout: source, mesh: mesh, coordinates: MeshPlace.coordinates(of: message.sender, in: mesh))
        #expect(zip(message.box, held).allSatisfy { $1.lowerBound <= $0.lowerBound && $0.upperBound <= $1.upperBound })
        #expect(zip(message.box, wanted).allSatisfy { $1.lowerBound <= $0.lowerBound && $0.upperBound <= $1.upperBound })
        // Addends of one box come from ranks of its shard that differ in partial axes alone, the first of them first.
        let first = own.firstIndex { $0.box == message.box }!
        #expect(message.isAdded == (own[first] != message))
      }
      let count = wanted.reduce(1) { $0 * $1.count }
      #expect(own.filter { !$0.isAdded }.reduce(0) { $0 + $1.count } == count)
      #expect(own.reduce(0) { $0 + $1.count } == addends * count)
      #expect(Set(own.map(\.sender)).count == own.count, "one message from each sender")
      received = max(received, addends * count)
    }
    #expect(crossing.heaviest.elements >= received)
  }

  /// Four ranks hold quarters of 8 rows; one rank of two needs half of them: two messages of two rows each, and from equal copies each receiver takes
  /// another.
  @Test func worked() {
    let halves = MeshCrossing(shape: [8], from: Layout([.split(0)]), on: [4], to: Layout([.split(0)]), on: [2])
    #expect(
      halves.messages.map { [$0.sender, $0.receiver, $0.box[0].lowerBound, $0.count] } == [
        [0, 0, 0, 2], [1, 0, 2, 2], [2, 1, 4, 2], [3, 1, 6, 2],
      ])
    #expect(halves.heaviest == .init(elements: 4, messages: 2))
    let copies = MeshCrossing(shape: [8], from: Layout([.replicated]), on: [4], to: Layout([.replicated]), on: [2])
    #expect(copies.messages.map { [$0.sender, $0.receiver, $0.count] } == [[0, 0, 8], [2, 1, 8]])
    #expect(copies.heaviest == .init(elements: 8, messages: 1))
  }
}
