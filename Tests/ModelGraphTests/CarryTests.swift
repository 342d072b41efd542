// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import ModelGraph

/// What a segment may take in and send on.
@Suite struct CarryTests {
  /// An embedding, a block whose entries and exits are given in terms of what comes in and what the block computes, and a sum.
  private func graph(
    carried: Int, entries: (TensorID, TensorID) -> [TensorID], exits: (TensorID, TensorID, TensorID) -> [TensorID]
  ) throws -> Graph {
    var builder = GraphBuilder(name: "carries")
    let (b, h) = (builder.axis("batch", 2, .batch), builder.axis("hidden", 4, .feature))
    let vocabulary = builder.axis("vocab", 7, .vocabulary)
    builder.begin(segment: "embedding")
    let ids = builder.input(.inputIDs, [b])
    let x = builder.embedding("embedding", ids: ids, rows: vocabulary, features: h).0
    let y = builder.apply(.activation(.relu), "relu", [x], to: [b, h])
    builder.end(exits: Array([x, y][..<carried]))
    let (first, second) = (builder.tensor("block.first", [b, h]), builder.tensor("block.second", [b, h]))
    builder.begin(segment: "block", entries: entries(first, second))
    let own = builder.apply(.activation(.tanh), "block.tanh", [first], to: [b, h])
    let sent = exits(first, second, own)
    builder.end(exits: sent)
    let last = sent.indices.map { builder.tensor("head.\($0)", [b, h]) }
    builder.begin(segment: "head", entries: last)
    _ = builder.apply(.add, "head.add", [last[0], last[last.count - 1]], to: [b, h])
    builder.end()
    return try builder.finish()
  }

  @Test("a segment that sends on what it computes is accepted")
  func computed() throws {
    #expect(try graph(carried: 1, entries: { first, _ in [first] }, exits: { _, _, own in [own] }).segments.count == 3)
  }

  @Test("a tensor that is handed on as it came in, or carried twice, is refused and the segment named")
  func refused() throws {
    func message(_ body: () throws -> Graph) -> String {
      let error = #expect(throws: ModelError.self) { try body() }
      return error?.description ?? ""
    }
    #expect(
      message { try graph(carried: 2, entries: { [$0, $1] }, exits: { [$2, $1] }) }
        == "segment block: sends on block.second as it came in; let an operator of the segment give what it sends on (a `pass`)")
    #expect(
      message { try graph(carried: 2, entries: { first, _ in [first, first] }, exits: { [$2] }) }
        == "segment block: takes in block.first twice; take it in once")
    #expect(
      message { try graph(carried: 1, entries: { first, _ in [first] }, exits: { [$2, $2] }) }
        == "segment block: sends on block.tanh twice; send it once, and let all that read it share it")
  }
}
