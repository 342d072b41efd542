// SPDX-License-Identifier: GPL-3.0-or-later

/// A box of a tensor's elements, in any order of axes: element (i0, i1, …) is at flat index offset + Σ strides[d] · i[d].
///
/// Shards, transposes, and one of several tensors that a checkpoint keeps fused are all such views.
package struct AffineView: Equatable, Sendable {
  package let offset: Int
  package let extents: [Int]
  /// In elements; one for each extent, of either sign.
  package let strides: [Int]

  package init(offset: Int, extents: [Int], strides: [Int]) {
    precondition(extents.count == strides.count, "\(extents.count) extents and \(strides.count) strides")
    precondition(extents.allSatisfy { $0 >= 0 }, "a negative extent: \(extents)")
    self.offset = offset
    self.extents = extents
    self.strides = strides
  }

  /// All of a row-major tensor.
  package init(whole shape: [Int]) {
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in shape.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
    self.init(offset: 0, extents: shape, strides: strides)
  }

  /// The number of elements.
  package var count: Int { extents.reduce(1, *) }

  /// Whether every element is one of a tensor's `total`. Sums that do not fit an `Int` are not.
  package func fits(in total: Int) -> Bool {
    if extents.contains(0) { return true }
    var (lowest, highest) = (offset, offset)
    for (extent, stride) in zip(extents, strides) {
      let (reach, tooFar) = (extent - 1).multipliedReportingOverflow(by: stride)
      let (low, tooLow) = lowest.addingReportingOverflow(min(reach, 0))
      let (high, tooHigh) = highest.addingReportingOverflow(max(reach, 0))
      if tooFar || tooLow || tooHigh { return false }
      (lowest, highest) = (low, high)
    }
    return lowest >= 0 && highest < total
  }

  /// Calls `body` once for each run of elements that have a constant distance, in the view's order.
  ///
  /// Neighbouring axes that continue one another are one run, so a row shard of a matrix is one, and a column shard has one
  /// for each row.
  func forEachRun(_ body: (_ start: Int, _ stride: Int, _ count: Int) -> Void) {
    guard !extents.contains(0) else { return }
    var axes: [(extent: Int, stride: Int)] = []
    for (extent, stride) in zip(extents, strides) where extent > 1 {
      if let last = axes.last, last.stride == stride * extent {
        axes[axes.count - 1] = (last.extent * extent, stride)
      } else {
        axes.append((extent, stride))
      }
    }
    let run = axes.popLast() ?? (1, 1)
    var index = [Int](repeating: 0, count: axes.count)
    var start = offset
    while true {
      body(start, run.stride, run.extent)
      var axis = axes.count - 1
      while axis >= 0 {
        index[axis] += 1
        start += axes[axis].stride
        if index[axis] < axes[axis].extent { break }
        start -= axes[axis].stride * axes[axis].extent
        index[axis] = 0
        axis -= 1
      }
      if axis < 0 { return }
    }
  }
}
