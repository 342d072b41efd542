// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import Strategies

/// An all-to-all of experts' slots: the rows that hold tokens go, with their numbers; the receiver fills the others with zeros.
struct RoutedTransfer {
  private let sent: [MarkedRows]
  private let received: [MarkedRows]
  /// Of what goes out, and of what comes in: room for every row, whatever the routing, and for the number of rows of each member.
  let stagingCounts: [Int]

  /// - Parameters:
  ///   - sent: for each member of the group what it gets of `source`, the region that this rank holds.
  ///   - received: for each member what it gives of `target`, the region that this rank will hold.
  init(sent: [Region], of source: Region, received: [Region], of target: Region) {
    self.sent = sent.map { MarkedRows(box: $0, of: source) }
    self.received = received.map { MarkedRows(box: $0, of: target) }
    stagingCounts = [self.sent, self.received].map { parts in parts.reduce(parts.count) { $0 + $1.rows * $1.recordLength } }
  }

  /// Fills `destination`, which has no memory yet, from `source`; both have marks.
  func carryOut(from source: BufferID, to destination: BufferID, memory: ProgramMemory, group: Communicator) throws(ExecutionError) {
    let result = try memory.allocate(destination)
    guard let marks = memory.marks(source), let resultMarks = memory.marks(destination) else { preconditionFailure("slots without marks") }
    let blocks = (outgoing: try memory.take(count: stagingCounts[0]), incoming: try memory.take(count: stagingCounts[1]))
    defer {
      memory.release(blocks.outgoing)
      memory.release(blocks.incoming)
    }
    let (outgoing, incoming) = (memory.floats(in: blocks.outgoing), memory.floats(in: blocks.incoming))
    /// The numbers of rows, at a block's end.
    func counts(_ block: UnsafeMutablePointer<Float>, _ staged: Int) -> UnsafeMutablePointer<Int32> {
      UnsafeMutableRawPointer(block + staged - group.size).bindMemory(to: Int32.self, capacity: group.size)
    }
    let (sentRows, receivedRows) = (counts(outgoing, stagingCounts[0]), counts(incoming, stagingCounts[1]))
    var place = outgoing
    for (member, part) in sent.enumerated() {
      let count = part.pack(memory.floats(source), marks: marks, into: place)
      sentRows[member] = Int32(count)
      place += count * part.recordLength
    }
    try group.exchangeCounts(sentRows, into: receivedRows)
    try group.allToAll(
      outgoing, counts: sent.enumerated().map { Int(sentRows[$0]) * $1.recordLength }, into: incoming,
      counts: received.enumerated().map { Int(receivedRows[$0]) * $1.recordLength })
    result.update(repeating: 0, count: memory.count(destination))
    resultMarks.update(repeating: 0, count: memory.slots.rows[destination])
    var start = incoming
    for (member, part) in received.enumerated() {
      part.unpack(start, count: Int(receivedRows[member]), into: result, marks: resultMarks)
      start += Int(receivedRows[member]) * part.recordLength
    }
  }
}

/// How the marks of a resharding step's result are found where the step moves values without looking at them.
enum MarkTransfer {
  /// The result's rows are among the source's.
  case part(RegionTransfer)
  /// They are those of all members of the group: the numbers of rows of each, and where they go.
  case gather(counts: [Int], unpack: [RegionTransfer])

  /// - Parameter members: what each member holds before an all-gather; empty for other steps.
  init(from source: Region, to target: Region, members: [Region]) {
    let (rows, parts) = (target.rows, members.map(\.rows))
    if parts.allSatisfy({ $0 == rows }) {
      self = .part(RegionTransfer(rows, from: source.rows, to: rows))
    } else {
      self = .gather(counts: parts.map(\.elementCount), unpack: parts.map { RegionTransfer($0, from: $0, to: rows) })
    }
  }

  /// Elements that it takes for a moment.
  var stagingCounts: [Int] {
    switch self {
    case .part: []
    case .gather(let counts, _): [counts.reduce(0, +)]
    }
  }

  func carryOut(from source: BufferID, to destination: BufferID, memory: ProgramMemory, group: Communicator) throws(ExecutionError) {
    guard let marks = memory.marks(source), let result = memory.marks(destination), marks != result else { return }
    switch self {
    case .part(let transfer): transfer.copy(marks, into: result)
    case .gather(let counts, let unpack):
      let staging = try memory.take(count: counts.reduce(0, +))
      defer { memory.release(staging) }
      var part = memory.floats(in: staging)
      try group.gatherMarks(marks, counts: counts, into: part)
      for (count, transfer) in zip(counts, unpack) {
        transfer.copy(part, into: result)
        part += count
      }
    }
  }
}
