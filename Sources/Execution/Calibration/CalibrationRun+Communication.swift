// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Kernels

/// Collectives in groups of every size, messages to a neighbour, and how much of a message hides behind work.
extension CalibrationRun {
  private static func elementCounts(_ isQuick: Bool) -> [Int] {
    isQuick ? [1 << 6, 1 << 15, 1 << 19] : [1 << 6, 1 << 12, 1 << 15, 1 << 17, 1 << 19, 1 << 21]
  }

  /// Every size up to all ranks; of many ranks, powers of two and all.
  private static func groupSizes(_ ranks: Int, _ isQuick: Bool) -> [Int] {
    guard ranks > 1 else { return [] }
    if isQuick { return [ranks] }
    return (2...ranks).filter { ranks <= 8 || $0 & ($0 - 1) == 0 || $0 == ranks }
  }

  static func communicationCount(_ world: Communicator, _ isQuick: Bool) -> Int {
    groupSizes(world.size, isQuick).count * elementCounts(isQuick).count * CommunicationPattern.allCases.count + (world.size > 1 ? 3 : 0)
  }

  mutating func measureCommunication() throws(ExecutionError) {
    for size in Self.groupSizes(world.size, isQuick) {
      // Ranks that are left over make a group of one, and keep the others' pace in the timer.
      let isWhole = world.rank / size < world.size / size
      let group = try world.split(color: isWhole ? world.rank / size : world.size + world.rank, key: world.rank)
      for count in Self.elementCounts(isQuick) {
        let whole = count / size * size
        for pattern in CommunicationPattern.allCases { try measure(pattern, size: size, count: whole, isWhole ? group : nil) }
      }
    }
    if world.size > 1 { try measureHiding() }
  }

  /// - Parameters:
  ///   - count: elements of what counts: the vector of an all-reduce, the gathered result, the input of a reduce-scatter, a rank's buffer, a message.
  ///   - group: nil on a rank that is left over.
  private mutating func measure(_ pattern: CommunicationPattern, size: Int, count: Int, _ group: Communicator?) throws(ExecutionError) {
    let arena = arena
    let counts = [Int](repeating: count / size, count: size)
    let timing = try timer.together { (repetition) throws(ExecutionError) in
      guard let group else { return }
      let p = arena.arrays([count, count] + (pattern == .allToAll ? [count, count] : []), repetition)
      switch pattern {
      case .allReduce: try group.allReduce(p[0], count: count)
      case .allGather: try group.allGather(p[0], counts: counts, into: p[1])
      case .reduceScatter: try group.reduceScatter(p[0], counts: counts, into: p[1])
      case .allToAll:
        // Its parts are packed for their receivers, and unpacked, always (`ReshardingTransfer`).
        p[2].update(from: p[0], count: count)
        try group.allToAll(p[2], counts: counts, into: p[3], counts: counts)
        p[1].update(from: p[3], count: count)
      case .message: try Self.pass(p[0], p[1], count: count, group)
      }
    }
    // In the mean over ranks, those that are left over count as nothing.
    let busy = world.size / size * size
    result.communication.append(
      .init(pattern: pattern, ranks: size, bytes: 4 * Double(count), seconds: note(timing) * Double(world.size) / Double(busy)))
  }

  /// Every rank sends to the next one on a ring.
  private static func pass(
    _ sent: UnsafePointer<Float>, _ received: UnsafeMutablePointer<Float>, count: Int, _ group: Communicator
  ) throws(ExecutionError) {
    var messages = RequestList()
    messages.append(try group.receive(received, count: count, from: (group.rank + group.size - 1) % group.size, tag: 0))
    messages.append(try group.send(sent, count: count, to: (group.rank + 1) % group.size, tag: 0))
    try messages.waitAll()
  }

  /// A message that is under way while the rank computes a product: how much of the shorter one's time is saved.
  private mutating func measureHiding() throws(ExecutionError) {
    let (arena, world) = (arena, world)
    let count = isQuick ? 1 << 19 : 1 << 21
    let (m, n, k) = (256, 768, 768)
    func multiply(_ p: [UnsafeMutablePointer<Float>]) {
      BLAS.gemm(.no, .no, m: m, n: n, k: k, a: p[2], lda: k, b: p[3], ldb: n, c: p[4], ldc: n)
    }
    let arrays = [count, count, m * k, k * n, m * n]
    let message = try timer.together { (repetition) throws(ExecutionError) in
      let p = arena.arrays(arrays, repetition)
      try Self.pass(p[0], p[1], count: count, world)
    }
    let product = try timer.together { (repetition) throws(ExecutionError) in multiply(arena.arrays(arrays, repetition)) }
    let both = try timer.together { (repetition) throws(ExecutionError) in
      let p = arena.arrays(arrays, repetition)
      var messages = RequestList()
      messages.append(try world.receive(p[1], count: count, from: (world.rank + world.size - 1) % world.size, tag: 0))
      messages.append(try world.send(p[0], count: count, to: (world.rank + 1) % world.size, tag: 0))
      multiply(p)
      try messages.waitAll()
    }
    let shorter = min(message.seconds, product.seconds)
    result.hidden = max(0, min(1, (message.seconds + product.seconds - both.seconds) / shorter))
  }
}
