// SPDX-License-Identifier: GPL-3.0-or-later
import Execution

/// Prints the fastest and the median time of collectives on this machine, for choosing defaults; no test reads it.
func measure(_ world: Communicator) throws {
  let clock = ContinuousClock()
  let largest = 6 << 20
  let buffer = UnsafeMutablePointer<Float>.allocate(capacity: largest)
  let other = UnsafeMutablePointer<Float>.allocate(capacity: largest)
  buffer.initialize(repeating: 0, count: largest)
  other.initialize(repeating: 0, count: largest)
  defer {
    buffer.deallocate()
    other.deallocate()
  }
  let collectives: [(String, (Int) throws -> Void)] = [
    ("all-reduce", { try world.allReduce(buffer, count: $0) }),
    ("all-gather", { try world.allGather(buffer, count: $0 / world.size, into: other) }),
    ("reduce-scatter", { try world.reduceScatter(buffer, count: $0 / world.size, into: other) }),
  ]
  for (name, call) in collectives {
    for count in [1 << 8, 1 << 12, 1 << 14, 96 << 10, 384 << 10, 1536 << 10, largest] {
      var times: [Duration] = []
      for _ in 0..<(count > 1 << 20 ? 40 : 200) {
        try world.barrier()
        times.append(try clock.measure { try call(count) })
      }
      times = times.dropFirst(5).sorted()
      if world.rank == 0 { print("\(name) \(count * 4) bytes: fastest \(times[0]), median \(times[times.count / 2])") }
    }
  }
}
