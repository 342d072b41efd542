// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// Turns a decision into one rank's program.
///
/// Forward, each tensor is produced in its operator's layout and converted once for each layout that readers ask for. Backward walks the same
/// operators in reverse: contributions of one gradient layout are added before they are converted to the layout that the producer takes.
package struct Lowering {
  private let decision: Decision
  /// For each tensor, whether training needs its gradient, and whether this program computes it.
  private let isLearned: [Bool]
  private let needsGradient: [Bool]
  private var program: Program
  private var parameterIndex: [ParameterKey: Int] = [:]
  private var inputBuffers: [InputKey: BufferID] = [:]
  private var tape: [Int: [UnitRecord]] = [:]

  private struct ParameterKey: Hashable {
    let tensor: TensorID
    let copy: Int
  }
  private struct InputKey: Hashable {
    let tensor: TensorID
    let layout: Layout
    let microBatch: Int
  }
  /// A tensor as it stands in memory, and the operator that made it.
  private struct Carried {
    let buffer: BufferID
    let layout: Layout
    let producer: OperatorID
  }
  private struct UnitRecord {
    let segment: SegmentID
    let copy: Int
    /// What came in, in the order of the segment's entries.
    let entries: [Carried]
    var calls: [(op: OperatorID, operands: [BufferID], result: BufferID, extras: [BufferID])]
  }

  /// The program of one rank.
  package static func program(for decision: Decision, rank: Int) -> Program {
    var lowering = Lowering(decision, rank: rank)
    lowering.lower()
    lowering.program.insertFrees()
    return lowering.program
  }

  private init(_ decision: Decision, rank: Int) {
    self.decision = decision
    let graph = decision.graph
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    var rest = rank % decision.ranksPerStage
    var coordinates: [Int] = []
    for size in decision.mesh.reversed() {
      coordinates.insert(rest % size, at: 0)
      rest /= size
    }
    let strategies = zip(decision.assignments, rules).map { Strategy(assignment: $0, rule: $1) }
    program = Program(
      rank: rank, stage: rank / decision.ranksPerStage, coordinates: coordinates, mesh: decision.mesh, graph: graph, rules: rules,
      strategies: strategies)
    program.iterationRegions = zip(rules, strategies).map { rule, strategy in
      var region = rule.iteration.map { 0..<$0.extent }
      for (axis, iteration) in strategy.assignment.enumerated() {
        if let iteration { region[iteration] = Shard.part(of: region[iteration], index: coordinates[axis], parts: decision.mesh[axis]) }
      }
      return region
    }
    isLearned = graph.reachesLoss()
    needsGradient = decision.job.mode == .train ? isLearned : [Bool](repeating: false, count: graph.tensors.count)
  }

  private var graph: Graph { decision.graph }
  private var stage: Stage { decision.stages[program.stage] }

  private mutating func lower() {
    for range in stage.units {
      for copy in range.copies { declareParameters(of: graph.segments[range.segment], copy: copy) }
    }
    let trains = decision.job.mode == .train
    if trains { for parameter in program.parameters { if let gradient = parameter.gradient { emit(.zero(gradient)) } } }
    let order = decision.schedule.passes(
      stage: program.stage, stages: decision.stages.count, microBatches: decision.job.microBatches, mode: decision.job.mode)
    for pass in order {
      switch pass {
      case .forward(let microBatch): lowerForward(microBatch)
      case .backward(let microBatch): lowerBackward(microBatch)
      }
    }
    if trains { lowerUpdates() }
  }

  // MARK: - Buffers

  private mutating func emit(_ instruction: Instruction) { program.instructions.append(instruction) }

  private mutating func buffer(_ role: Buffer.Role, _ tensor: TensorID, _ layout: Layout, count: Int? = nil) -> BufferID {
    let region = Shard.region(shape: graph.shape(tensor), layout: layout, mesh: program.mesh, coordinates: program.coordinates)
    program.buffers.append(
      Buffer(role: role, tensor: tensor, layout: layout, region: region, count: count ?? region.reduce(1) { $0 * $1.count }))
    return program.buffers.count - 1
  }

  private mutating func declareParameters(of segment: Segment, copy: Int) {
    for op in segment.operators {
      for (position, tensor) in graph.operators[op].operands.enumerated() where graph.tensors[tensor].isParameter {
        let key = parameterKey(tensor, copy: copy)
        guard parameterIndex[key] == nil else { continue }
        let use = program.strategies[op].operands[position]
        let index = program.parameters.count
        let region = Shard.region(shape: graph.shape(tensor), layout: use.forward, mesh: program.mesh, coordinates: program.coordinates)
        let sharing = ParameterSharing(of: tensor, readBy: op, use, in: decision, isLearned: isLearned[tensor])
        let part = sharing.part(of: region.reduce(1) { $0 * $1.count }, mesh: program.mesh, coordinates: program.coordinates)
        func count(inPartsFrom stage: ZeROStage) -> Int? { sharing.stage >= stage ? part.count : nil }
        let value = buffer(.parameter(index), tensor, use.forward, count: count(inPartsFrom: .weights))
        let gradient =
          needsGradient[tensor] ? buffer(.parameterGradient(index), tensor, use.forward, count: count(inPartsFrom: .gradients)) : nil
        program.parameters.append(
          LocalParameter(
            tensor: tensor, copy: copy, value: value, gradient: gradient, gradientAxes: use.gradient.partialAxes, layout: use.forward,
            region: region, sharing: sharing, part: part))
        parameterIndex[key] = index
      }
    }
  }

  /// A parameter without `{i}` in its name is one tensor whichever segment reads it.
  private func parameterKey(_ tensor: TensorID, copy: Int) -> ParameterKey {
    let isRepeated = graph.tensors[tensor].parameter?.checkpointName.contains("{i}") ?? false
    return ParameterKey(tensor: tensor, copy: isRepeated ? copy : 0)
  }

  private func parameter(_ tensor: TensorID, copy: Int) -> Int {
    guard let index = parameterIndex[parameterKey(tensor, copy: copy)] else {
      preconditionFailure("\(graph.tensors[tensor].name) is not on stage \(program.stage)")
    }
    return index
  }

  /// The buffer in which a kernel reads a parameter: gathered for it where only a part is resident.
  private mutating func wholeParameter(_ index: Int) -> BufferID {
    let parameter = program.parameters[index]
    guard parameter.sharing.stage == .weights else { return parameter.value }
    let whole = buffer(.gatheredParameter(index), parameter.tensor, parameter.layout)
    emit(.gatherParameter(parameter: index, axes: parameter.sharing.axes, into: whole))
    return whole
  }

  private mutating func inputBuffer(_ tensor: TensorID, _ layout: Layout, _ microBatch: Int) -> BufferID {
    guard case .input(let kind) = graph.tensors[tensor].kind else { preconditionFailure("not an input") }
    let key = InputKey(tensor: tensor, layout: layout, microBatch: microBatch)
    if let known = inputBuffers[key] { return known }
    let id = buffer(.input(kind), tensor, layout)
    emit(.load(id, microBatch: microBatch))
    inputBuffers[key] = id
    return id
  }

  /// Emits the steps from one layout to another and returns the buffer that holds the last.
  private mutating func convert(_ source: BufferID, _ tensor: TensorID, from: Layout, to: Layout, role: Buffer.Role) -> BufferID {
    if from == to { return source }
    guard let conversion = decision.conversions.first(where: { $0.tensor == tensor && $0.from == from && $0.to == to }) else {
      preconditionFailure("no conversion of \(graph.tensors[tensor].name) from \(from.placements) to \(to.placements)")
    }
    var current = source
    for step in conversion.steps {
      let next = buffer(role, tensor, step.result)
      emit(.reshard(step, from: current, to: next))
      current = next
    }
    return current
  }

  // MARK: - Forward

  private mutating func lowerForward(_ microBatch: Int) {
    var carried = receiveCarries(microBatch)
    var records: [UnitRecord] = []
    for range in stage.units {
      for copy in range.copies {
        let record = lowerForward(segment: range.segment, copy: copy, microBatch, entries: &carried)
        if decision.job.mode == .train { records.append(record) }
      }
    }
    if program.stage < decision.stages.count - 1 {
      for (index, item) in carried.enumerated() {
        emit(.send(item.buffer, rank: program.rank + decision.ranksPerStage, tag: tag(microBatch, index, false)))
      }
    }
    tape[microBatch] = records
  }

  private mutating func lowerForward(segment id: SegmentID, copy: Int, _ microBatch: Int, entries: inout [Carried]) -> UnitRecord {
    let segment = graph.segments[id]
    var record = UnitRecord(segment: id, copy: copy, entries: entries, calls: [])
    var produced: [TensorID: Carried] = [:]
    for (tensor, item) in zip(segment.entries, entries) { produced[tensor] = item }
    var converted: [TensorID: [(layout: Layout, buffer: BufferID)]] = [:]
    for op in segment.operators {
      let strategy = program.strategies[op]
      var operands: [BufferID] = []
      for (position, tensor) in graph.operators[op].operands.enumerated() {
        let layout = strategy.operands[position].forward
        switch graph.tensors[tensor].kind {
        case .parameter: operands.append(wholeParameter(parameter(tensor, copy: copy)))
        case .input: operands.append(inputBuffer(tensor, layout, microBatch))
        case .activation:
          guard let source = produced[tensor] else { preconditionFailure("\(graph.tensors[tensor].name) is read before it is produced") }
          if let known = converted[tensor]?.first(where: { $0.layout == layout }) {
            operands.append(known.buffer)
          } else {
            let ready = convert(source.buffer, tensor, from: source.layout, to: layout, role: .activation)
            converted[tensor, default: []].append((layout, ready))
            operands.append(ready)
          }
        }
      }
      let tensor = graph.operators[op].result
      let result = buffer(.activation, tensor, strategy.result)
      let local = program.iterationRegions[op]
      let extras = program.rules[op].keepsExtra.map { extra in
        let words = (extra.spans.reduce(1) { $0 * local[$1].count } * extra.bytesPerElement + 3) / 4
        return buffer(.activation, tensor, strategy.result, count: words)
      }
      emit(
        .kernel(
          KernelCall(
            op: op, copy: copy, microBatch: microBatch, phase: .forward, operands: operands, result: result, extras: extras, resultGradient: nil,
            operandGradients: [])))
      produced[tensor] = Carried(buffer: result, layout: strategy.result, producer: op)
      record.calls.append((op, operands, result, extras))
    }
    entries = segment.exits.map { produced[$0]! }
    return record
  }

  private mutating func receiveCarries(_ microBatch: Int) -> [Carried] {
    guard program.stage > 0 else { return [] }
    return boundaryExits(before: program.stage).enumerated().map { index, exit in
      let producer = graph.producer[exit]!
      let layout = program.strategies[producer].result
      let id = buffer(.activation, exit, layout)
      emit(.receive(id, rank: program.rank - decision.ranksPerStage, tag: tag(microBatch, index, false)))
      return Carried(buffer: id, layout: layout, producer: producer)
    }
  }

  /// The tensors that the last unit before a stage sends on.
  private func boundaryExits(before stage: Int) -> [TensorID] {
    graph.segments[decision.stages[stage - 1].units.last!.segment].exits
  }

  private func tag(_ microBatch: Int, _ index: Int, _ isBackward: Bool) -> Int { (microBatch * 8 + index) * 2 + (isBackward ? 1 : 0) }

  // MARK: - Backward

  private mutating func lowerBackward(_ microBatch: Int) {
    guard let records = tape.removeValue(forKey: microBatch), let last = records.last else { preconditionFailure("backward before forward") }
    // The gradients of what this stage sends on, in the layouts that their producers take.
    var outgoing: [BufferID?] = graph.segments[last.segment].exits.map { _ in nil }
    if program.stage < decision.stages.count - 1 {
      for (index, exit) in graph.segments[last.segment].exits.enumerated() where needsGradient[exit] {
        let id = buffer(.gradient, exit, program.strategies[graph.producer[exit]!].resultGradient)
        emit(.receive(id, rank: program.rank + decision.ranksPerStage, tag: tag(microBatch, index, true)))
        outgoing[index] = id
      }
    }
    for record in records.reversed() { outgoing = lowerBackward(record, microBatch, exitGradients: outgoing) }
    if program.stage > 0 {
      for (index, gradient) in outgoing.enumerated() {
        if let gradient { emit(.send(gradient, rank: program.rank - decision.ranksPerStage, tag: tag(microBatch, index, true))) }
      }
    }
  }

  /// Returns the gradients of the segment's entries, in the layouts that their producers take.
  private mutating func lowerBackward(_ record: UnitRecord, _ microBatch: Int, exitGradients: [BufferID?]) -> [BufferID?] {
    let segment = graph.segments[record.segment]
    var contributions: [TensorID: [(layout: Layout, buffer: BufferID)]] = [:]
    for (exit, gradient) in zip(segment.exits, exitGradients) {
      guard let gradient else { continue }
      contributions[exit] = [(program.buffers[gradient].layout, gradient)]
    }
    for call in record.calls.reversed() {
      let op = graph.operators[call.op]
      let strategy = program.strategies[call.op]
      guard needsGradient[op.result] else { continue }
      var resultGradient: BufferID?
      if op.result != graph.loss {
        guard let parts = contributions.removeValue(forKey: op.result) else { continue }
        resultGradient = sum(parts, tensor: op.result, to: strategy.resultGradient)
      }
      var operands = call.operands
      var gradients: [BufferID?] = []
      for (position, tensor) in op.operands.enumerated() {
        if graph.tensors[tensor].isParameter {
          let index = parameter(tensor, copy: record.copy)
          operands[position] = wholeParameter(index)
          gradients.append(gradientBuffer(index))
        } else {
          gradients.append(needsGradient[tensor] ? buffer(.gradient, tensor, strategy.operands[position].gradient) : nil)
        }
      }
      emit(
        .kernel(
          KernelCall(
            op: call.op, copy: record.copy, microBatch: microBatch, phase: .backward, operands: operands, result: call.result,
            extras: call.extras, resultGradient: resultGradient, operandGradients: gradients)))
      for gradient in gradients.compactMap({ $0 }) {
        guard case .wholeGradient(let index) = program.buffers[gradient].role else { continue }
        emit(.scatterGradient(parameter: index, axes: program.parameters[index].sharing.axes, from: gradient))
      }
      for (position, tensor) in op.operands.enumerated() where graph.tensors[tensor].isActivation {
        guard let gradient = gradients[position] else { continue }
        contribute(gradient, layout: strategy.operands[position].gradient, to: tensor, in: &contributions)
      }
    }
    return zip(segment.entries, record.entries).map { entry, carried in
      guard let parts = contributions[entry] else { return nil }
      return sum(parts, tensor: entry, to: program.strategies[carried.producer].resultGradient)
    }
  }

  /// Where a kernel puts a parameter's gradient: on top of the resident one, or on its own where only a part is resident.
  private mutating func gradientBuffer(_ index: Int) -> BufferID? {
    let parameter = program.parameters[index]
    guard parameter.gradient != nil, parameter.sharing.stage >= .gradients else { return parameter.gradient }
    return buffer(.wholeGradient(index), parameter.tensor, parameter.layout)
  }

  /// Adds a contribution to the one of the same layout, if there is one.
  private mutating func contribute(
    _ gradient: BufferID, layout: Layout, to tensor: TensorID, in contributions: inout [TensorID: [(layout: Layout, buffer: BufferID)]]
  ) {
    if let same = contributions[tensor]?.first(where: { $0.layout == layout }) {
      emit(.accumulate(from: gradient, to: same.buffer))
    } else {
      contributions[tensor, default: []].append((layout, gradient))
    }
  }

  private mutating func sum(_ parts: [(layout: Layout, buffer: BufferID)], tensor: TensorID, to layout: Layout) -> BufferID {
    var total: BufferID?
    for part in parts {
      let ready = convert(part.buffer, tensor, from: part.layout, to: layout, role: .gradient)
      if let total { emit(.accumulate(from: ready, to: total)) } else { total = ready }
    }
    guard let total else { preconditionFailure("a gradient without contributions") }
    return total
  }

  // MARK: - Once per step

  private mutating func lowerUpdates() {
    for (index, parameter) in program.parameters.enumerated() {
      guard let gradient = parameter.gradient, !parameter.gradientAxes.isEmpty else { continue }
      switch parameter.sharing.stage {
      case .none: emit(.reduceGradient(parameter: index, axes: parameter.gradientAxes))
      case .optimizer: emit(.scatterGradient(parameter: index, axes: parameter.sharing.axes, from: gradient))
      case .gradients, .weights: break
      }
    }
    // In one order on every stage: each of these waits for the other holders.
    for (index, parameter) in program.parameters.enumerated().sorted(by: { $0.element.tensor < $1.element.tensor })
    where parameter.gradient != nil {
      let holders = decision.stagesHolding(parameter.tensor)
      if holders.count > 1 && holders.contains(program.stage) {
        let place = program.rank % decision.ranksPerStage
        emit(.reduceTied(parameter: index, ranks: holders.map { $0 * decision.ranksPerStage + place }))
      }
    }
    for (index, parameter) in program.parameters.enumerated() where parameter.gradient != nil {
      emit(.update(parameter: index))
      guard [.optimizer, .gradients].contains(parameter.sharing.stage) else { continue }
      emit(.gatherParameter(parameter: index, axes: parameter.sharing.axes, into: parameter.value))
    }
  }
}
