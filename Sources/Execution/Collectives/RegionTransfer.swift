// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Strategies

/// Moves the part of a tensor that lies in `box` from an array that holds one region of it to an array that holds another.
struct RegionTransfer {
  private let transfer: BoxTransfer
  private let sourceOffset: Int
  private let destinationOffset: Int

  /// - Parameter box: lies in both regions.
  init(_ box: Region, from source: Region, to destination: Region) {
    let (from, to) = (Self.strides(source), Self.strides(destination))
    transfer = BoxTransfer(extents: box.map(\.count), sourceStrides: from, destinationStrides: to)
    sourceOffset = Self.offset(of: box, in: source, from)
    destinationOffset = Self.offset(of: box, in: destination, to)
  }

  /// Moves `box` from an array that holds `source` into a strided view of another, whose element at the tensor's origin is at `offset`.
  init(_ box: Region, from source: Region, toViewAt offset: Int, strides: [Int]) {
    let from = Self.strides(source)
    transfer = BoxTransfer(extents: box.map(\.count), sourceStrides: from, destinationStrides: strides)
    sourceOffset = Self.offset(of: box, in: source, from)
    destinationOffset = zip(box, strides).reduce(offset) { $0 + $1.0.lowerBound * $1.1 }
  }

  func copy(_ source: UnsafePointer<Float>, into destination: UnsafeMutablePointer<Float>) {
    transfer.copy(source + sourceOffset, into: destination + destinationOffset)
  }

  func accumulate(_ source: UnsafePointer<Float>, into destination: UnsafeMutablePointer<Float>) {
    transfer.accumulate(source + sourceOffset, into: destination + destinationOffset)
  }

  private static func strides(_ region: Region) -> [Int] {
    var strides = [Int](repeating: 1, count: region.count)
    for d in region.indices.dropLast().reversed() { strides[d] = strides[d + 1] * region[d + 1].count }
    return strides
  }

  private static func offset(of box: Region, in region: Region, _ strides: [Int]) -> Int {
    var offset = 0
    for d in region.indices { offset += (box[d].lowerBound - region[d].lowerBound) * strides[d] }
    return offset
  }
}
