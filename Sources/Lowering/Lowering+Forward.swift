// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// Forward passes, and those that a backward pass carries out again.
extension Lowering {
  mutating func lowerForward(_ microBatch: Int, _ stage: Int, _ messages: Messages) {
    var carried = decision.changesMesh(before: stage) ? [] : receiveCarries(microBatch, stage, messages)
    var arrived = receiveCrossings(microBatch, stage, messages)
    var units: [Unit] = []
    for range in decision.stages[stage].units {
      for copy in range.copies {
        let segment = graph.segments[range.segment]
        var unit = Unit(segment: range.segment, copy: copy, microBatch: microBatch, entries: carried)
        for (tensor, item) in zip(segment.entries, carried) { unit.produced[tensor] = item }
        swap(&unit.readings, &arrived)
        arrived = [:]
        for op in segment.operators { unit.calls.append(lowerForward(op, .forward, &unit)) }
        carried = segment.exits.compactMap { unit.produced[$0] }
        if decision.job.mode == .train { units.append(unit) }
      }
    }
    if decision.changesMesh(before: stage + 1) {
      sendCrossings(carried, microBatch, stage, messages)
    } else if stage < decision.stages.count - 1 {
      for (index, item) in carried.enumerated() {
        emit(.send(item.buffer, rank: counterpart(on: stage + 1), tag: messages.tag(.forward(microBatch), from: stage, index)))
      }
    }
    tape[TapeKey(stage: stage, microBatch: microBatch)] = units
  }

  /// Carries out again what a unit's backward pass does not find kept: afterwards its calls have their values, what was kept, or new ones.
  ///
  /// What comes in from outside was kept in its readers' layouts. Results that are computed again are converted again for all their readers.
  mutating func lowerRecompute(_ unit: inout Unit) {
    let recompute = decision.recompute[unit.segment]
    let repeated = unit.calls.indices.filter { recompute.repeats(program.rules[unit.calls[$0].op]) }
    // Nobody finds the old results any more, so they die in the forward pass.
    for index in repeated {
      let result = graph.operators[unit.calls[index].op].result
      if decision.revives(result, program.rules) { unit.readings[result] = nil }
    }
    if repeated.isEmpty { return }
    for index in unit.calls.indices {
      if repeated.contains(index) {
        unit.calls[index] = lowerForward(unit.calls[index].op, .recompute, &unit)
      } else {
        let op = unit.calls[index].op
        for (position, tensor) in graph.operators[op].operands.enumerated() where graph.tensors[tensor].isActivation {
          let layout = program.strategies[op].operands[position].forward
          // What is gathered again is so when its reader's turn comes.
          if !regathers(tensor, layout) { unit.calls[index].operands[position] = reading(tensor, layout, &unit) }
        }
      }
    }
  }

  private mutating func lowerForward(_ op: OperatorID, _ phase: KernelCall.Phase, _ unit: inout Unit) -> Call {
    let strategy = program.strategies[op]
    var operands: [BufferID] = []
    for (position, tensor) in graph.operators[op].operands.enumerated() {
      let layout = strategy.operands[position].forward
      switch graph.tensors[tensor].kind {
      case .parameter: operands.append(wholeParameter(parameter(tensor, copy: unit.copy)))
      case .input: operands.append(inputBuffer(tensor, layout, unit.microBatch))
      case .activation: operands.append(reading(tensor, layout, &unit))
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
          op: op, copy: unit.copy, microBatch: unit.microBatch, phase: phase, operands: operands, result: result, extras: extras,
          resultGradient: nil, operandGradients: [])))
    unit.produced[tensor] = Carried(buffer: result, layout: strategy.result, producer: op)
    return Call(op: op, operands: operands, result: result, extras: extras)
  }

  /// A computed tensor in the layout in which an operator reads it: converted for the first that asks for this one.
  mutating func reading(_ tensor: TensorID, _ layout: Layout, _ unit: inout Unit) -> BufferID {
    if let known = unit.readings[tensor]?.first(where: { $0.layout == layout }) { return known.buffer }
    guard let source = unit.produced[tensor] else { preconditionFailure("\(graph.tensors[tensor].name) is read before it is produced") }
    let ready = convert(source.buffer, tensor, from: source.layout, to: layout, role: .activation)
    unit.readings[tensor, default: []].append((layout, ready))
    return ready
  }

  private mutating func receiveCarries(_ microBatch: Int, _ stage: Int, _ messages: Messages) -> [Carried] {
    guard stage > 0 else { return [] }
    return boundaryExits(before: stage).enumerated().map { index, exit in
      let producer = graph.producer[exit]!
      let layout = program.strategies[producer].result
      let id = buffer(.activation, exit, layout)
      emit(.receive(id, rank: counterpart(on: stage - 1), tag: messages.tag(.forward(microBatch), from: stage - 1, index)))
      return Carried(buffer: id, layout: layout, producer: producer)
    }
  }

  /// The tensors that the last unit before a virtual stage sends on.
  private func boundaryExits(before stage: Int) -> [TensorID] {
    graph.segments[decision.stages[stage - 1].units.last!.segment].exits
  }

  /// The rank that has this one's place among the devices of a virtual stage.
  func counterpart(on stage: Int) -> Int {
    decision.ranks(ofGroup: decision.group(ofStage: stage)).lowerBound + program.rank - program.firstRank
  }
}
