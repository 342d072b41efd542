// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph

/// What one rank's buffers, parameters and optimizer state take, and when, found by walking its program on paper.
///
/// It follows `ProgramMemory`: blocks are counted by their holders, and results go where `ResultPlace` says.
/// Scratch of a row or two and messages that wait long for their receiver are left out, and so is what the process has beside: MPI's and OpenBLAS's
/// own memory, and mapped weight files.
struct MemoryPlan {
  private let program: Program
  private let slots: RoutedSlots
  private let retainsGradients: Bool
  /// For each buffer its block; nil while it has none.
  private var blocks: [Int?]
  private var lives: [ArenaPlan.Life] = []
  private var homes: [Home] = []
  private var holders: [Int] = []
  /// What was sent last: it is let go of at the next message, if it has left by then, or at the end of the step.
  private var sent: Int?
  private var taker = 0
  private var time = 0
  private var occupancy: ArenaOccupancy
  /// By size, blocks outside the arena that were given back: the pool keeps them.
  private var spare: [Int: Int] = [:]
  private var bytesOutsideArena = 0

  private enum Home {
    case arena(ArenaPlan.Place)
    case block(bytes: Int)
  }

  /// Where the blocks of a program lie, and how many bytes it takes.
  /// - Parameter holdsParameters: false where another executor does.
  static func arena(of program: Program, _ hyperparameters: Hyperparameters, holdsParameters: Bool = true) -> ArenaPlan {
    ArenaPlan(MemoryPlan(program, hyperparameters, .empty, holdsParameters: holdsParameters) { _ in false }.lives)
  }

  /// - Parameters:
  ///   - retainsGradients: whether those of parameters that are updated in the backward pass outlive the step, as others do.
  ///   - retains: whether a forward result does.
  /// - Returns: the most bytes that are in use at once.
  static func peakBytes(
    of program: Program, _ hyperparameters: Hyperparameters, retainsGradients: Bool = false, retains: (KernelCall) -> Bool = { _ in false }
  ) -> Int {
    ArenaPlan.mostAtOnce(MemoryPlan(program, hyperparameters, .empty, retainsGradients: retainsGradients, retains: retains).lives)
  }

  /// What the pool has taken from the system by the end of a step, and so has resident: besides what is in use at once, gaps in the arena, and
  /// blocks of what is kept for longer than planned.
  static func ownedBytes(
    of program: Program, _ hyperparameters: Hyperparameters, retainsGradients: Bool = false, retains: (KernelCall) -> Bool = { _ in false }
  ) -> Int {
    let arena = arena(of: program, hyperparameters)
    return arena.bytes + MemoryPlan(program, hyperparameters, arena, retainsGradients: retainsGradients, retains: retains).bytesOutsideArena
  }

  private init(
    _ program: Program, _ hyperparameters: Hyperparameters, _ arena: ArenaPlan, holdsParameters: Bool = true, retainsGradients: Bool = false,
    retains: (KernelCall) -> Bool
  ) {
    self.program = program
    self.retainsGradients = retainsGradients
    slots = RoutedSlots(program)
    occupancy = ArenaOccupancy(arena)
    blocks = Array(repeating: nil, count: program.buffers.count)
    for parameter in program.parameters where holdsParameters {
      allocate(parameter.value)
      if let gradient = parameter.gradient, !parameter.isPassing { allocate(gradient) }
    }
    for parameter in program.parameters where parameter.gradient != nil {
      for _ in 0..<hyperparameters.state.count { _ = take(parameter.part.count) }
    }
    walk(retains: retains)
  }

  private mutating func walk(retains: (KernelCall) -> Bool) {
    let instructions = program.instructions
    var next = 0
    while next < instructions.count {
      let instruction = instructions[next]
      next += 1
      taker += 1
      occupancy.begin(taker)
      var dying: [BufferID] = []
      while next < instructions.count, case .free(let buffer) = instructions[next] {
        dying.append(buffer)
        next += 1
      }
      carryOut(instruction, dying: dying)
      if case .kernel(let call) = instruction, call.phase == .forward, retains(call), let block = blocks[call.result] {
        holders[block] += 1
      }
      if retainsGradients, case .update(let parameter) = instruction, program.parameters[parameter].isPassing,
        let block = program.parameters[parameter].gradient.flatMap({ blocks[$0] })
      {
        holders[block] += 1
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
      addForAMoment(ReshardingTransfer(step, from: source, to: destination, in: program, slots).stagingCounts)
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
    case .reduceTied(let parameter, let ranks):
      addForAMoment(Array(repeating: program.parameters[parameter].region.elementCount, count: ranks.count - 1))
    case .scatterGradient(let parameter, _, _):
      if let gradient = program.parameters[parameter].gradient, blocks[gradient] == nil { allocate(gradient) }
    case .accumulate, .zero, .reduceGradient, .update, .free: break
    }
  }

  // MARK: - Blocks, as in `ProgramMemory`

  private mutating func allocate(_ buffer: BufferID) { blocks[buffer] = take(count(buffer)) }

  private func count(_ buffer: BufferID) -> Int { program.buffers[buffer].count + slots.rows[buffer] }

  private mutating func allocate(_ buffer: BufferID, _ place: ResultPlace, dying: [BufferID]) {
    switch place {
    case .sameAs(let other): share(buffer, with: other)
    case .over(let other)
    where dying.contains(other) && count(other) == count(buffer) && blocks[other].map { holders[$0] } == 1:
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
    let bytes = count * MemoryLayout<Float>.stride
    let home: Home
    if let place = occupancy.take(bytes: bytes) {
      home = .arena(place)
    } else {
      let size = BufferPool.blockSize(bytes: bytes)
      if let known = spare[size], known > 0 { spare[size] = known - 1 } else { bytesOutsideArena += size }
      home = .block(bytes: size)
    }
    homes.append(home)
    lives.append(ArenaPlan.Life(bytes: bytes, taker: taker, start: time))
    holders.append(1)
    time += 1
    return lives.count - 1
  }

  /// Memory that an instruction takes beside its buffers and gives back.
  private mutating func addForAMoment(_ counts: [Int]) {
    for block in counts.filter({ $0 > 0 }).map({ take($0) }) { release(block) }
  }

  private mutating func release(_ block: Int) {
    holders[block] -= 1
    guard holders[block] == 0 else { return }
    lives[block].end = time
    time += 1
    switch homes[block] {
    case .arena(let place): occupancy.give(back: place)
    case .block(let bytes): spare[bytes, default: 0] += 1
    }
  }
}
