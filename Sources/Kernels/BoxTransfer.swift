// SPDX-License-Identifier: GPL-3.0-or-later

/// How to move a box of elements from one strided array to another: packing and unpacking shards for a collective, slicing and
/// transposing tensors.
///
/// Made once; `copy` and `accumulate` then allocate nothing. Axes that are contiguous in both arrays are merged, so that a box
/// of whole rows is one run.
package struct BoxTransfer: Sendable, Equatable {
  package static let maximumRank = 6

  private struct Axis: Equatable {
    var extent: Int
    var sourceStride: Int
    var destinationStride: Int
  }

  private var axes: [Axis] = []
  /// Elements moved.
  package let count: Int

  /// - Parameters:
  ///   - extents: of the box, at most six; row-major.
  ///   - sourceStrides: elements from one index to the next, per axis.
  package init(extents: [Int], sourceStrides: [Int], destinationStrides: [Int]) {
    precondition(extents.count <= Self.maximumRank, "a box has at most six axes")
    precondition(sourceStrides.count == extents.count && destinationStrides.count == extents.count, "one stride per axis")
    count = extents.reduce(1, *)
    for d in extents.indices where extents[d] != 1 {
      let axis = Axis(extent: extents[d], sourceStride: sourceStrides[d], destinationStride: destinationStrides[d])
      if let outer = axes.last, outer.sourceStride == axis.extent * axis.sourceStride,
        outer.destinationStride == axis.extent * axis.destinationStride
      {
        axes[axes.count - 1] = Axis(
          extent: outer.extent * axis.extent, sourceStride: axis.sourceStride, destinationStride: axis.destinationStride)
      } else {
        axes.append(axis)
      }
    }
    if axes.isEmpty { axes.append(Axis(extent: 1, sourceStride: 1, destinationStride: 1)) }
  }

  /// destination[…] = source[…]; the arrays must not overlap.
  package func copy(_ source: UnsafePointer<Float>, into destination: UnsafeMutablePointer<Float>) {
    visit(source, destination, level: 0) {
      $1.update(from: $0, count: $2)
    } element: {
      $1.pointee = $0.pointee
    }
  }

  /// destination[…] += source[…]; the arrays must not overlap.
  package func accumulate(_ source: UnsafePointer<Float>, into destination: UnsafeMutablePointer<Float>) {
    visit(source, destination, level: 0) {
      Elementwise.accumulate($0, into: $1, count: $2)
    } element: {
      $1.pointee += $0.pointee
    }
  }

  private func visit(
    _ source: UnsafePointer<Float>, _ destination: UnsafeMutablePointer<Float>, level: Int,
    run: (UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void,
    element: (UnsafePointer<Float>, UnsafeMutablePointer<Float>) -> Void
  ) {
    let axis = axes[level]
    if level + 1 == axes.count {
      if axis.sourceStride == 1 && axis.destinationStride == 1 {
        run(source, destination, axis.extent)
      } else {
        for i in 0..<axis.extent { element(source + i * axis.sourceStride, destination + i * axis.destinationStride) }
      }
    } else {
      for i in 0..<axis.extent {
        visit(source + i * axis.sourceStride, destination + i * axis.destinationStride, level: level + 1, run: run, element: element)
      }
    }
  }
}
