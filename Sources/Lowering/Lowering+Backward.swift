// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// Backward passes, and what is done once per step after them.
extension Lowering {
  mutating func lowerBackward(_ microBatch: Int, _ stage: Int, _ messages: Messages) {
    guard let units = tape.removeValue(forKey: TapeKey(stage: stage, microBatch: microBatch)), let last = units.last else {
      preconditionFailure("backward before forward")
    }
    // The gradients of what this virtual stage sends on, in the layouts that their producers take.
    var outgoing: [BufferID?] = graph.segments[last.segment].exits.map { _ in nil }
    if decision.changesMesh(before: stage + 1) {
      outgoing = receiveCrossedGradients(microBatch, stage, messages)
    } else if stage < decision.stages.count - 1 {
      // What the next stage does not read has no gradient there, whatever other copies make of it.
      let entries = graph.segments[decision.stages[stage + 1].units[0].segment].entries
      for (index, exit) in graph.segments[last.segment].exits.enumerated() where needsGradient[exit] && needsGradient[entries[index]] {
        let id = buffer(.gradient, exit, program.strategies[graph.producer[exit]!].resultGradient)
        emit(.receive(id, rank: counterpart(on: stage + 1), tag: messages.tag(.backward(microBatch), from: stage + 1, index)))
        outgoing[index] = id
      }
    }
    for (number, unit) in units.enumerated().reversed() {
      let contributions = lowerBackward(unit, exitGradients: outgoing)
      if number == 0, decision.changesMesh(before: stage) { return sendCrossedGradients(contributions, microBatch, stage, messages) }
      outgoing = zip(graph.segments[unit.segment].entries, unit.entries).map { entry, carried in
        contributions[entry].map { sum($0, tensor: entry, to: program.strategies[carried.producer].resultGradient) }
      }
    }
    if stage > 0 {
      for (index, gradient) in outgoing.enumerated() {
        if let gradient { emit(.send(gradient, rank: counterpart(on: stage - 1), tag: messages.tag(.backward(microBatch), from: stage, index))) }
      }
    }
  }

  /// Returns the gradients of the segment's entries, in the layouts in which their readers give them.
  private mutating func lowerBackward(_ unit: Unit, exitGradients: [BufferID?]) -> [TensorID: [(layout: Layout, buffer: BufferID)]] {
    var unit = unit
    forgetGathered(&unit)
    lowerRecompute(&unit)
    let segment = graph.segments[unit.segment]
    var contributions: [TensorID: [(layout: Layout, buffer: BufferID)]] = [:]
    for (exit, gradient) in zip(segment.exits, exitGradients) {
      guard let gradient else { continue }
      contributions[exit] = [(program.buffers[gradient].layout, gradient)]
    }
    for call in unit.calls.reversed() {
      let op = graph.operators[call.op]
      let strategy = program.strategies[call.op]
      guard needsGradient[op.result], op.operands.contains(where: { needsGradient[$0] }) else { continue }
      var resultGradient: BufferID?
      if op.result != graph.loss {
        guard let parts = contributions.removeValue(forKey: op.result) else { continue }
        resultGradient = sum(parts, tensor: op.result, to: strategy.resultGradient)
      }
      var operands = call.operands
      let wanted = op.operands.map { needsGradient[$0] }
      for (position, tensor) in op.operands.enumerated()
      where regathers(tensor, strategy.operands[position].forward) && program.rules[call.op].keeps(position, forGradientsOf: wanted) {
        operands[position] = reading(tensor, strategy.operands[position].forward, &unit)
      }
      var gradients: [BufferID?] = []
      for (position, tensor) in op.operands.enumerated() {
        if graph.tensors[tensor].isParameter {
          let index = parameter(tensor, copy: unit.copy)
          operands[position] = wholeParameter(index)
          gradients.append(gradientBuffer(index))
        } else {
          gradients.append(needsGradient[tensor] ? buffer(.gradient, tensor, strategy.operands[position].gradient) : nil)
        }
      }
      emit(
        .kernel(
          KernelCall(
            op: call.op, copy: unit.copy, microBatch: unit.microBatch, phase: .backward, operands: operands, result: call.result,
            extras: call.extras, resultGradient: resultGradient, operandGradients: gradients)))
      for gradient in gradients.compactMap({ $0 }) {
        guard case .wholeGradient(let index) = program.buffers[gradient].role else { continue }
        emit(.scatterGradient(parameter: index, axes: program.parameters[index].sharing.axes, from: gradient))
      }
      for tensor in op.operands where graph.tensors[tensor].isParameter && needsGradient[tensor] {
        let index = parameter(tensor, copy: unit.copy)
        guard program.parameters[index].isPassing else { continue }
        lowerExchange(index)
        lowerUpdate(index)
        updatedInBackward.insert(index)
      }
      for (position, tensor) in op.operands.enumerated() where graph.tensors[tensor].isActivation {
        guard let gradient = gradients[position] else { continue }
        contribute(gradient, layout: strategy.operands[position].gradient, to: tensor, in: &contributions)
      }
    }
    return contributions
  }

  func regathers(_ tensor: TensorID, _ layout: Layout) -> Bool { decision.regathers(tensor, in: layout, program.strategies, program.rules) }

  /// What is gathered again dies in the forward pass, as nobody finds it any more.
  private func forgetGathered(_ unit: inout Unit) {
    for tensor in unit.readings.keys { unit.readings[tensor]?.removeAll { regathers(tensor, $0.layout) } }
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

  mutating func lowerUpdates() {
    // What no backward pass reached, in a copy whose result nobody reads, has a gradient of zeros.
    for (index, parameter) in program.parameters.enumerated() where parameter.isPassing && !updatedInBackward.contains(index) {
      guard let gradient = parameter.gradient else { continue }
      program.parameters[index].isPassing = false
      emit(.zero(gradient))
    }
    for (index, parameter) in program.parameters.enumerated() where !parameter.isPassing { lowerExchange(index) }
    // In one order on every stage: each of these waits for the other holders.
    for (index, parameter) in program.parameters.enumerated().sorted(by: { $0.element.tensor < $1.element.tensor })
    where parameter.gradient != nil {
      let holders = decision.groupsHolding(parameter.tensor)
      guard holders.count > 1, let number = holders.firstIndex(of: program.stage) else { continue }
      if holders.contains(where: { decision.mesh(ofGroup: $0) != program.mesh }) {
        emit(exchange(of: index, among: holders, place: number))
      } else {
        let place = program.rank - program.firstRank
        emit(.reduceTied(parameter: index, ranks: holders.map { decision.ranks(ofGroup: $0).lowerBound + place }))
      }
    }
    for (index, parameter) in program.parameters.enumerated() where parameter.gradient != nil && !parameter.isPassing { lowerUpdate(index) }
  }

  /// Sums a gradient over the ranks that saw different data, where that was not done in each micro-batch.
  private mutating func lowerExchange(_ index: Int) {
    let parameter = program.parameters[index]
    guard let gradient = parameter.gradient, !parameter.gradientAxes.isEmpty else { return }
    switch parameter.sharing.stage {
    case .none: emit(.reduceGradient(parameter: index, axes: parameter.gradientAxes))
    case .optimizer: emit(.scatterGradient(parameter: index, axes: parameter.sharing.axes, from: gradient))
    case .gradients, .weights: break
    }
  }

  private mutating func lowerUpdate(_ index: Int) {
    let parameter = program.parameters[index]
    emit(.update(parameter: index))
    guard [.optimizer, .gradients].contains(parameter.sharing.stage) else { return }
    emit(.gatherParameter(parameter: index, axes: parameter.sharing.axes, into: parameter.value))
  }
}
