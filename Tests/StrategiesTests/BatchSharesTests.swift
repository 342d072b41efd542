// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies
import TestSupport
import Testing

struct BatchSharesTests {
  /// A product of samples, one of them an activation of [batch, features].
  private func graph(batch: Int) throws -> Graph {
    var builder = GraphBuilder(name: "product")
    let (b, h, f) = (builder.axis("batch", batch, .batch), builder.axis("hidden", 6, .feature), builder.axis("inner", 12, .feature))
    let entry = builder.input(.pixelValues, [b, h])
    builder.begin(segment: "all")
    builder.end(exits: [builder.linear("up", entry, from: [h], to: [f], bias: false)])
    return try builder.finish()
  }

  @Test func ranksHaveTheirSamples() {
    let shares = BatchShares([5, 5, 3, 3], mesh: [1, 4, 2])
    #expect(shares.axis == 1 && shares.total == 16)
    #expect((0..<4).map(shares.part) == [0..<5, 5..<10, 10..<13, 13..<16])
  }

  @Test func everyRankHasASample() {
    let shares = BatchShares([5, 5, 3, 3], mesh: [4, 2, 2])
    #expect(shares.allow([0, 1], mesh: [4, 2, 2]) && !shares.allow([0, 1, 2], mesh: [4, 2, 2]))
    // Without the axis of the shares the batch is cut evenly.
    #expect(shares.allow([1, 2], mesh: [4, 2, 2]))
  }

  /// Parts of a split tensor follow one another and are all of it; only what is split along the batch is uneven.
  @Test(arguments: 0..<20) func partsAreTheWhole(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    let mesh = random.pick([[2], [3], [2, 2], [3, 2], [1, 3, 2]])
    let axis = BatchShares.axis(of: mesh)!
    let shares = BatchShares((0..<mesh[axis]).map { _ in random.pick([2, 3, 7]) }, mesh: mesh)
    let graph = try graph(batch: shares.total)
    let tensor = graph.operators[0].result
    let placements = mesh.map { _ in random.pick([Placement.replicated, .split(0), .split(1)]) }
    let layout = Layout(placements)
    let size = mesh.reduce(1, *)
    var seen = [Int](repeating: 0, count: shares.total * 12)
    for rank in 0..<size {
      let coordinates = MeshPlace.coordinates(of: rank, in: mesh)
      let region = Shard.region(of: tensor, in: graph, layout: layout, mesh: mesh, coordinates: coordinates, shares: shares)
      #expect(region.allSatisfy { !$0.isEmpty })
      for row in region[0] { for column in region[1] { seen[row * 12 + column] += 1 } }
      if layout[axis] == .split(0), mesh.indices.allSatisfy({ $0 == axis || layout[$0] != .split(0) }) {
        #expect(region[0] == shares.part(coordinates[axis]))
      }
      if layout[axis] != .split(0) {
        #expect(region == Shard.region(shape: graph.shape(tensor), layout: layout, mesh: mesh, coordinates: coordinates))
      }
    }
    // As often as there are replicas.
    let replicas = mesh.indices.reduce(1) { placements[$1] == .replicated ? $0 * mesh[$1] : $0 }
    #expect(seen.allSatisfy { $0 == replicas })
  }
}
