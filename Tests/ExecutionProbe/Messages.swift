// SPDX-License-Identifier: GPL-3.0-or-later
import Execution

/// Point-to-point and control messages: every rank sends to the next one round the ring.
func checkMessages(_ world: Communicator) throws -> [String] {
  var mismatches: [String] = []
  let (next, previous) = ((world.rank + 1) % world.size, (world.rank + world.size - 1) % world.size)
  for count in [0, 1, 500, 100_000] {
    let sent = (0..<count).map { Float(world.rank * 1_000_000 + $0) }
    let ids = (0..<count).map { Int32(world.rank * 1_000_000 + $0) }
    let received = UnsafeMutablePointer<Float>.allocate(capacity: count)
    let receivedIDs = UnsafeMutablePointer<Int32>.allocate(capacity: count)
    defer {
      received.deallocate()
      receivedIDs.deallocate()
    }
    // Received in the other order than sent: the tags tell them apart.
    var pending = RequestList()
    pending.append(try world.receive(receivedIDs, count: count, from: previous, tag: 2))
    pending.append(try world.receive(received, count: count, from: previous, tag: 1))
    try sent.withUnsafeBufferPointer { sent in
      try ids.withUnsafeBufferPointer { ids in
        guard let sent = sent.baseAddress, let ids = ids.baseAddress else { return }
        pending.append(try world.send(sent, count: count, to: next, tag: 1))
        let last = try world.send(ids, count: count, to: next, tag: 2)
        try pending.waitAll()
        try last.wait()
      }
    }
    for i in 0..<count where received[i] != Float(previous * 1_000_000 + i) || receivedIDs[i] != Int32(previous * 1_000_000 + i) {
      mismatches.append("element \(i) of \(count): \(received[i]), \(receivedIDs[i])")
    }
  }
  let text = Array("from the last rank".utf8)
  if try world.broadcast(world.rank == world.size - 1 ? text : [], root: world.size - 1) != text { mismatches.append("broadcast") }
  let gathered = try world.gather([UInt8](repeating: UInt8(world.rank), count: world.rank))
  let expected = world.rank == 0 ? (0..<world.size).map { [UInt8](repeating: UInt8($0), count: $0) } : nil
  if gathered != expected { mismatches.append("gather") }
  return mismatches
}

/// The ledger after known calls: `kind count bytes` for each kind.
func countTraffic(_ world: Communicator) throws -> [String] {
  let before = world.ledger.traffic
  var buffer = [Float](repeating: 1, count: 100 * world.size)
  let part = [Float](repeating: 1, count: 100)
  let group = try world.split(color: 0, key: world.rank)
  try group.allReduce(&buffer, count: 100)
  try world.allReduce(&buffer, count: 10, .max)
  try world.allGather(part, count: 100, into: &buffer)
  var own = part
  try world.reduceScatter(buffer, count: 100, into: &own)
  let counts = [Int](repeating: 7, count: world.size)
  try world.allToAll(part + part, counts: counts, into: &buffer, counts: counts)
  if world.size > 1, world.rank < 2 {
    if world.rank == 0 { try world.send(part, count: 100, to: 1, tag: 0).wait() }
    if world.rank == 1 { try world.receive(&own, count: 100, from: 0, tag: 0).wait() }
  }
  try world.barrier()
  let traffic = world.ledger.traffic.since(before)
  return Traffic.Kind.allCases.map { "\($0.name) \(traffic[$0].count) \(traffic[$0].bytes)" }
}
