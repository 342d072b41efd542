// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

struct BoxTransferTests {
  /// Oracle: one element at a time. The axes of source and destination are permuted and padded at random, rank 1 to 6.
  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func copyAndAccumulate(seed: UInt64) {
    var samples = SeededGenerator(seed: seed)
    let rank = samples.int(1...6)
    let extents = (0..<rank).map { _ in samples.int(1...(rank > 4 ? 3 : 9)) }
    let (sourceStrides, sourceCount) = strides(extents, &samples)
    let (destinationStrides, destinationCount) = strides(extents, &samples)
    let source = samples.floats(sourceCount)
    let before = samples.floats(destinationCount)
    let transfer = BoxTransfer(extents: extents, sourceStrides: sourceStrides, destinationStrides: destinationStrides)
    #expect(transfer.count == extents.reduce(1, *))
    var (copied, summed) = (before, before)
    var (expectedCopy, expectedSum) = (before, before)
    for flat in 0..<transfer.count {
      var (rest, from, to) = (flat, 0, 0)
      for d in (0..<rank).reversed() {
        from += rest % extents[d] * sourceStrides[d]
        to += rest % extents[d] * destinationStrides[d]
        rest /= extents[d]
      }
      expectedCopy[to] = source[from]
      expectedSum[to] += source[from]
    }
    transfer.copy(source, into: &copied)
    transfer.accumulate(source, into: &summed)
    #expect(copied == expectedCopy)
    #expect(summed == expectedSum)
  }

  @Test(arguments: [[], [1, 1], [4, 0, 3]] as [[Int]])
  func degenerateBoxes(_ extents: [Int]) {
    let transfer = BoxTransfer(extents: extents, sourceStrides: extents.map { _ in 1 }, destinationStrides: extents.map { _ in 1 })
    var y: [Float] = [1, 2]
    transfer.copy([5, 6], into: &y)
    #expect(y == (extents.contains(0) ? [1, 2] : [5, 2]))
  }

  /// Strides of a tensor whose axes lie in a random order, half the time row-major so that axes merge, and its size.
  private func strides(_ extents: [Int], _ samples: inout SeededGenerator) -> ([Int], Int) {
    var order = Array(extents.indices)
    if samples.int(0...1) == 0 { order.shuffle(using: &samples) }
    var result = extents
    var next = 1
    for d in order.reversed() {
      result[d] = next
      next *= extents[d] + (samples.int(0...3) == 0 ? 1 : 0)
    }
    return (result, next)
  }
}
