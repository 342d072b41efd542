// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Strategies

/// One pass of a router.
struct RoutePass: Hashable {
  let op: OperatorID
  let copy: Int
  let microBatch: Int
}

/// What routers of this rank chose in a run's first step: kept so that what all-to-alls should have sent can be counted afterwards, from nothing
/// that they read themselves.
final class RouteRecord {
  /// For each token of `region` [batch, positions] the experts that it visits.
  struct Entry {
    let pass: RoutePass
    let region: Region
    let perToken: Int
    var experts: [Int32]
    var isFilled = false
    /// Whether ranks with the same tokens leave it to this one to tell.
    let isTold: Bool
  }

  private(set) var entries: [Entry] = []
  private var indices: [RoutePass: Int] = [:]

  /// Takes the memory, before the first step.
  init(_ program: Program, _ slots: RoutedSlots) {
    let routers = Set(program.graph.tensors.indices.compactMap { slots.route(of: $0, in: program.graph) })
    if routers.isEmpty { return }
    for case .kernel(let call) in program.instructions where call.phase == .forward && routers.contains(call.op) {
      let buffer = program.buffers[call.result]
      let (tokens, perToken) = (Array(buffer.region.dropLast()), (buffer.region.last?.count ?? 0) / 2)
      let pass = RoutePass(op: call.op, copy: call.copy, microBatch: call.microBatch)
      indices[pass] = entries.count
      entries.append(
        Entry(
          pass: pass, region: tokens, perToken: perToken, experts: Array(repeating: 0, count: tokens.elementCount * perToken),
          isTold: program.coordinates.indices.allSatisfy { program.coordinates[$0] == 0 || buffer.layout[$0] != .replicated }))
    }
  }

  /// Keeps what a router's forward pass has left, if it is one of the first step's.
  func record(_ call: KernelCall, _ memory: ProgramMemory) {
    guard !entries.isEmpty, let index = indices[RoutePass(op: call.op, copy: call.copy, microBatch: call.microBatch)], !entries[index].isFilled
    else { return }
    let (routes, perToken) = (memory.floats(call.result), entries[index].perToken)
    for place in entries[index].experts.indices {
      let (token, choice) = place.quotientAndRemainder(dividingBy: perToken)
      entries[index].experts[place] = Int32(routes[token * 2 * perToken + perToken + choice])
    }
    entries[index].isFilled = true
  }
}

/// What all routers chose in one step, on all ranks.
struct ChosenRoutes {
  /// Of the tokens [batch, positions] of one micro-batch.
  private struct Choices {
    let positions: Int
    let perToken: Int
    /// −1 where no rank has told.
    var experts: [Int32]
  }

  private var passes: [RoutePass: Choices] = [:]

  /// Collective.
  init(_ record: RouteRecord, of graph: Graph, world: Communicator) throws(ExecutionError) {
    var own: [Int32] = []
    for entry in record.entries where entry.isFilled && entry.isTold {
      let (pass, region) = (entry.pass, entry.region)
      own += [pass.op, pass.copy, pass.microBatch, entry.perToken].map { Int32($0) }
      own += region.flatMap { [Int32($0.lowerBound), Int32($0.upperBound)] } + entry.experts
    }
    let gathered = try world.gather(own.withUnsafeBytes(Array.init))
    let bytes = try world.broadcast((gathered ?? []).flatMap { $0 })
    let numbers = bytes.withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: 4).map { Int(bytes.loadUnaligned(fromByteOffset: $0, as: Int32.self)) }
    }
    var next = 0
    while next < numbers.count {
      let head = Array(numbers[next..<next + 8])
      let region = [head[4]..<head[5], head[6]..<head[7]]
      let count = region.elementCount * head[3]
      add(numbers[next + 8..<next + 8 + count], of: RoutePass(op: head[0], copy: head[1], microBatch: head[2]), region, perToken: head[3], graph)
      next += 8 + count
    }
  }

  private mutating func add(_ experts: ArraySlice<Int>, of pass: RoutePass, _ region: Region, perToken: Int, _ graph: Graph) {
    let shape = graph.shape(graph.operators[pass.op].result)
    var choices =
      passes[pass] ?? Choices(positions: shape[1], perToken: perToken, experts: Array(repeating: -1, count: shape[0] * shape[1] * perToken))
    var source = experts.startIndex
    for sample in region[0] {
      for position in region[1] {
        for choice in 0..<perToken {
          choices.experts[(sample * shape[1] + position) * perToken + choice] = Int32(experts[source])
          source += 1
        }
      }
    }
    passes[pass] = choices
  }

  /// How many rows of [experts, batch, positions] hold tokens in a pass.
  func rows(in box: Region, of pass: RoutePass) -> Int {
    guard let choices = passes[pass] else { return 0 }
    return box[1].reduce(0) { total, sample in
      let line = sample * choices.positions
      let places = (line + box[2].lowerBound) * choices.perToken..<(line + box[2].upperBound) * choices.perToken
      return total + choices.experts[places].count { box[0].contains(Int($0)) }
    }
  }
}
