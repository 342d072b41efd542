// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering

/// The collectives of a parameter that ranks share out among them (ZeRO): each owns a run of the shard's elements in row-major order.
struct ParameterExchange {
  private let parameter: LocalParameter
  /// How many elements each member of the group owns.
  private let counts: [Int]
  private let memory: ProgramMemory
  private let group: Communicator

  init(_ parameter: LocalParameter, mesh: [Int], memory: ProgramMemory, group: Communicator) {
    self.parameter = parameter
    counts = parameter.sharing.partCounts(of: parameter.region.elementCount, mesh: mesh)
    self.memory = memory
    self.group = group
  }

  /// Fills `whole`, which is the resident value itself or a buffer without memory, from the parts of all members.
  func gather(into whole: BufferID) throws(ExecutionError) {
    if whole == parameter.value {
      let values = memory.floats(whole)
      try group.allGather(values + parameter.startInValue, counts: counts, into: values)
    } else {
      let values = try memory.allocate(whole)
      try group.allGather(memory.floats(parameter.value), counts: counts, into: values)
    }
  }

  /// Sums a whole gradient over the members, each of which keeps its part: at the start of `whole` where that is what is resident, otherwise
  /// added to the resident part.
  /// - Parameter isDropped: leaves the exchange out, so that each member keeps its part of its own addend (a fault, for tests).
  func scatter(from whole: BufferID, isDropped: Bool) throws(ExecutionError) {
    guard let gradient = parameter.gradient else { preconditionFailure("a gradient is scattered that the program does not have") }
    let addend = memory.filledAccumulator(whole)
    func reduce(into part: UnsafeMutablePointer<Float>) throws(ExecutionError) {
      if isDropped { return part.update(from: addend + parameter.part.lowerBound, count: parameter.part.count) }
      try group.reduceScatter(addend, counts: counts, into: part)
    }
    if whole == gradient { return try reduce(into: addend) }
    if !memory.has(gradient) {
      try memory.allocate(gradient)
      memory.setZero(gradient)
    }
    let (part, isZero) = memory.accumulator(gradient)
    if isZero { return try reduce(into: part) }
    // Later micro-batches: the sum overwrites the addend, which nobody reads afterwards.
    try reduce(into: addend)
    Elementwise.accumulate(addend, into: part, count: parameter.part.count)
  }
}
