// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering

/// Messages to other stages on their way: the schedule goes on, and each holds its memory until it has left.
struct PendingSends: ~Copyable {
  private final class Message {
    private var request: Request?
    let block: ProgramMemory.BlockID

    init(_ request: consuming Request, block: ProgramMemory.BlockID) {
      self.request = consume request
      self.block = block
    }

    func hasLeft() throws(ExecutionError) -> Bool {
      guard let current = request.take() else { return true }
      request = try current.test()
      return request == nil
    }

    func wait() throws(ExecutionError) {
      if let current = request.take() { try current.wait() }
    }
  }

  private var messages: [Message] = []

  /// Starts to send a buffer, and lets go of earlier ones that have left. It never waits: two stages that waited for each other would hang.
  mutating func send(
    _ buffer: BufferID, to rank: Int, tag: Int, memory: ProgramMemory, world: Communicator
  ) throws(ExecutionError) {
    try send(memory.hold(buffer), count: memory.count(buffer), to: rank, tag: tag, memory: memory, world: world)
  }

  /// The same of a block, which it lets go of when it has left.
  mutating func send(
    _ block: ProgramMemory.BlockID, count: Int, to rank: Int, tag: Int, memory: ProgramMemory, world: Communicator
  ) throws(ExecutionError) {
    var staying: [Message] = []
    for message in messages {
      if try message.hasLeft() { memory.release(message.block) } else { staying.append(message) }
    }
    messages = staying
    messages.append(Message(try world.send(memory.floats(in: block), count: count, to: rank, tag: tag), block: block))
  }

  /// Asks which messages have left, so that a recorded step knows when.
  func look() throws(ExecutionError) {
    for message in messages { _ = try message.hasLeft() }
  }

  mutating func waitAll(_ memory: ProgramMemory) throws(ExecutionError) {
    for message in messages {
      try message.wait()
      memory.release(message.block)
    }
    messages = []
  }
}
