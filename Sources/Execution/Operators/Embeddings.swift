// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Look-ups in tables, and operators that move whole rows.
extension OperatorCall {
  /// A row that another rank holds counts as 0; the partial result's sum is the look-up.
  func embeddingForward() throws(ExecutionError) {
    let table = region(1)
    Embedding.forward(
      ids: wholeNumbers(0), table: operand(1), rows: table[0], into: try newResult(), count: memory.count(call.operands[0]),
      columns: table[1].count)
  }

  func embeddingBackward() throws(ExecutionError) {
    guard let gradient = try accumulator(1) else { return }
    let table = region(1)
    Embedding.accumulateGradient(
      ids: wholeNumbers(0), dy: resultGradient, into: gradient, rows: table[0], count: memory.count(call.operands[0]), columns: table[1].count)
  }

  func positionEmbeddingForward(offset: Int) throws(ExecutionError) {
    let (table, result, columns) = (operand(0), try newResult(), rowsAndColumns.columns)
    for (place, positions) in positionRuns {
      Embedding.positions(
        table: table, start: offset + positionsBefore + positions.lowerBound, into: result + place * columns, batch: 1, count: positions.count,
        columns: columns)
    }
  }

  func positionEmbeddingBackward(offset: Int) throws(ExecutionError) {
    guard let gradient = try accumulator(0) else { return }
    let (dy, columns) = (resultGradient, rowsAndColumns.columns)
    for (place, positions) in positionRuns {
      Embedding.accumulatePositionGradient(
        dy: dy + place * columns, into: gradient, start: offset + positions.lowerBound, batch: 1, count: positions.count, columns: columns)
    }
  }

  /// The runs of successive positions of a position embedding's result, and the rows at which they begin.
  private var positionRuns: [(row: Int, positions: Range<Int>)] {
    let rows = program.buffers[call.result].region[0]
    return program.runs(rows, of: 0, in: op.result).map { ($0.indices.lowerBound - rows.lowerBound, $0.positions) }
  }

  func patchesForward(size: Int) throws(ExecutionError) {
    let image = extents(0)
    Patches.extract(
      operand(0), into: try newResult(), batch: image[0], channels: image[1], height: image[2], width: image[3], size: size)
  }

  /// y[b, 0] = token, y[b, 1 + i] = x[b, i]
  func prependTokenForward() throws(ExecutionError) {
    let x = extents(0)
    let (samples, width, row) = (x[0], x[1] * x[2], x[2])
    let (source, token, result) = (operand(0), operand(1), try newResult())
    for sample in 0..<samples {
      let target = result + sample * (width + row)
      target.update(from: token, count: row)
      (target + row).update(from: source + sample * width, count: width)
    }
  }

  func prependTokenBackward() throws(ExecutionError) {
    let x = extents(0)
    let (samples, width, row) = (x[0], x[1] * x[2], x[2])
    let dy = resultGradient
    let dx = try newGradient(0)
    if let dtoken = try accumulator(1) {
      for sample in 0..<samples { Elementwise.accumulate(dy + sample * (width + row), into: dtoken, count: row) }
    }
    if let dx {
      for sample in 0..<samples { (dx + sample * width).update(from: dy + sample * (width + row) + row, count: width) }
    }
  }

  /// y[b] = x[b, position]
  func selectTokenForward(position: Int) throws(ExecutionError) {
    let x = extents(0)
    let (source, result) = (operand(0), try newResult())
    for sample in 0..<x[0] { (result + sample * x[2]).update(from: source + (sample * x[1] + position) * x[2], count: x[2]) }
  }

  func selectTokenBackward(position: Int) throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let x = extents(0)
    let dy = resultGradient
    Elementwise.fill(dx, count: x.reduce(1, *), with: 0)
    for sample in 0..<x[0] { (dx + (sample * x[1] + position) * x[2]).update(from: dy + sample * x[2], count: x[2]) }
  }
}
