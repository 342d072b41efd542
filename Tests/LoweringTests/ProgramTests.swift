// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Plans
import Strategies
import Testing

/// Differential: the programs of all ranks against each other and against the decision that they carry out.
@Suite struct ProgramTests {
  /// Embedding, a column- and a row-parallel product with a residual around them, loss; three layers on one or two stages.
  private func decision(mesh: Int, cuts: [Int], schedule: Schedule, microBatches: Int, tied: Bool = false) throws -> Decision {
    var builder = GraphBuilder(name: "residual")
    let (b, h) = (builder.axis("batch", 2, .batch), builder.axis("hidden", 6, .feature))
    let (f, v) = (builder.axis("inner", 5, .feature), builder.axis("vocab", 7, .vocabulary))
    builder.begin(segment: "embedding")
    let (x, table) = builder.embedding("embedding", ids: builder.input(.inputIDs, [b]), rows: v, features: h)
    builder.end(exits: [x])
    let entry = builder.begin(segment: "block", repeats: cuts.reduce(0, +), path: "block.{i}", carry: [b, h])
    let up = builder.linear("block.{i}.up", entry, from: [h], to: [f], bias: false)
    let down = builder.linear("block.{i}.down", up, from: [f], to: [h], bias: false)
    builder.end(exits: [builder.add("block.{i}.add", down, entry)])
    let last = builder.begin(segment: "head", path: "head", carry: [b, h])
    builder.crossEntropyLoss(builder.linear("head", last, from: [h], to: [v], bias: false, tied: tied ? table : nil))
    builder.end()
    let graph = try builder.finish()
    // embedding whole, up by columns, down by rows, the rest whole.
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    let assignments: [[Int?]] = rules.indices.map { op in
      let word = graph.operators[op].name.hasSuffix("up") ? "column" : graph.operators[op].name.hasSuffix("down") ? "row" : "replicate"
      return [rules[op].iteration.firstIndex { $0.words.contains(word) && $0.isSplittable && $0.name == "inner" }]
    }
    var first = 0
    let stages = cuts.enumerated().map { index, count in
      defer { first += count }
      return Stage(
        units: (index == 0 ? [UnitRange(segment: 0, copies: 0..<1)] : []) + [UnitRange(segment: 1, copies: first..<first + count)]
          + (index == cuts.count - 1 ? [UnitRange(segment: 2, copies: 0..<1)] : []))
    }
    func reduced(_ tensor: TensorID) -> Conversion {
      let (partial, whole) = (Layout([.partial]), Layout([.replicated]))
      return Conversion(tensor: tensor, from: partial, to: whole, steps: [ReshardingStep(action: .allReduce, axes: [0], result: whole)])
    }
    let job = Job(batch: 2 * microBatches, microBatches: microBatches, sequence: nil, mode: .train, optimizer: .adamw, precision: .fp32)
    return Decision(
      graph: graph, job: job, mesh: [mesh], schedule: schedule, stages: stages, assignments: assignments,
      conversions: [reduced(down), reduced(entry)])
  }

  private func programs(_ decision: Decision) -> [Program] { (0..<decision.ranks).map { Lowering.program(for: decision, rank: $0) } }

  /// Megatron-LM: one all-reduce forward (of what the row-parallel product gives) and one backward (of the column-parallel product's input
  /// gradient) for each layer and micro-batch; the residual's own contribution is not reduced.
  @Test(arguments: [Schedule.gpipe, .oneForwardOneBackward]) func aColumnThenRowBlockHasOneAllReduceEachWay(schedule: Schedule) throws {
    let decision = try decision(mesh: 2, cuts: [3], schedule: schedule, microBatches: 4)
    for program in programs(decision) {
      var counts: [Buffer.Role: Int] = [:]
      for case .reshard(let step, let from, _) in program.instructions {
        #expect(step.collective == .allReduce)
        counts[program.buffers[from].role, default: 0] += 1
      }
      #expect(counts == [.activation: 12, .gradient: 12])
    }
  }

  /// Every rank of a group carries out the same collectives in the same order, or the run would hang.
  @Test(arguments: [
    ([3], Schedule.oneForwardOneBackward), ([2, 1], .oneForwardOneBackward), ([1, 1, 1], .oneForwardOneBackward),
    ([1, 2, 2, 1], .interleaved(chunks: 2)),
  ]) func ranksOfAStageAgreeOnTheirCollectives(cuts: [Int], schedule: Schedule) throws {
    let programs = try programs(decision(mesh: 2, cuts: cuts, schedule: schedule, microBatches: 4, tied: true))
    func collectives(_ program: Program) -> [String] {
      program.instructions.compactMap { instruction in
        switch instruction {
        case .reshard(let step, let from, _): "\(step) of \(program.buffers[from].tensor)"
        case .gatherParameter(let parameter, let axes, _): "gather \(parameter) \(axes)"
        case .scatterGradient(let parameter, let axes, _): "scatter \(parameter) \(axes)"
        case .reduceGradient(let parameter, let axes): "gradient \(parameter) \(axes)"
        case .reduceTied(let parameter, _): "tied \(parameter)"
        default: nil
        }
      }
    }
    for program in programs { #expect(collectives(program) == collectives(programs[program.stage * 2])) }
  }

  /// Every message that is sent is received, with the same tag and size, in an order that does not block: run on paper.
  @Test(arguments: [
    ([2, 1], Schedule.gpipe), ([1, 2], .oneForwardOneBackward), ([1, 1, 1], .gpipe), ([1, 1, 1], .oneForwardOneBackward),
    ([1, 2, 1, 1], .interleaved(chunks: 2)), ([1, 1, 1, 1, 2, 1], .interleaved(chunks: 3)), ([1, 1, 1, 1, 1, 1, 1, 1], .interleaved(chunks: 2)),
  ]) func messagesMeet(cuts: [Int], schedule: Schedule) throws {
    let programs = try programs(decision(mesh: 2, cuts: cuts, schedule: schedule, microBatches: 4))
    struct Message: Hashable {
      let from: Int
      let to: Int
      let tag: Int
    }
    var sent: [Message: [Range<Int>]] = [:]
    var next = [Int](repeating: 0, count: programs.count)
    var moved = true
    while moved {
      moved = false
      for (rank, program) in programs.enumerated() {
        advance: while next[rank] < program.instructions.count {
          switch program.instructions[next[rank]] {
          case .send(let buffer, let to, let tag):
            #expect(sent.updateValue(program.buffers[buffer].region, forKey: Message(from: rank, to: to, tag: tag)) == nil, "a tag is used twice")
          case .receive(let buffer, let from, let tag):
            guard let region = sent[Message(from: from, to: rank, tag: tag)] else { break advance }
            #expect(region == program.buffers[buffer].region)
            sent[Message(from: from, to: rank, tag: tag)] = nil
            sent[Message(from: from, to: rank, tag: -1 - tag)] = region
          default: break
          }
          next[rank] += 1
          moved = true
        }
      }
    }
    #expect(programs.indices.allSatisfy { next[$0] == programs[$0].instructions.count }, "some rank waits for ever")
    #expect(sent.keys.allSatisfy { $0.tag < 0 }, "some message is never received")
    #expect(!sent.isEmpty)
  }

  /// Nothing is read before it is written or after it is freed, and everything but parameters is freed once.
  @Test(arguments: [
    ([3], Schedule.gpipe), ([3], .oneForwardOneBackward), ([1, 2], .gpipe), ([1, 2], .oneForwardOneBackward),
    ([1, 1, 2, 1], .interleaved(chunks: 2)),
  ]) func buffersLiveFromTheirWriterToTheirLastReader(cuts: [Int], schedule: Schedule) throws {
    for program in try programs(decision(mesh: 2, cuts: cuts, schedule: schedule, microBatches: 2, tied: true)) {
      expectBuffersLive(in: program)
    }
  }
}
