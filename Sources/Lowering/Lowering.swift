// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// Turns a decision into one rank's program.
///
/// Forward, each tensor is produced in its operator's layout and converted once for each layout that readers ask for. Backward walks the same
/// operators in reverse: contributions of one gradient layout are added before they are converted to the layout that the producer takes.
package struct Lowering {
  let decision: Decision
  /// For each tensor, whether training needs its gradient, and whether this program computes it.
  private let isLearned: [Bool]
  let needsGradient: [Bool]
  var program: Program
  private var parameterIndex: [ParameterKey: Int] = [:]
  var updatedInBackward = Set<Int>()
  private var inputBuffers: [InputKey: BufferID] = [:]
  /// For each forward pass whose backward pass is to come, the virtual stage's units in forward order.
  var tape: [TapeKey: [Unit]] = [:]

  struct TapeKey: Hashable {
    let stage: Int
    let microBatch: Int
  }
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
  struct Carried {
    let buffer: BufferID
    let layout: Layout
    let producer: OperatorID
  }
  /// One copy of a segment as it was lowered for one micro-batch.
  struct Unit {
    let segment: SegmentID
    let copy: Int
    let microBatch: Int
    /// What came in, in the order of the segment's entries; none where it came from a stage with another mesh, in its readers' layouts.
    let entries: [Carried]
    /// Each computed tensor that was seen so far, as its producer left it.
    var produced: [TensorID: Carried] = [:]
    /// The same in the layouts in which operators have read it.
    var readings: [TensorID: [(layout: Layout, buffer: BufferID)]] = [:]
    var calls: [Call] = []
  }
  /// One operator's forward pass.
  struct Call {
    let op: OperatorID
    var operands: [BufferID]
    let result: BufferID
    let extras: [BufferID]
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
    let group = decision.group(ofRank: rank)
    let (mesh, first) = (decision.mesh(ofGroup: group), decision.ranks(ofGroup: group).lowerBound)
    let coordinates = MeshPlace.coordinates(of: rank - first, in: mesh)
    let strategies = zip(decision.assignments, rules).map { Strategy(assignment: $0, rule: $1) }
    program = Program(
      rank: rank, stage: group, firstRank: first, coordinates: coordinates, mesh: mesh, graph: graph, rules: rules, strategies: strategies,
      orders: decision.orders, shares: decision.shares)
    program.iterationRegions = graph.operators.indices.map { op in
      guard decision.mesh(ofOperator: op) == mesh else { return [] }
      let (rule, strategy) = (rules[op], strategies[op])
      var region = rule.iteration.map { 0..<$0.extent }
      for (axis, iteration) in strategy.assignment.enumerated() {
        guard let iteration else { continue }
        for loop in rule.iteration[iteration].splits {
          region[loop] = Shard.part(
            of: region[loop], isBatch: rule.iteration[loop].role == .batch, on: axis, of: mesh, coordinates: coordinates, shares: decision.shares)
        }
      }
      return region
    }
    isLearned = graph.reachesLoss()
    needsGradient = decision.job.mode == .train ? isLearned : [Bool](repeating: false, count: graph.tensors.count)
  }

  var graph: Graph { decision.graph }

  private mutating func lower() {
    for stage in stride(from: program.stage, to: decision.stages.count, by: decision.groups) {
      for range in decision.stages[stage].units {
        for copy in range.copies { declareParameters(of: graph.segments[range.segment], copy: copy) }
      }
    }
    let trains = decision.job.mode == .train
    if trains { for parameter in program.parameters where !parameter.isPassing { if let gradient = parameter.gradient { emit(.zero(gradient)) } } }
    let messages = Messages(decision, of: program.stage)
    for pass in messages.passes {
      let stage = decision.stage(of: pass, on: program.stage)
      let start = program.instructions.count
      if pass.isForward { lowerForward(pass.microBatch, stage, messages) } else { lowerBackward(pass.microBatch, stage, messages) }
      program.passes.append(ProgramPass(pass: pass, instructions: start..<program.instructions.count))
    }
    if trains { lowerUpdates() }
  }

  // MARK: - Buffers

  mutating func emit(_ instruction: Instruction) { program.instructions.append(instruction) }

  mutating func buffer(_ role: Buffer.Role, _ tensor: TensorID, _ layout: Layout, count: Int? = nil) -> BufferID {
    let region = program.region(of: tensor, in: layout)
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
        let region = program.region(of: tensor, in: use.forward)
        let sharing = ParameterSharing(of: tensor, readBy: op, use, in: decision, isLearned: isLearned[tensor])
        let part = sharing.part(of: region.reduce(1) { $0 * $1.count }, mesh: program.mesh, coordinates: program.coordinates)
        func count(inPartsFrom stage: ZeROStage) -> Int? { sharing.stage >= stage ? part.count : nil }
        let value = buffer(.parameter(index), tensor, use.forward, count: count(inPartsFrom: .weights))
        let isPassing = needsGradient[tensor] && decision.job.updatesInBackward(tensor, of: graph)
        let gradient =
          needsGradient[tensor] ? buffer(.parameterGradient(index), tensor, use.forward, count: count(inPartsFrom: .gradients)) : nil
        program.parameters.append(
          LocalParameter(
            tensor: tensor, copy: copy, value: value, gradient: gradient, gradientAxes: use.gradient.partialAxes, layout: use.forward,
            region: region, sharing: sharing, part: part, isPassing: isPassing))
        parameterIndex[key] = index
      }
    }
  }

  /// A parameter without `{i}` in its name is one tensor whichever segment reads it.
  private func parameterKey(_ tensor: TensorID, copy: Int) -> ParameterKey {
    let isRepeated = graph.tensors[tensor].parameter.map { Graph.isPerCopy($0.checkpointName) } ?? false
    return ParameterKey(tensor: tensor, copy: isRepeated ? copy : 0)
  }

  func parameter(_ tensor: TensorID, copy: Int) -> Int {
    guard let index = parameterIndex[parameterKey(tensor, copy: copy)] else {
      preconditionFailure("\(graph.tensors[tensor].name) is not on stage \(program.stage)")
    }
    return index
  }

  /// The buffer in which a kernel reads a parameter: gathered for it where only a part is resident.
  mutating func wholeParameter(_ index: Int) -> BufferID {
    let parameter = program.parameters[index]
    guard parameter.sharing.stage == .weights else { return parameter.value }
    let whole = buffer(.gatheredParameter(index), parameter.tensor, parameter.layout)
    emit(.gatherParameter(parameter: index, axes: parameter.sharing.axes, into: whole))
    return whole
  }

  mutating func inputBuffer(_ tensor: TensorID, _ layout: Layout, _ microBatch: Int) -> BufferID {
    guard case .input(let kind) = graph.tensors[tensor].kind else { preconditionFailure("not an input") }
    let key = InputKey(tensor: tensor, layout: layout, microBatch: microBatch)
    if let known = inputBuffers[key] { return known }
    let id = buffer(.input(kind), tensor, layout)
    emit(.load(id, microBatch: microBatch))
    inputBuffers[key] = id
    return id
  }

  /// Emits the steps from one layout to another and returns the buffer that holds the last.
  mutating func convert(_ source: BufferID, _ tensor: TensorID, from: Layout, to: Layout, role: Buffer.Role) -> BufferID {
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
}
