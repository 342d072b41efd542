// SPDX-License-Identifier: GPL-3.0-or-later
import ChakraFormat
import Documents
import Foundation
import Lowering
import Planner
import Plans
import Strategies
import TestSupport
import Testing
import Traces

/// A plan's step as execution traces, read again from their bytes.
@Suite struct ChakraTraceTests {
  private func type(_ kind: CollectiveKind) -> Int {
    switch kind {
    case .allReduce: 0
    case .allGather: 2
    case .allToAll: 6
    case .reduceScatter: 7
    }
  }

  @Test("Dependencies name nodes before, of which there are none twice; ids count from 1; every node runs on the device", arguments: Split.allCases)
  func dependencies(split: Split) throws {
    for trace in try ReadTrace.all(of: split.plan()).ranks {
      #expect(trace.metadata.version == ChakraFile.version)
      #expect(trace.nodes.map(\.id) == (1...UInt64(trace.nodes.count)).map { $0 })
      for node in trace.nodes {
        for list in [node.dataDeps, node.ctrlDeps] {
          #expect(Set(list).count == list.count && list.allSatisfy { 0 < $0 && $0 < node.id })
        }
        #expect(node.attr.first { $0.name == "is_cpu_op" }?.value == .boolVal(false))
        if node.type == .compNode { #expect(node.operations > 0 && node.tensorSize > 0) }
        #expect(!node.name.contains("{i}"))
      }
    }
  }

  @Test(
    "Collectives of all ranks have the bytes that the plan predicts, in its number formats; of each rank those of its program",
    arguments: Split.allCases)
  func collectives(split: Split) throws {
    for hardware in ["local", "derecho"] {
      let plan = try split.plan(on: hardware)
      let decision = plan.decision
      let (ranks, groups) = try ReadTrace.all(of: plan)
      let step = try Planner.predictStep(decision, on: plan.hardware.cluster(devices: decision.ranks))
      var predicted: [Int: Int] = [:]
      for part in plan.prediction.collectives {
        guard let kind = part.kind else { continue }
        let calls = part.callsPerStep(microBatches: decision.job.microBatches) * decision.mesh(ofOperator: part.op).reduce(1, *)
        predicted[type(kind), default: 0] += calls * Int(part.bytes.value)
      }
      var told: [Int: Int] = [:]
      for (rank, trace) in ranks.enumerated() {
        var (own, expected) = ([Int: Int](), [Int: Int]())
        for node in trace.nodes where node.type == .commCollNode {
          let members = try #require(groups[node.group])
          #expect(members.contains(rank) && members.count > 1)
          // An all-gather's is what each rank gives.
          own[node.commType, default: 0] += node.commSize * (node.commType == type(.allGather) ? members.count : 1)
        }
        let program = Lowering.program(for: decision, rank: rank)
        let prices = step.instructionPrices(of: program)
        for instruction in program.instructions {
          for exchange in program.exchanges(of: instruction) {
            guard case .collective(let kind, let elements, _) = exchange else { continue }
            expected[type(kind), default: 0] += elements * prices.bytesPerElement(exchange, of: instruction)
          }
        }
        #expect(own == expected, "rank \(rank)")
        told.merge(own, uniquingKeysWith: +)
      }
      #expect(told == predicted)
    }
  }

  @Test("Every message has one sender and one receiver, who name the same bytes", arguments: Split.allCases)
  func messages(split: Split) throws {
    let ranks = try ReadTrace.all(of: split.plan()).ranks
    var (sent, received) = ([[Int]: Int](), [[Int]: Int]())
    for (rank, trace) in ranks.enumerated() {
      for node in trace.nodes {
        let key = [node.source, node.destination, node.tag]
        switch node.type {
        case .commSendNode:
          #expect(node.source == rank && node.commSize > 0)
          #expect(sent.updateValue(node.commSize, forKey: key) == nil)
        case .commRecvNode:
          #expect(node.destination == rank)
          #expect(received.updateValue(node.commSize, forKey: key) == nil)
        default: break
        }
      }
    }
    #expect(sent == received)
    #expect(sent.isEmpty == [.sequenceParallel, .zero3, .zero1, .hidden, .experts].contains(split))
  }

  @Test("Replayed as ASTRA-sim does, all ranks come to their end: by all dependencies, and by those of data alone", arguments: Split.allCases)
  func replay(split: Split) throws {
    let (ranks, groups) = try ReadTrace.all(of: split.plan())
    for obeysControl in [true, false] {
      var replay = Replay(ranks, groups, obeysControl: obeysControl)
      #expect(replay.run() == 0)
    }
    // A rank that misses a collective stops the others: the replay above says something.
    guard let victim = ranks[0].nodes.first(where: { $0.type == .commCollNode }) else { return }
    var replay = Replay(ranks, groups.filter { $0.key != victim.group }, obeysControl: true)
    #expect(replay.run() > 0)
  }

  @Test("Computing nodes take what the plan predicts of computing, to a microsecond for each rank", arguments: Split.allCases)
  func durations(split: Split) throws {
    let plan = try split.plan()
    let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    for (rank, trace) in try ReadTrace.all(of: plan).ranks.enumerated() {
      let program = Lowering.program(for: plan.decision, rank: rank)
      let prices = step.instructionPrices(of: program)
      let predicted = program.instructions.reduce(0.0) { $0 + (prices.time($1) - prices.communication($1)).value }
      let told = trace.nodes.filter { $0.type == .compNode }.reduce(0) { $0 + $1.durationMicros }
      #expect(abs(Double(told) - predicted * 1e6) <= 1, "\(told) of \(predicted * 1e6) µs")
    }
  }

  @Test("worked by hand: products' operations, which ranks share out, and which a ring's blocks share out too")
  func operations() throws {
    func sum(_ split: Split, _ word: String) throws -> Int {
      try ReadTrace.all(of: split.plan()).ranks.reduce(0) { sum, trace in
        sum + trace.nodes.filter { $0.type == .compNode && $0.name.contains(word) }.reduce(0) { $0 + $1.operations }
      }
    }
    // 8 sequences of 16, 4 layers of 32 x 64: two operations for each product of elements, and twice as many backward.
    let tokens = 8 * 16
    for split in [Split.sequenceParallel, .interleaved, .zero3, .ring] {
      #expect(try sum(split, "mlp.c_proj m") == 3 * 4 * 2 * tokens * 32 * 64)
    }
    // Half of 16 x 16 scores for each of 4 heads of 8: two products forward, five backward.
    for split in [Split.sequenceParallel, .ring] {
      #expect(try sum(split, "attn.core m") == 4 * 8 * (4 + 10) * 4 * 16 * 16 * 8 / 2)
    }
    // Everything is computed once more.
    #expect(try sum(.recomputed, "mlp.c_proj m") == 4 * 4 * 2 * tokens * 32 * 64)
  }

  @Test("A folder is written whole, with the groups as ASTRA-sim reads them, and equal plans give equal bytes")
  func folder() throws {
    let folder = try TemporaryFolder()
    let plan = try Split.zero1.plan()
    for name in ["a", "b"] {
      var trace = try ChakraTrace(plan)
      _ = try trace.write(to: folder.file(name))
    }
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.file("a")).sorted()
    #expect(files == ["comm_groups.json"] + (0..<4).map { "gpt2.\($0).et" })
    for file in files {
      let (a, b) = try (readFile("\(folder.file("a"))/\(file)"), readFile("\(folder.file("b"))/\(file)"))
      #expect(a == b && !a.isEmpty)
    }
    let groups = try Document(readingFrom: "\(folder.file("a"))/comm_groups.json").value
    guard case .object(let object) = groups else { throw DocumentError.unreadable(file: "", reason: "") }
    #expect(Set(object.members.map(\.key)) == Set((1...object.members.count).map { "\($0)" }))
    #expect(Set(object.members.map(\.value)) == [[0, 1], [2, 3], [0, 2], [1, 3]])
    #expect(throws: DocumentError.self) {
      var trace = try ChakraTrace(plan)
      _ = try trace.write(to: folder.file("a"))
    }
  }
}
