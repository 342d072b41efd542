// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph
import Plans

/// Carries out one rank's program, step by step, with the parameters that this rank holds.
///
/// Every rank of a plan makes one, with its own program, and calls the same methods in the same order.
package final class Executor {
  let decision: Decision
  package let program: Program
  let memory: ProgramMemory
  let groups: MeshGroups
  let world: Communicator
  private let inputs: StepInputs
  let optimizer: Optimizer
  private let constants = OperatorConstants()
  /// Of a generation: keys and values of the positions before.
  private let cache: KeyValueCache?
  private let faults: FaultInjection?
  /// The router's choices in the first step.
  let routes: RouteRecord
  /// Set on a reference that goes on from another run's forward results.
  var following: Following?
  private let microBatchSize: Int
  private let lossScale: Float
  private let outputSites: [OperatorSite]
  private var steps: [Step] = []
  private var sends = PendingSends()
  /// Passes over rows that are carried out together with the next instruction's.
  private var passes: [RowPass] = []
  private var clock: StepClock
  /// The first step that updates a parameter: all gradients are complete before it.
  private var firstUpdate = 0
  /// Steps of this run.
  private(set) var stepsCarriedOut = 0
  /// √Σ g² over every gradient of the model in the last step; nil where nothing asks for it.
  var gradientNorm: Double?
  /// Where the time of the last step went.
  var parts: StepParts { clock.parts }
  /// Results of the last step that were to outlive it.
  private(set) var retained: [RetainedResult] = []
  private var retainedGradients: [(parameter: Int, block: ProgramMemory.BlockID)] = []

  /// One instruction and what is known of it beforehand.
  private struct Step {
    let instruction: Instruction
    let part: StepPart
    /// Buffers that nobody reads after this instruction.
    var dying: [BufferID] = []
    var transfer: ReshardingTransfer?
    /// Whether the next instruction is a pass over the rows that this one, such a pass too, writes.
    var isContinued = false
  }

  /// Which forward results are kept after a step.
  enum Retention {
    case nothing
    case outputs
    case everything
  }

  /// A forward result that outlives its step.
  struct RetainedResult {
    let op: OperatorID
    let copy: Int
    let microBatch: Int
    let block: ProgramMemory.BlockID
  }

  /// Collective over `world`, which has one rank for each of the plan's.
  ///
  /// - Parameter generation: where attention looks for the positions before, and an executor with the same shards, whose parameters this one reads.
  /// - Throws: `wrongRankCount`; what reading the parameters throws; `outOfMemory`; `mpi`.
  init(
    _ decision: Decision, world: Communicator, hyperparameters: Hyperparameters, parameters: ParameterValues, inputs: StepInputs,
    faults: FaultInjection? = nil, generation: (cache: KeyValueCache, weights: Executor?)? = nil
  ) throws(ExecutionError) {
    guard world.size == decision.ranks else { throw .wrongRankCount(planned: decision.ranks, found: world.size) }
    let program = Lowering.program(for: decision, rank: world.rank)
    self.program = program
    self.decision = decision
    self.world = world
    cache = generation?.cache
    self.inputs = inputs
    self.faults = faults
    memory = ProgramMemory(program, MemoryPlan.arena(of: program, hyperparameters, holdsParameters: generation?.weights == nil))
    routes = RouteRecord(program, memory.slots)
    clock = StepClock(world.ledger)
    groups = try MeshGroups(program, world: world)
    microBatchSize = decision.job.batch / decision.job.microBatches
    outputSites = decision.graph.outputs.compactMap { decision.graph.site(producing: $0.tensor) }
    lossScale = 1 / Float(max(1, inputs.countedLabels))
    if let other = generation?.weights {
      for (own, others) in zip(program.parameters, other.program.parameters) {
        precondition(own.tensor == others.tensor && own.copy == others.copy && own.region == others.region && own.part == others.part, "other shards")
        memory.borrow(own.value, at: other.memory.floats(others.value))
      }
    } else {
      try Self.allocate(program, parameters, in: memory)
    }
    optimizer = try Optimizer(hyperparameters, memory: memory, parameters: program.parameters, stepsDone: parameters.stepsDone)
    load()
    if case .resumed(let checkpoint) = parameters, decision.job.mode == .train { try readState(of: checkpoint) }
  }

  private static func allocate(_ program: Program, _ values: ParameterValues, in memory: ProgramMemory) throws(ExecutionError) {
    for parameter in program.parameters {
      guard let source = program.graph.tensors[parameter.tensor].parameter else { preconditionFailure("not a parameter") }
      var place = try memory.allocate(parameter.value)
      // Only what is resident is made or read.
      let elements = parameter.sharing.stage == .weights ? parameter.part : 0..<parameter.region.elementCount
      let name = program.graph.name(ofParameter: parameter.tensor, copy: parameter.copy)
      for region in parameter.region.regions(ofElements: elements) {
        try values.fill(source, named: name, copy: parameter.copy, region: region, into: place)
        place += region.elementCount
      }
      if let gradient = parameter.gradient, !parameter.isPassing { try memory.allocate(gradient) }
    }
  }

  /// Attaches each `free` to the instruction that it follows, and prepares the exchanges.
  private func load() {
    for (instruction, part) in zip(program.instructions, program.stepParts()) {
      switch instruction {
      case .free(let buffer) where !steps.isEmpty: steps[steps.count - 1].dying.append(buffer)
      case .reshard(let step, let from, let to):
        steps.append(Step(instruction: instruction, part: part, transfer: ReshardingTransfer(step, from: from, to: to, in: program, memory.slots)))
      default: steps.append(Step(instruction: instruction, part: part))
      }
    }
    for index in steps.indices.dropLast() { steps[index].isContinued = isContinued(steps[index].instruction, by: steps[index + 1].instruction) }
    firstUpdate = steps.firstIndex { if case .update = $0.instruction { true } else { false } } ?? steps.count
  }

  private func isContinued(_ instruction: Instruction, by next: Instruction) -> Bool {
    guard case .kernel(let first) = instruction, case .kernel(let second) = next, first.phase == second.phase else { return false }
    let (kinds, isBackward) = ([first, second].map { program.graph.operators[$0.op].kind.isRowPass }, first.phase == .backward)
    guard kinds.allSatisfy({ isBackward ? $0.backward : $0.forward }), memory.slots.rows[first.result] == 0 else { return false }
    return isBackward ? first.operandGradients[0] == second.resultGradient && second.resultGradient != nil : second.operands.contains(first.result)
  }

  /// Bytes of buffers, parameters and optimizer state: the most at any time so far.
  package var peakBytes: Int { memory.peakBytes }
  var bytesOutsideArena: Int { memory.bytesOutsideArena }

  /// What records a step of this program.
  func recorder() -> StepRecorder {
    // One more for what is waited for at the end.
    StepRecorder(instructions: steps.count + 1, transfers: program.expectedTraffic()[.sendReceive].count)
  }

  /// Carries out one step.
  /// - Returns: this rank's addend of the step's loss; 0 where another rank counts it.
  func step(retaining retention: Retention = .nothing, recorder: StepRecorder? = nil) throws(ExecutionError) -> Double {
    world.ledger.recorder = recorder
    defer { world.ledger.recorder = nil }
    for block in retained.map(\.block) + retainedGradients.map(\.block) { memory.release(block) }
    (retained, retainedGradients) = ([], [])
    optimizer.beginStep()
    faults?.beginStep()
    var loss = 0.0
    clock.begin(recording: recorder)
    for (index, step) in steps.enumerated() {
      memory.begin(index)
      if index == firstUpdate { try clipGradients() }
      try carryOut(step)
      if case .kernel(let call) = step.instruction, call.phase == .forward {
        if program.graph.operators[call.op].result == program.graph.loss, countsLoss(of: call.op) {
          loss += Double(memory.floats(call.result).pointee)
        }
        if retains(call, retention) {
          retained.append(RetainedResult(op: call.op, copy: call.copy, microBatch: call.microBatch, block: memory.hold(call.result)))
        }
      }
      if case .update(let parameter) = step.instruction, retention == .everything { retainGradient(of: parameter) }
      for buffer in step.dying { memory.free(buffer) }
      if recorder != nil { try sends.look() }
      clock.enter(step.part)
    }
    // A rank that updates nothing takes part in the norm too.
    if firstUpdate == steps.count { try clipGradients() }
    try sends.waitAll(memory)
    clock.enter(.stages)
    stepsCarriedOut += 1
    return loss
  }

  /// Of a parameter that is updated in the backward pass: what others have stays.
  private func retainGradient(of parameter: Int) {
    guard program.parameters[parameter].isPassing, let gradient = program.parameters[parameter].gradient else { return }
    retainedGradients.append((parameter, memory.hold(gradient)))
  }

  /// A parameter's gradient in the last step, where it was retained or has memory of its own.
  func gradient(of parameter: Int) -> UnsafeMutablePointer<Float>? {
    if let held = retainedGradients.first(where: { $0.parameter == parameter }) { return memory.floats(in: held.block) }
    return program.parameters[parameter].gradient.map { memory.floats($0) }
  }

  private func retains(_ call: KernelCall, _ retention: Retention) -> Bool {
    switch retention {
    case .nothing: false
    case .outputs: outputSites.contains(OperatorSite(op: call.op, copy: call.copy))
    case .everything: true
    }
  }

  /// Where the loss is not partial, all ranks along a mesh axis have the same, and the first counts it.
  private func countsLoss(of op: OperatorID) -> Bool {
    let layout = program.strategies[op].result
    return program.mesh.indices.allSatisfy { layout[$0] == .partial || program.coordinates[$0] == 0 }
  }

  private func carryOut(_ step: Step) throws(ExecutionError) {
    switch step.instruction {
    case .load(let buffer, let microBatch): try loadInput(buffer, microBatch: microBatch)
    case .kernel(let call): try carryOut(call, of: step)
    case .reshard(let reshard, let source, let destination):
      if reshard.action == .allReduce, faults?.dropsNextAllReduce() == true { return memory.share(destination, with: source) }
      try step.transfer?.carryOut(from: source, to: destination, dying: step.dying, memory: memory, groups: groups)
    case .accumulate(let from, let to):
      Elementwise.accumulate(memory.floats(from), into: try memory.writable(to), count: memory.count(to))
    case .send(let buffer, let rank, let tag): try sends.send(buffer, to: rank, tag: Self.passTag(tag), memory: memory, world: world)
    case .receive(let buffer, let rank, let tag):
      try world.receive(try memory.allocate(buffer), count: memory.count(buffer), from: rank, tag: Self.passTag(tag)).wait()
    case .sendBoxes(let buffer, let boxes, let tag): try send(boxes, of: buffer, tag: Self.passTag(tag))
    case .receiveBoxes(let buffer, let boxes, let tag): try receive(boxes, into: buffer, tag: Self.passTag(tag))
    case .zero(let buffer): memory.setZero(buffer)
    case .gatherParameter(let parameter, let axes, let buffer): try exchange(of: parameter, over: axes).gather(into: buffer)
    case .scatterGradient(let parameter, let axes, let buffer):
      try exchange(of: parameter, over: axes).scatter(from: buffer, isDropped: faults?.dropsNextScatter() ?? false)
    case .reduceGradient(let parameter, let axes):
      guard let buffer = program.parameters[parameter].gradient, let group = groups.communicator(over: axes) else { return }
      try group.allReduce(memory.filledAccumulator(buffer), count: memory.count(buffer))
    case .reduceTied(let parameter, let ranks): try reduceTied(program.parameters[parameter], over: ranks)
    case .exchangeTied(let parameter, let sent, let received, let place):
      try exchangeTied(program.parameters[parameter], sent, received, place: place)
    case .update(let parameter): try optimizer.update(parameter)
    case .free(let buffer): memory.free(buffer)
    }
  }

  private func exchange(of parameter: Int, over axes: [Int]) -> ParameterExchange {
    guard let group = groups.communicator(over: axes) else { preconditionFailure("a parameter is shared out over no axes") }
    return ParameterExchange(program.parameters[parameter], mesh: program.mesh, memory: memory, group: group)
  }

  private func carryOut(_ call: KernelCall, of step: Step) throws(ExecutionError) {
    let kernel = OperatorCall(
      call: call, op: program.graph.operators[call.op], program: program, memory: memory, groups: groups, dying: step.dying, constants: constants,
      lossScale: lossScale, cache: cache)
    if let pass = try kernel.rowPass() {
      passes.append(pass)
      // Where results are changed on purpose, each is complete before the next begins.
      if step.isContinued, faults == nil, following == nil { return }
      carryOutPasses()
    } else {
      // A sum that is broadcast is no pass over rows, though others are.
      carryOutPasses()
      if call.phase == .backward { try kernel.backward() } else { try kernel.forward() }
    }
    if call.phase == .backward { kernel.markGradients() } else { kernel.markResult() }
    guard call.phase == .forward else { return }
    routes.record(call, memory)
    try faults?.disturb(kernel)
    try following?.replaceResult(of: call, in: program, memory)
  }

  private func carryOutPasses() {
    RowPass.carryOut(passes)
    passes.removeAll(keepingCapacity: true)
  }

  /// Micro-batch j is the rows j·b ..< (j + 1)·b of the global batch.
  private func loadInput(_ buffer: BufferID, microBatch: Int) throws(ExecutionError) {
    guard case .input(let kind) = program.buffers[buffer].role else { preconditionFailure("buffer \(buffer) is not an input") }
    let region = program.globalRegion(of: buffer, microBatch: microBatch, microBatchSize: microBatchSize)
    let values = try memory.allocate(buffer)
    func load(_ region: Region, into values: UnsafeMutablePointer<Float>) throws(ExecutionError) {
      if !kind.isInteger { return inputs.load(kind, region: region, into: values) }
      // Both take 4 bytes.
      try values.withMemoryRebound(to: Int32.self, capacity: region.elementCount) { (values) throws(ExecutionError) in
        try inputs.load(kind, region: region, step: stepsCarriedOut, into: values)
      }
    }
    let pieces = program.pieces(of: region, in: program.buffers[buffer].tensor)
    if pieces.count == 1 { return try load(pieces[0].natural, into: values) }
    let staging = try memory.take(count: region.elementCount)
    defer { memory.release(staging) }
    for piece in pieces {
      try load(piece.natural, into: memory.floats(in: staging))
      RegionTransfer(piece.held, from: piece.held, to: region).copy(memory.floats(in: staging), into: values)
    }
  }

  /// Sends boxes of a buffer, each packed for its receiver unless it is all of the buffer.
  private func send(_ boxes: [MessageBox], of buffer: BufferID, tag: Int) throws(ExecutionError) {
    let region = program.buffers[buffer].region
    for box in boxes {
      if box.region == region {
        try sends.send(buffer, to: box.rank, tag: tag, memory: memory, world: world)
        continue
      }
      let packed = try memory.take(count: box.region.elementCount)
      RegionTransfer(box.region, from: region, to: box.region).copy(memory.floats(buffer), into: memory.floats(in: packed))
      try sends.send(packed, count: box.region.elementCount, to: box.rank, tag: tag, memory: memory, world: world)
    }
  }

  /// Puts a buffer together from boxes; addends of one box come after its first.
  private func receive(_ boxes: [MessageBox], into buffer: BufferID, tag: Int) throws(ExecutionError) {
    try receive(boxes, into: memory.allocate(buffer), holding: program.buffers[buffer].region, tag: tag)
  }

  private func receive(
    _ boxes: [MessageBox], into values: UnsafeMutablePointer<Float>, holding region: Region, tag: Int
  ) throws(ExecutionError) {
    for box in boxes {
      if box.region == region, !box.isAdded {
        try world.receive(values, count: region.elementCount, from: box.rank, tag: tag).wait()
        continue
      }
      let packed = try memory.take(count: box.region.elementCount)
      defer { memory.release(packed) }
      try world.receive(memory.floats(in: packed), count: box.region.elementCount, from: box.rank, tag: tag).wait()
      let transfer = RegionTransfer(box.region, from: box.region, to: region)
      if box.isAdded {
        transfer.accumulate(memory.floats(in: packed), into: values)
      } else {
        transfer.copy(memory.floats(in: packed), into: values)
      }
    }
  }

  /// Sums a tied parameter's gradient over the stages that hold it, in the order of their ranks, so that all get the same bits.
  private func reduceTied(_ parameter: LocalParameter, over ranks: [Int]) throws(ExecutionError) {
    guard let buffer = parameter.gradient else { return }
    let count = memory.count(buffer)
    let own = memory.filledAccumulator(buffer)
    let tag = Self.tiedTag(parameter.tensor)
    var pending = RequestList()
    var parts: [ProgramMemory.BlockID] = []
    for rank in ranks where rank != world.rank {
      parts.append(try memory.take(count: count))
      pending.append(try world.receive(memory.floats(in: parts[parts.count - 1]), count: count, from: rank, tag: tag))
      pending.append(try world.send(own, count: count, to: rank, tag: tag))
    }
    try pending.waitAll()
    sum(parts, into: own, count: count, place: ranks.firstIndex(of: world.rank) ?? 0)
    for part in parts { memory.release(part) }
  }

  /// The same where stages with several meshes hold it: each rank gets its shard from the ranks of every other stage.
  private func exchangeTied(
    _ parameter: LocalParameter, _ sent: [MessageBox], _ received: [[MessageBox]], place: Int
  ) throws(ExecutionError) {
    guard let buffer = parameter.gradient else { return }
    let (count, region) = (memory.count(buffer), parameter.region)
    let own = memory.filledAccumulator(buffer)
    let tag = Self.tiedTag(parameter.tensor)
    var sending = RequestList()
    var packed: [ProgramMemory.BlockID] = []
    for box in sent {
      packed.append(try memory.take(count: box.region.elementCount))
      let values = memory.floats(in: packed[packed.count - 1])
      RegionTransfer(box.region, from: region, to: box.region).copy(own, into: values)
      sending.append(try world.send(values, count: box.region.elementCount, to: box.rank, tag: tag))
    }
    var parts: [ProgramMemory.BlockID] = []
    for boxes in received {
      parts.append(try memory.take(count: count))
      try receive(boxes, into: memory.floats(in: parts[parts.count - 1]), holding: region, tag: tag)
    }
    try sending.waitAll()
    sum(parts, into: own, count: count, place: place)
    for block in packed + parts { memory.release(block) }
  }

  /// Adds what other holders have, in the order of all holders, of which this rank's is number `place`.
  private func sum(_ parts: [ProgramMemory.BlockID], into own: UnsafeMutablePointer<Float>, count: Int, place: Int) {
    var others = parts.map { memory.floats(in: $0) }[...]
    if place > 0 {
      // Those before this rank come first; a sum of two does not depend on the order.
      let before = others.removeFirst()
      for _ in 1..<place { Elementwise.accumulate(others.removeFirst(), into: before, count: count) }
      Elementwise.accumulate(before, into: own, count: count)
    }
    for part in others { Elementwise.accumulate(part, into: own, count: count) }
  }

  /// Messages between a pair of ranks arrive in the order in which they are sent, so tags may come round.
  private static func passTag(_ tag: Int) -> Int { tag & 0x3fff }
  private static func tiedTag(_ tensor: TensorID) -> Int { 0x4000 | tensor & 0x3fff }
}

extension Program {
  /// A buffer's region with the rows of a micro-batch in place in the global batch.
  func globalRegion(of buffer: BufferID, microBatch: Int, microBatchSize: Int) -> Region {
    globalRegion(buffers[buffer].region, of: buffers[buffer].tensor, microBatch: microBatch, microBatchSize: microBatchSize)
  }

  func globalRegion(_ region: Region, of tensor: TensorID, microBatch: Int, microBatchSize: Int) -> Region {
    zip(graph.tensors[tensor].dimensions, region).map { axis, range in
      let start = graph.axes[axis].role == .batch ? microBatch * microBatchSize : 0
      return range.lowerBound + start..<range.upperBound + start
    }
  }
}
