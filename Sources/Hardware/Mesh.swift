// SPDX-License-Identifier: GPL-3.0-or-later

/// The devices of one pipeline stage as a grid, row-major: neighbours on the last axis are neighbours in the cluster.
package struct Mesh: Hashable, Sendable {
  /// The extents of the axes, outermost first; an extent may be 1.
  package let shape: [Int]
  /// The cluster's number of the device at the origin; the others follow it.
  package let firstDevice: Int

  /// - Precondition: every extent > 0.
  package init(shape: [Int], firstDevice: Int = 0) {
    precondition(shape.allSatisfy { $0 > 0 }, "a mesh axis has at least one device, not \(shape)")
    precondition(firstDevice >= 0)
    self.shape = shape
    self.firstDevice = firstDevice
  }

  package var deviceCount: Int { shape.reduce(1, *) }
  package var devices: Range<Int> { firstDevice..<firstDevice + deviceCount }

  /// How many devices lie between neighbours on `axis`.
  package func stride(of axis: Int) -> Int { shape[(axis + 1)...].reduce(1, *) }

  /// The place of a device of the mesh on each axis.
  package func coordinates(of device: Int) -> [Int] {
    precondition(devices.contains(device), "device \(device) is not in the mesh \(devices)")
    var rest = device - firstDevice
    return Array(
      shape.reversed().map { extent in
        defer { rest /= extent }
        return rest % extent
      }.reversed())
  }

  package func device(at coordinates: [Int]) -> Int {
    precondition(coordinates.count == shape.count)
    return firstDevice + zip(shape, coordinates).reduce(0) { $0 * $1.0 + $1.1 }
  }

  /// The groups of devices that differ only in their places on `axes`: those that a collective over these axes joins. Groups and
  /// members are in ascending order.
  package func groups(along axes: [Int]) -> [[Int]] {
    let inner = offsets(of: axes.sorted())
    let outer = offsets(of: shape.indices.filter { !axes.contains($0) })
    return outer.map { base in inner.map { firstDevice + base + $0 } }
  }

  /// Every place on some axes, as an offset from the origin, ascending.
  private func offsets(of axes: [Int]) -> [Int] {
    axes.reduce([0]) { result, axis in
      let stride = stride(of: axis)
      return result.flatMap { base in (0..<shape[axis]).map { base + $0 * stride } }
    }
  }

  /// Every shape of at most `maximumAxes` axes, each of extent 2 or more, for `count` devices, in lexicographic order; the one
  /// shape for a single device is `[1]`.
  package static func shapes(devices count: Int, maximumAxes: Int = 3) -> [[Int]] {
    precondition(count > 0 && maximumAxes > 0)
    if count == 1 { return [[1]] }
    func factorizations(_ rest: Int, _ axes: Int) -> [[Int]] {
      if rest == 1 { return [[]] }
      guard axes > 0 else { return [] }
      return (2...rest).filter { rest % $0 == 0 }.flatMap { first in factorizations(rest / first, axes - 1).map { [first] + $0 } }
    }
    return factorizations(count, maximumAxes)
  }
}
