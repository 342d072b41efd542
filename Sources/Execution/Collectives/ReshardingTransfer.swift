// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Strategies

/// One resharding step as this rank carries it out: who takes part, and what is packed and unpacked. Made once, when a program is loaded.
struct ReshardingTransfer {
  private enum Action {
    /// The buffer is handed on.
    case none
    case slice(RegionTransfer)
    case allReduce
    /// The lengths of the members' parts; `unpack` is nil where the parts follow one another in the result.
    case allGather(counts: [Int], unpack: [RegionTransfer]?)
    /// The lengths of the members' parts; `pack` is nil where they follow one another in the operand.
    case reduceScatter(counts: [Int], pack: [RegionTransfer]?)
    case allToAll(sent: [Int], pack: [RegionTransfer], received: [Int], unpack: [RegionTransfer])
    case routedAllToAll(RoutedTransfer)
  }

  private let action: Action
  private let axes: [Int]
  /// Where rows are marked and no routed all-to-all marks them.
  private let marks: MarkTransfer?

  init(_ step: ReshardingStep, from source: BufferID, to destination: BufferID, in program: Program, _ slots: RoutedSlots) {
    let (own, target) = (program.buffers[source], program.buffers[destination])
    let members = program.group(over: step.axes)
    func regions(_ layout: Layout) -> [Region] { members.map { program.region(of: own.tensor, in: layout, at: $0) } }
    /// Whether parts along a dimension follow one another in memory.
    func isOutermost(_ dimension: Int, in region: Region) -> Bool { region[..<dimension].allSatisfy { $0.count == 1 } }
    let isRouted = slots.rows[source] > 0
    axes = step.axes
    if isRouted, members.count > 1, step.collective != .allToAll {
      let isGathered = if case .allGather = step.action { true } else { false }
      marks = MarkTransfer(from: own.region, to: target.region, members: isGathered ? regions(own.layout) : [])
    } else {
      marks = nil
    }
    if members.count == 1 {
      action = .none
      return
    }
    switch step.action {
    case .slice: action = .slice(RegionTransfer(target.region, from: own.region, to: target.region))
    case .allReduce: action = .allReduce
    case .allGather(let dimension):
      let parts = regions(own.layout)
      let isDirect = isOutermost(dimension, in: target.region)
      action = .allGather(
        counts: parts.map(\.elementCount), unpack: isDirect ? nil : parts.map { RegionTransfer($0, from: $0, to: target.region) })
    case .reduceScatter(let dimension):
      let parts = regions(target.layout)
      let isDirect = isOutermost(dimension, in: own.region)
      action = .reduceScatter(
        counts: parts.map(\.elementCount), pack: isDirect ? nil : parts.map { RegionTransfer($0, from: own.region, to: $0) })
    case .allToAll:
      let sent = regions(target.layout).map { own.region.intersection($0) }
      let received = regions(own.layout).map { target.region.intersection($0) }
      if isRouted {
        action = .routedAllToAll(RoutedTransfer(sent: sent, of: own.region, received: received, of: target.region))
        return
      }
      action = .allToAll(
        sent: sent.map(\.elementCount), pack: sent.map { RegionTransfer($0, from: own.region, to: $0) },
        received: received.map(\.elementCount), unpack: received.map { RegionTransfer($0, from: $0, to: target.region) })
    }
  }

  /// The elements of each block of memory that carrying it out takes beside the source and the destination.
  var stagingCounts: [Int] {
    let own =
      switch action {
      case .none, .slice, .allReduce: [Int]()
      case .allGather(let counts, let unpack): unpack == nil ? [] : [counts.reduce(0, +)]
      case .reduceScatter(let counts, let pack): pack == nil ? [] : [counts.reduce(0, +)]
      case .allToAll(let sent, _, let received, _): [sent.reduce(0, +), received.reduce(0, +)]
      case .routedAllToAll(let transfer): transfer.stagingCounts
      }
    return own + (marks?.stagingCounts ?? [])
  }

  /// Fills `destination`, which has no memory yet, from `source`.
  /// - Parameter dying: the buffers that nobody reads afterwards; an all-reduce works over `source` if it is one.
  func carryOut(
    from source: BufferID, to destination: BufferID, dying: [BufferID], memory: ProgramMemory, groups: MeshGroups
  ) throws(ExecutionError) {
    guard let group = groups.communicator(over: axes) else { return memory.share(destination, with: source) }
    try moveValues(from: source, to: destination, dying: dying, memory: memory, group: group)
    try marks?.carryOut(from: source, to: destination, memory: memory, group: group)
  }

  private func moveValues(
    from source: BufferID, to destination: BufferID, dying: [BufferID], memory: ProgramMemory, group: Communicator
  ) throws(ExecutionError) {
    switch action {
    case .none: memory.share(destination, with: source)
    case .slice(let transfer): transfer.copy(memory.floats(source), into: try memory.allocate(destination))
    case .allReduce:
      let result = try memory.allocate(destination, over: source, dying: dying)
      if result != memory.floats(source) { result.update(from: memory.floats(source), count: memory.count(source)) }
      try group.allReduce(result, count: memory.count(destination))
    case .allGather(let counts, let unpack):
      let result = try memory.allocate(destination)
      guard let unpack else { return try group.allGather(memory.floats(source), counts: counts, into: result) }
      let staging = try memory.take(count: memory.count(destination))
      defer { memory.release(staging) }
      try group.allGather(memory.floats(source), counts: counts, into: memory.floats(in: staging))
      Self.forEachPart(counts, unpack) { start, transfer in transfer.copy(memory.floats(in: staging) + start, into: result) }
    case .reduceScatter(let counts, let pack):
      let result = try memory.allocate(destination)
      guard let pack else { return try group.reduceScatter(memory.floats(source), counts: counts, into: result) }
      let staging = try memory.take(count: memory.count(source))
      defer { memory.release(staging) }
      Self.forEachPart(counts, pack) { start, transfer in transfer.copy(memory.floats(source), into: memory.floats(in: staging) + start) }
      try group.reduceScatter(memory.floats(in: staging), counts: counts, into: result)
    case .routedAllToAll(let transfer): try transfer.carryOut(from: source, to: destination, memory: memory, group: group)
    case .allToAll(let sent, let pack, let received, let unpack):
      let result = try memory.allocate(destination)
      let outgoing = try memory.take(count: memory.count(source))
      defer { memory.release(outgoing) }
      let incoming = try memory.take(count: memory.count(destination))
      defer { memory.release(incoming) }
      Self.forEachPart(sent, pack) { start, transfer in transfer.copy(memory.floats(source), into: memory.floats(in: outgoing) + start) }
      try group.allToAll(memory.floats(in: outgoing), counts: sent, into: memory.floats(in: incoming), counts: received)
      Self.forEachPart(received, unpack) { start, transfer in transfer.copy(memory.floats(in: incoming) + start, into: result) }
    }
  }

  private static func forEachPart(_ counts: [Int], _ transfers: [RegionTransfer], _ body: (Int, RegionTransfer) -> Void) {
    var start = 0
    for (count, transfer) in zip(counts, transfers) {
      body(start, transfer)
      start += count
    }
  }
}
