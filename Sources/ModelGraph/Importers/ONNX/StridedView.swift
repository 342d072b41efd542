// SPDX-License-Identifier: GPL-3.0-or-later

/// An array as a part, a transpose or a repetition of a row-major one: element (i₀, i₁, …) is number `offset + Σ strides[d] · i_d` of it.
struct StridedView: Hashable, Sendable {
  var offset: Int
  var shape: [Int]
  /// 0 where an extent is a repetition.
  var strides: [Int]

  /// All of a row-major array.
  init(whole shape: [Int]) { self.init(offset: 0, shape: shape, strides: rowMajorStrides(shape)) }

  init(offset: Int, shape: [Int], strides: [Int]) { (self.offset, self.shape, self.strides) = (offset, shape, strides) }

  var count: Int { shape.reduce(1, *) }

  func transposed(_ permutation: [Int]) -> StridedView {
    StridedView(offset: offset, shape: permutation.map { shape[$0] }, strides: permutation.map { strides[$0] })
  }

  /// Repeated to a shape, by the rules of broadcasting; nil where an extent is neither equal nor 1.
  func broadcast(to target: [Int]) -> StridedView? {
    guard target.count >= shape.count else { return nil }
    var result = StridedView(offset: offset, shape: target, strides: [Int](repeating: 0, count: target.count))
    for (axis, place) in (target.count - shape.count..<target.count).enumerated() {
      if shape[axis] == target[place] { result.strides[place] = strides[axis] } else if shape[axis] != 1 { return nil }
    }
    return result
  }

  /// `count` elements of one axis, from `start` on, `step` apart.
  func sliced(_ axis: Int, from start: Int, count: Int, step: Int = 1) -> StridedView {
    var result = self
    result.offset += start * strides[axis]
    result.shape[axis] = count
    result.strides[axis] = strides[axis] * step
    return result
  }

  /// Without an axis, of which element `index` is taken.
  func selecting(_ axis: Int, _ index: Int) -> StridedView {
    var result = sliced(axis, from: index, count: 1)
    result.shape.remove(at: axis)
    result.strides.remove(at: axis)
    return result
  }

  /// The same elements in order, in another shape of as many; nil where no strides say so.
  func reshaped(to target: [Int]) -> StridedView? {
    var axes = zip(shape, strides).filter { $0.0 != 1 }.map { (extent: $0.0, stride: $0.1) }
    var result = StridedView(offset: offset, shape: target, strides: [Int](repeating: 0, count: target.count))
    if target.contains(0) { return result }
    // From the innermost axis on: each target axis takes a part of a source axis, or several that continue one another.
    for place in target.indices.reversed() where target[place] != 1 {
      guard var last = axes.popLast() else { return nil }
      while last.extent < target[place], let outer = axes.last, outer.stride == last.stride * last.extent {
        axes.removeLast()
        last = (last.extent * outer.extent, last.stride)
      }
      guard last.extent % target[place] == 0 else { return nil }
      result.strides[place] = last.stride
      if last.extent > target[place] { axes.append((last.extent / target[place], last.stride * target[place])) }
    }
    return axes.isEmpty ? result : nil
  }

  /// Numbers of the elements, in order. They wrap, where strides come from a file's numbers and are no places.
  var indices: [Int] {
    var result = [offset]
    for (extent, stride) in zip(shape, strides) {
      var next: [Int] = []
      next.reserveCapacity(result.count * extent)
      for start in result { for i in 0..<extent { next.append(start &+ i &* stride) } }
      result = next
    }
    return result
  }
}
