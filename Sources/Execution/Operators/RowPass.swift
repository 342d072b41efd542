// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph

/// A pass of an element-wise operator or a norm over its rows: each row of what it writes comes from the same row of what it reads.
///
/// Passes that follow one another are carried out together, some rows at a time, so that what one writes is in the cache when the next reads it: a bias
/// and the activation after it, a residual sum and the norm after it. The numbers are the same.
struct RowPass {
  /// Elements of the arrays, and of a row of them.
  let count: Int
  let row: Int
  /// The arrays of `count` elements that it reads and writes.
  let reads: [UnsafePointer<Float>]
  let writes: UnsafeMutablePointer<Float>?
  /// What else it reads or writes: a bias for every row, a number for each row, sums over the rows.
  var sides: [UnsafeBufferPointer<Float>] = []
  /// Carries out the rows that make up some elements, the first ones first; nothing is written before.
  let body: (Range<Int>) -> Void

  private var written: [UnsafeBufferPointer<Float>] { writes.map { [UnsafeBufferPointer(start: $0, count: count)] } ?? [] }

  /// Bytes of the rows of one array that are worked on at a time: three arrays of them fit the second-level caches of today's processors.
  private static let blockBytes = 64 << 10
  /// Sums over rows add four of them at a time (`Elementwise.accumulateBiasGradient`), which blocks leave as they are.
  private static let rowMultiple = 4

  /// Carries out passes that follow one another.
  static func carryOut(_ passes: [RowPass]) {
    guard let count = passes.first?.count, count > 0, let row = passes.map(\.row).max(), passes.count > 1, mayBeFused(passes, row: row) else {
      for pass in passes { pass.body(0..<pass.count) }
      return
    }
    let rows = max(1, blockBytes / MemoryLayout<Float>.stride / (row * rowMultiple)) * rowMultiple
    for start in stride(from: 0, to: count, by: rows * row) {
      let block = start..<min(count, start + rows * row)
      for pass in passes { pass.body(block) }
    }
  }

  /// Whether no pass writes over what an earlier one has still to read: memory that is free again after an operator may be the next one's.
  private static func mayBeFused(_ passes: [RowPass], row: Int) -> Bool {
    for (index, pass) in passes.enumerated() {
      guard pass.count == passes[0].count, row % pass.row == 0 else { return false }
      for earlier in passes[..<index] {
        let earlierSpans = earlier.reads.map { UnsafeBufferPointer(start: $0, count: earlier.count) } + earlier.written + earlier.sides
        for span in pass.written + pass.sides {
          for other in earlierSpans where span.overlaps(other) {
            // The same rows of the same array.
            let isSameArray = span.baseAddress == other.baseAddress && span.count == other.count && span.count == pass.count
            if !isSameArray { return false }
          }
        }
      }
    }
    return true
  }
}

extension UnsafeBufferPointer<Float> {
  fileprivate func overlaps(_ other: UnsafeBufferPointer<Float>) -> Bool {
    guard let base = baseAddress, let otherBase = other.baseAddress else { return false }
    return base < otherBase + other.count && otherBase < base + count
  }
}

extension OperatorKind {
  /// Whether an operator may be a `RowPass`, forward and backward.
  var isRowPass: (forward: Bool, backward: Bool) {
    switch self {
    case .bias, .activation, .scale, .dropout, .pass: (true, true)
    case .add, .multiply, .layerNorm, .rmsNorm: (true, false)
    default: (false, false)
    }
  }
}

extension OperatorCall {
  /// The call as a pass over rows, its result with memory already; nil where it is none.
  func rowPass() throws(ExecutionError) -> RowPass? {
    if call.phase == .backward {
      switch op.kind {
      case .bias: return try biasBackward()
      case .activation(let function): return try activationBackward(function)
      case .scale(let factor): return try scaleBackward(by: Float(factor))
      case .dropout, .pass:
        try newGradient(0)
        return nothing
      default: return nil
      }
    }
    switch op.kind {
    case .bias: return try biasForward()
    case .activation(let function): return try activationForward(function)
    case .scale(let factor): return try scaleForward(by: Float(factor))
    case .add: return try addForward()
    case .multiply: return try multiplyForward()
    case .layerNorm(let epsilon): return try layerNormForward(epsilon: Float(epsilon))
    case .rmsNorm(let epsilon, let addsOne): return try rmsNormForward(epsilon: Float(epsilon), addsOne: addsOne)
    case .dropout, .pass:
      try newResult()
      return nothing
    default: return nil
    }
  }

  func side(_ values: UnsafePointer<Float>, _ count: Int) -> UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: values, count: count) }

  /// What hands its operand on as it is.
  private var nothing: RowPass { RowPass(count: resultCount, row: 1, reads: [], writes: nil, body: { _ in }) }

  /// A pass that works on each element of its result alone, or on each row.
  func pass(
    over row: Int = 1, reading reads: [UnsafePointer<Float>], into writes: UnsafeMutablePointer<Float>?,
    beside sides: [UnsafeBufferPointer<Float>] = [], _ body: @escaping (Range<Int>) -> Void
  ) -> RowPass {
    RowPass(count: resultCount, row: row, reads: reads, writes: writes, sides: sides, body: body)
  }
}
