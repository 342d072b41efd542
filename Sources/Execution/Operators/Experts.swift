// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph

/// Mixtures of experts. Every expert has a slot for every position, so that no token is dropped however uneven the routing is; all-to-alls send the
/// slots that hold tokens (`RoutedSlots`).
extension OperatorCall {
  private func router(topK: Int, renormalises: Bool) -> Router {
    let logits = extents(0)
    return Router(tokens: logits[0] * logits[1], experts: logits[2], perToken: topK, renormalises: renormalises)
  }

  func routeForward(topK: Int, renormalises: Bool) throws(ExecutionError) {
    router(topK: topK, renormalises: renormalises).forward(operand(0), into: try newResult())
  }

  func routeBackward(topK: Int, renormalises: Bool) throws(ExecutionError) {
    guard let dlogits = try newGradient(0) else { return }
    // Logits are kept only where the weights are shares of all.
    let logits = renormalises ? result : operand(0)
    router(topK: topK, renormalises: renormalises).backward(logits, result, droutes: resultGradient, into: dlogits)
  }

  /// - Parameter slots: the region of [experts, batch, slots, features].
  func routing(slots: Region) -> Routing {
    let routes = extents(1)
    return Routing(tokens: routes[0] * routes[1], perToken: routes[2] / 2, held: slots[0])
  }

  func dispatchForward() throws(ExecutionError) {
    routing(slots: program.buffers[call.result].region).dispatch(operand(0), operand(1), into: try newResult(), columns: rowsAndColumns.columns)
  }

  func dispatchBackward() throws(ExecutionError) {
    let routing = routing(slots: program.buffers[call.result].region)
    if let dx = try newGradient(0) { routing.dispatchGradient(resultGradient, operand(1), into: dx, columns: rowsAndColumns.columns) }
    // Where tokens go does not depend on the weights.
    if let droutes = try newGradient(1) { Elementwise.fill(droutes, count: memory.count(call.operands[1]), with: 0) }
  }

  func combineForward() throws(ExecutionError) {
    routing(slots: region(0)).combine(operand(0), operand(1), into: try newResult(), columns: rowsAndColumns.columns)
  }

  func combineBackward() throws(ExecutionError) {
    let (routing, columns, dy) = (routing(slots: region(0)), rowsAndColumns.columns, resultGradient)
    if let droutes = try newGradient(1) { routing.weightGradient(operand(0), operand(1), dy: dy, into: droutes, columns: columns) }
    if let dslots = try newGradient(0) { routing.combineGradient(dy, operand(1), into: dslots, columns: columns) }
  }

  func sigmoidGateForward() throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    SigmoidGate.forward(operand(0), gate: operand(1), into: try newResult(), rows: rows, columns: columns)
  }

  func sigmoidGateBackward() throws(ExecutionError) {
    let ((rows, columns), dy) = (rowsAndColumns, resultGradient)
    if let dgate = try newGradient(1) { SigmoidGate.gateGradient(operand(0), gate: operand(1), dy: dy, into: dgate, rows: rows, columns: columns) }
    if let dx = try newGradient(0) { SigmoidGate.forward(dy, gate: operand(1), into: dx, rows: rows, columns: columns) }
  }

  private var expertProduct: ExpertProduct { ExpertProduct(for: call, in: program) }

  /// y[e] = x[e] W[e], of the rows that hold tokens.
  func expertLinearForward() throws(ExecutionError) {
    let p = expertProduct
    let y = try newResult()
    try withScratch(p.scratchCount) { (scratch) throws(ExecutionError) in
      let (x, packed, numbers) = p.parts(of: scratch)
      for expert in 0..<p.experts {
        let count = OccupiedRows.gather(operand(0) + expert * p.rows * p.inputs, rows: p.rows, columns: p.inputs, into: x, numbers: numbers)
        BLAS.gemm(
          .no, p.isInputFirst ? .no : .yes, m: count, n: p.outputs, k: p.inputs, a: x, lda: p.inputs, b: operand(1) + expert * p.inputs * p.outputs,
          ldb: p.isInputFirst ? p.outputs : p.inputs, c: packed, ldc: p.outputs)
        OccupiedRows.scatter(packed, numbers: numbers, count: count, rows: p.rows, columns: p.outputs, into: y + expert * p.rows * p.outputs)
      }
    }
  }

  /// dx[e] = dy[e] W[e]ᵀ, dW[e] += x[e]ᵀ dy[e], of the rows in which dy is not zero
  func expertLinearBackward() throws(ExecutionError) {
    let p = expertProduct
    let dx = try newGradient(0)
    let dw = try gradientToAddTo(1).map(memory.accumulator)
    try withScratch(p.scratchCount) { (scratch) throws(ExecutionError) in
      let (x, dy, numbers) = p.parts(of: scratch)
      for expert in 0..<p.experts {
        let (firstInput, weight) = (expert * p.rows * p.inputs, expert * p.inputs * p.outputs)
        let count = OccupiedRows.gather(
          resultGradient + expert * p.rows * p.outputs, rows: p.rows, columns: p.outputs, into: dy, numbers: numbers)
        if let (dw, isZero) = dw {
          OccupiedRows.gather(operand(0) + firstInput, numbers: numbers, count: count, columns: p.inputs, into: x)
          let (left, right) = p.isInputFirst ? (x, dy) : (dy, x)
          let (m, n) = p.isInputFirst ? (p.inputs, p.outputs) : (p.outputs, p.inputs)
          BLAS.gemm(.yes, .no, m: m, n: n, k: count, a: left, lda: m, b: right, ldb: n, beta: isZero ? 0 : 1, c: dw + weight, ldc: n)
        }
        if let dx {
          BLAS.gemm(
            .no, p.isInputFirst ? .yes : .no, m: count, n: p.inputs, k: p.outputs, a: dy, lda: p.outputs, b: operand(1) + weight,
            ldb: p.isInputFirst ? p.outputs : p.inputs, c: x, ldc: p.inputs)
          OccupiedRows.scatter(x, numbers: numbers, count: count, rows: p.rows, columns: p.inputs, into: dx + firstInput)
        }
      }
    }
  }
}

/// The extents of the products of this rank's experts: x [experts, rows, inputs], y [experts, rows, outputs], each expert's weight as the
/// checkpoint has it.
struct ExpertProduct {
  let experts: Int
  let rows: Int
  let inputs: Int
  let outputs: Int
  /// Whether a weight is [inputs, outputs], not [outputs, inputs].
  let isInputFirst: Bool

  init(for call: KernelCall, in program: Program) {
    let op = program.graph.operators[call.op]
    let (x, weight) = (program.graph.tensors[op.operands[0]].dimensions, program.graph.tensors[op.operands[1]].dimensions)
    let extents = program.buffers[call.operands[1]].region.map(\.count)
    let isInput = weight.map(x.contains)
    experts = extents[0]
    inputs = zip(extents, isInput).dropFirst().reduce(1) { $1.1 ? $0 * $1.0 : $0 }
    outputs = extents.dropFirst().reduce(1, *) / inputs
    rows = program.buffers[call.operands[0]].region.reduce(1) { $0 * $1.count } / (experts * inputs)
    isInputFirst = isInput[1]
  }

  /// For the rows of x and of y that hold tokens, and their numbers.
  var scratchCount: Int { rows * (inputs + outputs + 1) }

  func parts(
    of scratch: UnsafeMutablePointer<Float>
  ) -> (x: UnsafeMutablePointer<Float>, y: UnsafeMutablePointer<Float>, numbers: UnsafeMutablePointer<Int32>) {
    let numbers = UnsafeMutableRawPointer(scratch + rows * (inputs + outputs)).bindMemory(to: Int32.self, capacity: rows)
    return (scratch, scratch + rows * inputs, numbers)
  }
}
