// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies
import Testing

/// The order in which positions stand, against its definition chunk by chunk.
@Suite struct SequenceOrderTests {
  /// Every position once; part r of p holds chunks r and 2p − 1 − r; and the same of every p that divides the number of pairs.
  @Test(arguments: [(pairs: 1, extent: 7), (2, 8), (3, 12), (4, 24), (6, 12)])
  func partsHoldTheirTwoChunks(pairs: Int, extent: Int) {
    let order = SequenceOrder(pairs: pairs)
    #expect(order.runs(0..<extent, extent: extent).flatMap(\.positions).sorted() == Array(0..<extent))
    if pairs == 1 { return #expect(order.runs(2..<5, extent: extent) == [.init(indices: 2..<5, positions: 2..<5)]) }
    let length = extent / (2 * pairs)
    for part in 0..<pairs {
      let chunks = [part, 2 * pairs - 1 - part].flatMap { $0 * length..<($0 + 1) * length }
      let runs = order.runs(Shard.part(of: 0..<extent, index: part, parts: pairs), extent: extent)
      #expect(runs.flatMap(\.positions) == chunks)
      // The last part's two chunks follow each other.
      #expect(runs.count == (part == pairs - 1 ? 1 : 2))
    }
  }

  /// Under a causal mask the query at position i sees i + 1 keys.
  @Test(arguments: [(pairs: 4, parts: 4), (4, 2), (6, 3), (6, 2), (6, 6)])
  func partsHaveTheSameWork(pairs: Int, parts: Int) {
    let (order, extent) = (SequenceOrder(pairs: pairs), 24)
    #expect(order.balances(parts: parts))
    let work = (0..<parts).map { part in
      order.runs(Shard.part(of: 0..<extent, index: part, parts: parts), extent: extent).flatMap(\.positions).reduce(0) { $0 + $1 + 1 }
    }
    #expect(work.allSatisfy { $0 == extent * (extent + 1) / 2 / parts }, "\(work)")
    #expect(!order.balances(parts: 5) && !SequenceOrder.natural.balances(parts: 2))
  }

  @Test func theOrderServesTheMostPartsThatTheLengthAllows() {
    #expect(SequenceOrder.zigzag(1024, mesh: [8, 4]).pairs == 32)
    #expect(SequenceOrder.zigzag(48, mesh: [8, 4]).pairs == 8)
    #expect(SequenceOrder.zigzag(24, mesh: [8, 4]).pairs == 4)
    #expect(SequenceOrder.zigzag(7, mesh: [8, 4]).isNatural)
  }

  /// Only a sequence under causal attention has reason to, and only where nobody needs its order.
  @Test func sequencesThatMayStandInAnyOrder() throws {
    func names(_ graph: Graph) -> [String] { zip(graph.axes, SequenceOrder.reorderable(in: graph)).compactMap { $1 ? $0.name : nil } }
    let workload = Workload(batch: 2, sequence: 16)
    var (gpt2, llama, bert) = (GPT2Configuration(), LlamaConfiguration(), BertConfiguration())
    (gpt2.workload, llama.workload, bert.workload) = (workload, workload, workload)
    #expect(try names(gpt2.graph()) == ["seq"])
    #expect(try names(llama.graph()) == ["seq"])
    #expect(try names(bert.graph()) == [])
    // Places of tokens at experts follow the tokens.
    llama.experts = ExpertLayer(naming: .mixtral, count: 4, perToken: 2, ffn: 8, renormalises: true)
    #expect(try names(llama.graph()) == [])
  }
}
