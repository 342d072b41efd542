// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Kernels over whole arrays: norms, sums, activations, the loss, the optimizer.
extension CalibrationRun {
  private static func sizes(_ isQuick: Bool) -> [(rows: Int, columns: Int)] {
    isQuick ? [(512, 768)] : [(256, 768), (1024, 768), (1024, 3072)]
  }

  static func streamCount(_ isQuick: Bool) -> Int { sizes(isQuick).count * 9 + 4 }

  mutating func measureStreams() throws(ExecutionError) {
    for (rows, columns) in Self.sizes(isQuick) {
      try measurePlain(rows, columns)
      try measureActivations(rows * columns)
    }
    try measureLoss()
    try measureOptimizer()
  }

  /// - Parameters:
  ///   - arrays: elements of each array that the work takes.
  ///   - streams: how many arrays of `count` elements the cost model has it move.
  private mutating func time(
    _ kind: CalibrationMeasurements.Stream.Kind, count: Int, streams: Double, exponentials: Int = 0, _ arrays: [Int],
    _ work: ([UnsafeMutablePointer<Float>]) -> Void
  ) throws(ExecutionError) {
    let arena = arena
    let timing = try timer.alone { (repetition) throws(ExecutionError) in work(arena.arrays(arrays, repetition)) }
    result.streams.append(
      .init(kind: kind, bytes: 4 * streams * Double(count), exponentials: Double(exponentials), seconds: note(timing)))
  }

  private mutating func measurePlain(_ rows: Int, _ columns: Int) throws(ExecutionError) {
    let count = rows * columns
    try time(.plain, count: count, streams: 3, [count, count]) { Elementwise.add($0[0], $0[1], into: $0[0], count: count) }
    try time(.plain, count: count, streams: 2, [count, columns]) {
      Elementwise.addBias($0[0], $0[1], into: $0[0], rows: rows, columns: columns)
    }
    let normed = [count, columns, columns, count, rows, rows, columns, columns]
    try time(.plain, count: count, streams: 2, normed) {
      LayerNorm.forward(
        $0[0], weight: $0[1], bias: $0[2], epsilon: 1e-5, into: $0[3], mean: $0[4], rstd: $0[5], rows: rows, columns: columns)
    }
    try time(.plain, count: count, streams: 3, normed) {
      LayerNorm.backward(
        x: $0[0], weight: $0[1], mean: $0[4], rstd: $0[5], dy: $0[3], dx: $0[3], dweight: $0[6], dbias: $0[7], rows: rows, columns: columns)
    }
    try time(.plain, count: count, streams: 5, [count, count, count, count]) {
      Elementwise.multiplyBackward(a: $0[0], b: $0[1], dy: $0[2], da: $0[2], db: $0[3], count: count)
    }
  }

  private mutating func measureActivations(_ count: Int) throws(ExecutionError) {
    for activation in [Activation.geluTanh, .silu] {
      try time(.exponential, count: count, streams: 2, exponentials: count, [count]) {
        activation.forward($0[0], into: $0[0], count: count)
      }
      try time(.exponential, count: count, streams: 3, exponentials: count, [count, count]) {
        activation.backward(saved: $0[0], dy: $0[1], dx: $0[1], count: count)
      }
    }
  }

  private mutating func measureLoss() throws(ExecutionError) {
    let (rows, columns) = (isQuick ? 64 : 256, 8192)
    let count = rows * columns
    let labels = [Int32](repeating: 7, count: rows)
    let arrays = [count, rows, rows, rows]
    try time(.exponential, count: count, streams: 1, exponentials: count, arrays) { p in
      CrossEntropy.rowMaximum(p[0], into: p[1], rows: rows, columns: columns)
      CrossEntropy.sumExpAndTarget(
        p[0], rowMaximum: p[1], labels: labels, vocabulary: 0..<columns, sumExp: p[2], target: p[3], rows: rows)
    }
    try time(.exponential, count: count, streams: 2, exponentials: count, arrays) { p in
      CrossEntropy.backward(
        p[0], rowMaximum: p[1], sumExp: p[2], labels: labels, vocabulary: 0..<columns, scale: 1e-3, into: p[0], rows: rows)
    }
  }

  private mutating func measureOptimizer() throws(ExecutionError) {
    let count = isQuick ? 1 << 20 : 1 << 22
    let optimizer = AdamW(learningRate: 1e-4)
    // Gradient, both moments and the weight are read; moments and weight are written. The second moment is a square: it is made one.
    let magnitude = [count, count, count, count]
    for repetition in 0..<arena.count / (4 * count) {
      let v = arena.arrays(magnitude, repetition)[3]
      Elementwise.multiply(v, v, into: v, count: count)
    }
    try time(.optimizer, count: count, streams: 7, magnitude) {
      optimizer.update($0[0], gradient: $0[1], firstMoment: $0[2], secondMoment: $0[3], count: count, step: 10)
    }
  }
}
