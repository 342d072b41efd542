// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph

/// The most that one rank's buffers, parameters and optimizer state take at once, found by walking its program on paper.
///
/// It follows `ProgramMemory`: blocks have the pool's sizes, are counted by their holders, and results go where `ResultPlace` says.
/// Scratch of a row or two and messages that wait long for their receiver are left out, and so is what the process has beside: MPI's and OpenBLAS's
/// own memory, and mapped weight files.
struct MemoryPlan {
  private let program: Program
  private let stateArrays: Int
  /// For each buffer its block; nil while it has none.
  private var blocks: [Int?]
  private var sizes: [Int] = []
  private var holders: [Int] = []
  private var retained: [Int] = []
  /// What was sent last: it is let go of at the next message, if it has left by then, or at the end of the step.
  private var sent: Int?
  private var hasState: [Bool]
  private var bytesInUse = 0
  private var peakBytes = 0
  /// By size, blocks that were given back: the pool keeps them.
  private var spare: [Int: Int] = [:]
  private var ownedBytes = 0

  /// - Parameters:
  ///   - steps: from the second on, the optimizer's state is there from the start.
  ///   - retains: whether a forward result outlives the first step.
  /// - Returns: bytes.
  static func peakBytes(
    of program: Program, steps: Int, hyperparameters: Hyperparameters, retains: (KernelCall) -> Bool = { _ in false }
  ) -> Int {
    walked(program, steps: steps, hyperparameters: hyperparameters, retains: retains).peakBytes
  }

  /// What the pool has taken from the system by the end, and so has resident: besides what is in use at once, blocks of other sizes that it
  /// keeps for later.
  static func ownedBytes(
    of program: Program, steps: Int, hyperparameters: Hyperparameters, retains: (KernelCall) -> Bool = { _ in false }
  ) -> Int {
    walked(program, steps: steps, hyperparameters: hyperparameters, retains: retains).ownedBytes
  }

  private static func walked(
    _ program: Program, steps: Int, hyperparameters: Hyperparameters, retains: (KernelCall) -> Bool
  ) -> MemoryPlan {
    var plan = MemoryPlan(program, hyperparameters)
    for parameter in program.parameters {
      plan.allocate(parameter.value)
      if let gradient = parameter.gradient { plan.allocate(gradient) }
    }
    for step in 0..<min(steps, 2) {
      for block in plan.retained { plan.release(block) }
      plan.retained = []
      plan.walk { step == 0 && retains($0) }
    }
    return plan
  }

  private init(_ program: Program, _ hyperparameters: Hyperparameters) {
    self.program = program
    stateArrays = hyperparameters.stateArrays
    blocks = Array(repeating: nil, count: program.buffers.count)
    hasState = Array(repeating: false, count: program.parameters.count)
  }

  private mutating func walk(retains: (KernelCall) -> Bool) {
    let instructions = program.instructions
    var next = 0
    while next < instructions.count {
      let instruction = instructions[next]
      next += 1
      var dying: [BufferID] = []
      while next < instructions.count, case .free(let buffer) = instructions[next] {
        dying.append(buffer)
        next += 1
      }
      carryOut(instruction, dying: dying)
      if case .kernel(let call) = instruction, call.phase == .forward, retains(call), let block = blocks[call.result] {
        holders[block] += 1
        retained.append(block)
      }
      for buffer in dying { free(buffer) }
    }
    endSend()
  }

  private mutating func endSend() {
    if let sent { release(sent) }
    sent = nil
  }

  private mutating func carryOut(_ instruction: Instruction, dying: [BufferID]) {
    switch instruction {
    case .load(let buffer, _):
      allocate(buffer)
      let (region, tensor) = (program.buffers[buffer].region, program.buffers[buffer].tensor)
      if program.pieces(of: region, in: tensor).count > 1 { addForAMoment([program.buffers[buffer].count]) }
    case .receive(let buffer, _, _): allocate(buffer)
    case .receiveBoxes(let buffer, let boxes, _):
      allocate(buffer)
      addForAMoment([boxes.map(\.region.elementCount).max() ?? 0])
    case .kernel(let call) where call.phase != .backward:
      allocate(call.result, program.resultPlace(of: call), dying: dying)
      for extra in program.extras(of: call) { allocate(extra) }
      addForAMoment(program.scratchCounts(of: call))
    case .kernel(let call):
      for (operand, gradient) in call.operandGradients.enumerated() {
        guard let gradient, blocks[gradient] == nil else { continue }
        allocate(gradient, program.gradientPlace(of: operand, in: call), dying: dying)
      }
      addForAMoment(program.scratchCounts(of: call))
    case .reshard(let step, let source, let destination):
      if program.group(over: step.axes).count == 1 { return share(destination, with: source) }
      allocate(destination, step.action == .allReduce ? .over(source) : .fresh, dying: dying)
      addForAMoment([ReshardingTransfer(step, from: source, to: destination, in: program).stagingCount])
    case .update(let parameter):
      guard !hasState[parameter] else { return }
      hasState[parameter] = true
      for _ in 0..<stateArrays { _ = take(program.parameters[parameter].part.count) }
    case .gatherParameter(_, _, let buffer): if blocks[buffer] == nil { allocate(buffer) }
    case .send(let buffer, _, _):
      endSend()
      guard let block = blocks[buffer] else { return }
      holders[block] += 1
      sent = block
    case .sendBoxes(let buffer, let boxes, _):
      endSend()
      // They are packed one by one, and leave while the next is packed.
      if let box = boxes.map(\.region).max(by: { $0.elementCount < $1.elementCount }), box != program.buffers[buffer].region {
        addForAMoment([box.elementCount])
      }
    case .exchangeTied(let parameter, let sent, let received, _):
      addForAMoment(sent.map(\.region.elementCount) + received.map { _ in program.parameters[parameter].region.elementCount })
    case .accumulate, .zero, .scatterGradient, .reduceGradient, .reduceTied, .free: break
    }
  }

  // MARK: - Blocks, as in `ProgramMemory`

  private mutating func allocate(_ buffer: BufferID) { blocks[buffer] = take(program.buffers[buffer].count) }

  private mutating func allocate(_ buffer: BufferID, _ place: ResultPlace, dying: [BufferID]) {
    switch place {
    case .sameAs(let other): share(buffer, with: other)
    case .over(let other)
    where dying.contains(other) && program.buffers[other].count == program.buffers[buffer].count && blocks[other].map { holders[$0] } == 1:
      share(buffer, with: other)
    case .fresh, .over: allocate(buffer)
    }
  }

  private mutating func share(_ buffer: BufferID, with other: BufferID) {
    guard let block = blocks[other] else { preconditionFailure("buffer \(other) is read and has no memory") }
    blocks[buffer] = block
    holders[block] += 1
  }

  private mutating func free(_ buffer: BufferID) {
    guard let block = blocks[buffer] else { return }
    blocks[buffer] = nil
    release(block)
  }

  private mutating func take(_ count: Int) -> Int {
    let size = Self.size(count)
    sizes.append(size)
    holders.append(1)
    bytesInUse += size
    peakBytes = max(peakBytes, bytesInUse)
    if let known = spare[size], known > 0 { spare[size] = known - 1 } else { ownedBytes += size }
    return sizes.count - 1
  }

  /// Memory that an instruction takes beside its buffers and gives back.
  private mutating func addForAMoment(_ counts: [Int]) {
    for block in counts.filter({ $0 > 0 }).map({ take($0) }) { release(block) }
  }

  private mutating func release(_ block: Int) {
    holders[block] -= 1
    guard holders[block] == 0 else { return }
    bytesInUse -= sizes[block]
    spare[sizes[block], default: 0] += 1
  }

  private static func size(_ count: Int) -> Int { BufferPool.blockSize(bytes: count * MemoryLayout<Float>.stride) }
}
