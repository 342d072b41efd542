// SPDX-License-Identifier: GPL-3.0-or-later
import ChakraFormat
import CostModel
import Lowering
import ModelGraph
import Planner
import Plans
import Quantities
import Report
import Strategies

/// The nodes of one rank's trace: its program, with the order that data and the program ask for.
///
/// A node has data dependencies on those that made what it reads, and a collective on the one before, so that all ranks of a group have theirs in one
/// order. Its control dependency is the node before it in the program. Nothing waits for a message that is sent but whoever reads it, nor, where the
/// plan hides weights' messages behind products, for what moves weights and their gradients.
struct ChakraNodes {
  private(set) var nodes: [Chakra_Node] = []
  private(set) var groups: CommunicatorGroups

  private let report: ProgramReport
  private let prices: InstructionPrices
  private let hidesWeights: Bool
  /// For each buffer the nodes after which its contents are there.
  private var writers: [[UInt64]]
  /// The node after which the next one in the program may begin.
  private var last: UInt64?
  private var lastCollective: UInt64?
  /// To and from each rank the messages without a tag so far.
  private var sent: [Int: Int] = [:]
  private var received: [Int: Int] = [:]
  private var (computing, communicating) = (MicrosecondClock(), MicrosecondClock())

  init(_ report: ProgramReport, _ prices: InstructionPrices, _ groups: CommunicatorGroups) {
    (self.report, self.prices, self.groups) = (report, prices, groups)
    hidesWeights = report.plan.decision.job.software.overlap == .weights
    writers = Array(repeating: [], count: report.program.buffers.count)
  }

  private var program: Program { report.program }

  mutating func addAll() {
    var microBatches = [Int?](repeating: nil, count: program.instructions.count)
    for pass in program.passes { for index in pass.instructions { microBatches[index] = pass.pass.microBatch } }
    for (index, instruction) in program.instructions.enumerated() {
      let flow = program.flow(of: instruction)
      let inputs = union(flow.read.map { writers[$0] })
      let title = report.title(of: instruction) + (microBatches[index].map { " m\($0)" } ?? "")
      let outputs = add(instruction, titled: title, after: inputs)
      for buffer in flow.written { writers[buffer] = outputs }
    }
  }

  private func union(_ lists: [[UInt64]]) -> [UInt64] { lists.count == 1 ? lists[0] : Set(lists.joined()).sorted() }

  /// - Returns: the nodes after which the instruction is carried out: those before it, where it has no work of its own.
  private mutating func add(_ instruction: Instruction, titled title: String, after inputs: [UInt64]) -> [UInt64] {
    let (time, communication) = (prices.time(instruction), prices.communication(instruction))
    if case .kernel(let call) = instruction {
      let steps = program.ringExchanges(of: call)
      if !steps.isEmpty { return addRing(steps, of: call, titled: title, time - communication, after: inputs) }
    }
    var outputs = inputs
    if time > communication { outputs = [addCompute(title, time - communication, prices.work(instruction), after: inputs)] }
    let exchanges = program.exchanges(of: instruction)
    let collectives = exchanges.count { if case .collective = $0 { true } else { false } }
    for exchange in exchanges {
      if case .collective = exchange {
        outputs = [add(exchange, of: instruction, titled: title, communication * (1 / Double(collectives)), after: outputs)]
      } else {
        // Messages of one instruction are on their way at once.
        let id = add(exchange, of: instruction, titled: title, .zero, after: exchange.isReceived ? [] : inputs)
        if exchange.isReceived { outputs = union([outputs, [id]]) }
      }
    }
    return outputs
  }

  /// Attention around a ring: in each step the rank works on one block while it passes it on and the next one comes in; gradients come home after the
  /// last.
  private mutating func addRing(
    _ steps: [[Exchange]], of call: KernelCall, titled title: String, _ time: Seconds, after inputs: [UInt64]
  ) -> [UInt64] {
    let axes = program.rules[call.op].ring.map { program.strategies[call.op].meshAxes(on: $0.axis) } ?? []
    let blocks = axes.reduce(1) { $0 * program.mesh[$1] }
    let (whole, share) = (prices.work(.kernel(call)), 1 / Double(blocks))
    var available = inputs
    for (number, exchanges) in steps.enumerated() {
      let before = last
      var arrived: [UInt64] = []
      for exchange in exchanges {
        last = before
        let id = add(exchange, of: .kernel(call), titled: title, .zero, after: exchange.isReceived ? [] : available)
        if exchange.isReceived { arrived.append(id) }
      }
      last = before
      if number < blocks {
        let work = OperatorWork(operations: whole.operations * share, moved: whole.moved * share)
        arrived.append(addCompute("\(title), block \(number)", time * share, work, after: available))
        available = arrived
      } else {
        available = union([available, arrived])
      }
    }
    return available
  }

  // MARK: - Single nodes

  private mutating func addCompute(_ name: String, _ time: Seconds, _ work: OperatorWork, after inputs: [UInt64]) -> UInt64 {
    // A roofline passes over what moves nothing.
    let (operations, moved) = (max(1, Int(work.operations.value.rounded())), max(1, Int(work.moved.value.rounded())))
    return add(
      .compNode, name, computing.advance(time), after: inputs, inOrder: true, [.int64("num_ops", operations), .uint64("tensor_size", moved)])
  }

  private mutating func add(
    _ exchange: Exchange, of instruction: Instruction, titled title: String, _ time: Seconds, after inputs: [UInt64]
  ) -> UInt64 {
    let size = exchange.elements * prices.bytesPerElement(exchange, of: instruction)
    switch exchange {
    case .collective(let kind, _, let ranks):
      let name = title.hasPrefix(kind.rawValue) ? title : "\(title), \(kind.rawValue)"
      let id = add(
        .commCollNode, name, communicating.advance(time), after: union([inputs, [lastCollective].compactMap { $0 }]),
        inOrder: !(hidesWeights && instruction.movesWeights),
        [
          .int64("comm_type", kind.chakraType.rawValue),
          // Of an all-gather ASTRA-sim takes what each rank gives.
          .int64("comm_size", kind == .allGather ? (size + ranks.count - 1) / ranks.count : size),
          .string("pg_name", "\(groups.number(of: ranks))"),
        ])
      lastCollective = id
      return id
    case .send(_, let receiver, let tag):
      let before = last
      defer { last = before }
      return add(
        .commSendNode, title, 0, after: inputs, inOrder: true,
        Self.message(from: program.rank, to: receiver, tag: Self.tag(tag, counting: &sent[receiver, default: 0]), size))
    case .receive(_, let sender, let tag):
      return add(
        .commRecvNode, title, 0, after: inputs, inOrder: true,
        Self.message(from: sender, to: program.rank, tag: Self.tag(tag, counting: &received[sender, default: 0]), size))
    }
  }

  private static func message(from sender: Int, to receiver: Int, tag: Int, _ size: Int) -> [Chakra_Attribute] {
    [.int32("comm_src", sender), .int32("comm_dst", receiver), .int32("comm_tag", tag), .int64("comm_size", size)]
  }

  /// Even where the program has one; messages without are counted, at both ends alike.
  private static func tag(_ tag: Int?, counting count: inout Int) -> Int {
    if let tag { return 2 * tag }
    count += 1
    return 2 * count - 1
  }

  /// - Parameter inOrder: whether it waits for the node before it in the program, and the next one for it.
  private mutating func add(
    _ type: Chakra_NodeType, _ name: String, _ microseconds: UInt64, after inputs: [UInt64], inOrder: Bool, _ attributes: [Chakra_Attribute]
  ) -> UInt64 {
    var node = Chakra_Node()
    node.id = UInt64(nodes.count + 1)
    (node.name, node.type, node.durationMicros, node.dataDeps) = (name, type, microseconds, inputs)
    node.attr = [.bool("is_cpu_op", false)] + attributes
    if inOrder {
      node.ctrlDeps = [last].compactMap { $0 }
      last = node.id
    }
    nodes.append(node)
    return node.id
  }
}

/// Times of one kind one after the other in whole microseconds, so that their sum is right though each is rounded.
private struct MicrosecondClock {
  private var exact = 0.0
  private var told: UInt64 = 0

  mutating func advance(_ time: Seconds) -> UInt64 {
    exact += time.value * 1e6
    defer { told = max(told, UInt64(exact.rounded())) }
    return max(told, UInt64(exact.rounded())) - told
  }
}

extension Instruction {
  fileprivate var movesWeights: Bool {
    switch self {
    case .gatherParameter, .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied: true
    default: false
    }
  }
}

extension CollectiveKind {
  fileprivate var chakraType: Chakra_CollectiveCommType {
    switch self {
    case .allReduce: .allReduce
    case .allGather: .allGather
    case .reduceScatter: .reduceScatter
    case .allToAll: .allToAll
    }
  }
}
