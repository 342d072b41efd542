// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Planner

/// Degrees that some operator cannot have.
@Suite struct ObstacleTests {
  @Test(
    "Oracle: what is said to be the most is possible, and one more is not",
    arguments: [
      ("gpt2", 2048, 1, ContextWay?.none, "--cp 2048: transformer.wte has 1024 positions to share out; choose --cp of at most 1024", 1024),
      (
        "gpt2", 16, 1, .ulysses,
        "--cp 16 --cp-way ulysses: transformer.h.{i}.attn.core has 12 key-value heads to share out; choose --cp of at most 12", 12
      ),
    ])
  func context(model: String, context: Int, tensor: Int, way: ContextWay?, message: String, most: Int) throws {
    let hardware = try Shipped.hardware("dgx-a100")
    var degrees = MegatronDegrees()
    (degrees.context, degrees.tensor, degrees.contextWay, degrees.microBatchSize) = (context, tensor, way, 1)
    func request() throws -> SearchRequest { try Shipped.request(model, on: hardware, devices: degrees.devices, batch: 8, sequence: 1024) }
    #expect(try degrees.obstacle(request()) == message)
    degrees.context = most
    #expect(try degrees.obstacle(request()) == nil)
    degrees.context = most + 1
    #expect(try degrees.obstacle(request()) != nil)
  }

  @Test func replicasOfAStageMayBeTooMany() throws {
    var degrees = MegatronDegrees()
    (degrees.stageMeshes, degrees.pipeline, degrees.data, degrees.tensor) = ([[2, 1], [8, 2]], 2, 2, 1)
    let request = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 18, batch: 4, sequence: 64)
    #expect(try degrees.obstacle(request)?.contains("a micro-batch has 2 sequences, and stage 1 has 8 data replicas") == true)
  }
}
