// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// What passes between stages of different meshes: a tensor goes, box by box, from the layout in which it is produced to those in which it is read.
extension Lowering {
  private func crossings(into stage: Int) -> [Crossing] {
    let segment = decision.stages[stage].units[0].segment
    return decision.crossings(into: segment, program.strategies, needsGradient: needsGradient)
  }

  private func mesh(ofStage stage: Int) -> [Int] { decision.mesh(ofGroup: decision.group(ofStage: stage)) }
  private func firstRank(ofStage stage: Int) -> Int { decision.ranks(ofGroup: decision.group(ofStage: stage)).lowerBound }

  private var place: Int { program.rank - program.firstRank }

  /// The boxes that this rank sends to a virtual stage.
  private func sent(_ tensor: TensorID, _ from: Layout, to layout: Layout, onStage stage: Int) -> [MessageBox] {
    let first = firstRank(ofStage: stage)
    return MeshCrossing(shape: graph.shape(tensor), from: from, on: program.mesh, to: layout, on: mesh(ofStage: stage)).messages
      .filter { $0.sender == place }.map { MessageBox(rank: first + $0.receiver, region: $0.box, isAdded: $0.isAdded) }
  }

  /// The boxes that this rank receives from a virtual stage.
  private func received(_ tensor: TensorID, _ from: Layout, onStage stage: Int, as layout: Layout) -> [MessageBox] {
    let first = firstRank(ofStage: stage)
    return MeshCrossing(shape: graph.shape(tensor), from: from, on: mesh(ofStage: stage), to: layout, on: program.mesh).messages
      .filter { $0.receiver == place }.map { MessageBox(rank: first + $0.sender, region: $0.box, isAdded: $0.isAdded) }
  }

  // MARK: - Forward

  /// Everything that a virtual stage gets from one with another mesh, in the layouts in which it is read.
  mutating func receiveCrossings(
    _ microBatch: Int, _ stage: Int, _ messages: Messages
  ) -> [TensorID: [(layout: Layout, buffer: BufferID)]] {
    guard decision.changesMesh(before: stage) else { return [:] }
    var arrived: [TensorID: [(layout: Layout, buffer: BufferID)]] = [:]
    for crossing in crossings(into: stage) {
      let produced = program.strategies[graph.producer[crossing.exit]!].result
      for (number, layout) in crossing.forward.enumerated() {
        let id = buffer(.activation, crossing.entry, layout)
        let tag = messages.tag(.forward(microBatch), from: stage - 1, crossing.firstForward + number)
        emit(.receiveBoxes(id, received(crossing.entry, produced, onStage: stage - 1, as: layout), tag: tag))
        arrived[crossing.entry, default: []].append((layout, id))
      }
    }
    return arrived
  }

  /// - Parameter carried: what the virtual stage hands on, in the order of its last segment's exits.
  mutating func sendCrossings(_ carried: [Carried], _ microBatch: Int, _ stage: Int, _ messages: Messages) {
    for (item, crossing) in zip(carried, crossings(into: stage + 1)) {
      for (number, layout) in crossing.forward.enumerated() {
        let boxes = sent(crossing.exit, item.layout, to: layout, onStage: stage + 1)
        let tag = messages.tag(.forward(microBatch), from: stage, crossing.firstForward + number)
        if !boxes.isEmpty { emit(.sendBoxes(item.buffer, boxes, tag: tag)) }
      }
    }
  }

  // MARK: - Backward

  /// The gradients of what a virtual stage has sent to one with another mesh, in the layouts that their producers take.
  mutating func receiveCrossedGradients(_ microBatch: Int, _ stage: Int, _ messages: Messages) -> [BufferID?] {
    crossings(into: stage + 1).map { crossing in
      let wanted = program.strategies[graph.producer[crossing.exit]!].resultGradient
      var total: BufferID?
      for (number, layout) in crossing.gradients.enumerated() {
        let id = buffer(.gradient, crossing.exit, wanted)
        let tag = messages.tag(.backward(microBatch), from: stage + 1, crossing.firstGradient + number)
        emit(.receiveBoxes(id, received(crossing.exit, layout, onStage: stage + 1, as: wanted), tag: tag))
        if let total { emit(.accumulate(from: id, to: total)) } else { total = id }
      }
      return total
    }
  }

  /// - Parameter contributions: of what the virtual stage got, in the layouts in which its readers give them.
  mutating func sendCrossedGradients(
    _ contributions: [TensorID: [(layout: Layout, buffer: BufferID)]], _ microBatch: Int, _ stage: Int, _ messages: Messages
  ) {
    for crossing in crossings(into: stage) {
      let wanted = program.strategies[graph.producer[crossing.exit]!].resultGradient
      for (number, layout) in crossing.gradients.enumerated() {
        guard let part = contributions[crossing.entry]?.first(where: { $0.layout == layout }) else {
          preconditionFailure("no reader gives a gradient of \(graph.tensors[crossing.entry].name) as \(layout.placements)")
        }
        let boxes = sent(crossing.entry, layout, to: wanted, onStage: stage - 1)
        let tag = messages.tag(.backward(microBatch), from: stage, crossing.firstGradient + number)
        if !boxes.isEmpty { emit(.sendBoxes(part.buffer, boxes, tag: tag)) }
      }
    }
  }

  // MARK: - Once per step

  /// What a tied parameter's holders on several meshes send each other of its gradient.
  func exchange(of index: Int, among holders: [Int], place number: Int) -> Instruction {
    let parameter = program.parameters[index]
    let shape = graph.shape(parameter.tensor)
    var sent: [MessageBox] = []
    var received: [[MessageBox]] = []
    for other in holders where other != holders[number] {
      let (mesh, first) = (decision.mesh(ofGroup: other), decision.ranks(ofGroup: other).lowerBound)
      guard let site = decision.reader(of: parameter.tensor, onGroup: other) else { continue }
      let layout = program.strategies[site.op].operands[site.operand].forward
      let there = MeshCrossing(shape: shape, from: parameter.layout, on: program.mesh, to: layout, on: mesh)
      let back = MeshCrossing(shape: shape, from: layout, on: mesh, to: parameter.layout, on: program.mesh)
      sent += there.messages.filter { $0.sender == place }.map { MessageBox(rank: first + $0.receiver, region: $0.box, isAdded: false) }
      received.append(back.messages.filter { $0.receiver == place }.map { MessageBox(rank: first + $0.sender, region: $0.box, isAdded: false) })
    }
    return .exchangeTied(parameter: index, sent: sent, received: received, place: number)
  }
}
