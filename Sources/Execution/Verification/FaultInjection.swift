// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph

/// A mistake made on purpose, so that tests can show that verification finds it. The same on every rank.
package final class FaultInjection {
  package enum Fault: Equatable {
    /// Leaves out the all-reduce of this number in a step, counted from 0 on each rank.
    case droppedAllReduce(number: Int)
    /// Leaves out the reduce-scatter of a gradient into parts (ZeRO) of this number in a step, counted from 0 on each rank.
    case droppedReduceScatter(number: Int)
    /// Adds a bias twice.
    case doubledBias(operator: String, copy: Int)
    /// Changes one element of an operator's result by `relative` times its largest one, on the first rank that holds it.
    case disturbedResult(operator: String, copy: Int, relative: Float)
  }

  private let fault: Fault
  private var allReduces = 0
  private var scatters = 0

  package init(_ fault: Fault) { self.fault = fault }

  func beginStep() { (allReduces, scatters) = (0, 0) }

  func dropsNextAllReduce() -> Bool {
    defer { allReduces += 1 }
    return fault == .droppedAllReduce(number: allReduces)
  }

  func dropsNextScatter() -> Bool {
    defer { scatters += 1 }
    return fault == .droppedReduceScatter(number: scatters)
  }

  /// Applies to a forward result what was asked for.
  func disturb(_ kernel: OperatorCall) throws(ExecutionError) {
    let (call, memory) = (kernel.call, kernel.memory)
    switch fault {
    case .doubledBias(kernel.op.name, call.copy):
      let columns = memory.count(call.operands[1])
      let result = try memory.writable(call.result)
      Elementwise.addBias(result, kernel.operand(1), into: result, rows: kernel.resultCount / columns, columns: columns)
    case .disturbedResult(kernel.op.name, call.copy, let relative):
      guard kernel.program.coordinates.allSatisfy({ $0 == 0 }) else { return }
      let result = try memory.writable(call.result)
      let largest = (0..<kernel.resultCount).reduce(Float(0)) { max($0, abs(result[$1])) }
      result[0] += relative * largest
    default: break
    }
  }
}
