// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// A fixed number of devices, numbered from 0 in file order, and the levels that join them.
///
/// Devices of a node are consecutive, and so are the devices of a unit of any level.
package struct Cluster: Hashable, Sendable {
  package let name: String
  package let kinds: [DeviceKind]
  /// Per device: index into `kinds`.
  package let kindOfDevice: [Int]
  /// Per device: the number of its node.
  package let nodeOfDevice: [Int]
  /// Per level, innermost first, and device: the number of the device's unit of that level.
  package let unitOfDevice: [[Int]]
  /// From the innermost outwards; nodes of a group may have an innermost level of their own, see `level(_:of:)`.
  package let levels: [Level]
  /// Every innermost level that occurs; the first is `levels[0]`.
  private let innermostLevels: [Level]
  /// Per device: index into `innermostLevels`.
  private let innermostOfDevice: [Int]

  package var deviceCount: Int { kindOfDevice.count }
  package var nodeCount: Int { (nodeOfDevice.last ?? -1) + 1 }

  package func kind(of device: Int) -> DeviceKind { kinds[kindOfDevice[device]] }

  /// Level `index` as `device` sees it.
  package func level(_ index: Int, of device: Int) -> Level {
    index == 0 ? innermostLevels[innermostOfDevice[device]] : levels[index]
  }

  /// The number of the form that the innermost level has around `device`; see `innermostLevel(_:)`.
  func innermostIndex(of device: Int) -> Int { innermostOfDevice[device] }
  func innermostLevel(_ index: Int) -> Level { innermostLevels[index] }

  /// What a plan may fill on `device`.
  package func usableMemory(of device: Int) -> Bytes { kind(of: device).usableMemory }

  /// True if every device is of one kind.
  package var isUniform: Bool { kindOfDevice.allSatisfy { $0 == kindOfDevice.first } }

  /// Where a device stands: its unit at each level from the outermost to the innermost, then its place in the innermost unit.
  /// Each number counts from 0 within the unit before it.
  package func coordinates(of device: Int) -> [Int] {
    var result: [Int] = []
    var first = 0  // first device of the unit that the next coordinate counts in
    for level in levels.indices.reversed() {
      let units = unitOfDevice[level]
      result.append(units[device] - units[first])
      // Units are consecutive, so the first device of this one is found by bisection.
      var (low, high) = (first, device)
      while low < high {
        let middle = (low + high) / 2
        if units[middle] == units[device] { high = middle } else { low = middle + 1 }
      }
      first = low
    }
    return result + [device - first]
  }

  /// The innermost level at which two devices are in one unit.
  package func levelJoining(_ a: Int, _ b: Int) -> Int {
    levels.indices.first { unitOfDevice[$0][a] == unitOfDevice[$0][b] } ?? levels.count - 1
  }

  /// True if two ranges of devices lie on nodes and levels in the same way, so that whatever runs on both has the same links.
  package func lieAlike(_ a: Range<Int>, _ b: Range<Int>) -> Bool {
    guard a.count == b.count else { return false }
    func areAlike(_ units: [Int]) -> Bool {
      let first = (units[a.lowerBound], units[b.lowerBound])
      return a.indices.allSatisfy { units[$0] - first.0 == units[$0 - a.lowerBound + b.lowerBound] - first.1 }
    }
    return a == b || innermostOfDevice[a] == innermostOfDevice[b] && areAlike(nodeOfDevice) && unitOfDevice.allSatisfy(areAlike)
  }

  /// Of some ranges of devices, one of each way to lie on nodes and levels.
  package func differing(_ ranges: [Range<Int>]) -> [Range<Int>] {
    ranges.reduce(into: []) { found, range in if !found.contains(where: { lieAlike($0, range) }) { found.append(range) } }
  }

  /// The cluster of the first `devices` devices.
  /// - Throws: `HardwareError.tooManyDevices`.
  /// - Precondition: `devices` > 0.
  package func taking(devices count: Int) throws(HardwareError) -> Cluster {
    precondition(count > 0, "a cluster has at least one device")
    guard count <= deviceCount else { throw .tooManyDevices(cluster: name, requested: count, available: deviceCount) }
    return Cluster(
      name: name, kinds: kinds, kindOfDevice: Array(kindOfDevice[..<count]), nodeOfDevice: Array(nodeOfDevice[..<count]),
      unitOfDevice: unitOfDevice.map { Array($0[..<count]) }, levels: levels, innermostLevels: innermostLevels,
      innermostOfDevice: Array(innermostOfDevice[..<count]))
  }

  private init(
    name: String, kinds: [DeviceKind], kindOfDevice: [Int], nodeOfDevice: [Int], unitOfDevice: [[Int]], levels: [Level],
    innermostLevels: [Level], innermostOfDevice: [Int]
  ) {
    self.name = name
    self.kinds = kinds
    self.kindOfDevice = kindOfDevice
    self.nodeOfDevice = nodeOfDevice
    self.unitOfDevice = unitOfDevice
    self.levels = levels
    self.innermostLevels = innermostLevels
    self.innermostOfDevice = innermostOfDevice
  }
}

extension HardwareFile {
  /// The most devices that are numbered one by one.
  package static let deviceLimit = 1 << 20

  /// The first `count` devices in file order, or all of them.
  /// - Throws: `HardwareError.tooManyDevices`; `.deviceCountNeeded` if the file says "any" and `count` is nil.
  /// - Precondition: `count` is nil or > 0.
  package func cluster(devices count: Int? = nil) throws(HardwareError) -> Cluster {
    guard let wanted = count ?? deviceCount else { throw .deviceCountNeeded(cluster: name) }
    precondition(wanted > 0, "a cluster has at least one device")
    let available = deviceCount ?? Self.deviceLimit
    guard wanted <= min(available, Self.deviceLimit) else {
      throw .tooManyDevices(cluster: name, requested: wanted, available: min(available, Self.deviceLimit))
    }
    return Cluster(file: self, devices: wanted)
  }
}

extension Cluster {
  /// - Precondition: the file has been validated and holds `count` devices.
  fileprivate init(file: HardwareFile, devices count: Int) {
    var kindOfDevice: [Int] = []
    var nodeOfDevice: [Int] = []
    var innermostUnits: [Int] = []
    var innermostOfDevice: [Int] = []
    var innermostLevels = [file.levels[0]]
    var node = -1
    var unit = -1
    for group in file.groups {
      let rest = count - kindOfDevice.count
      guard rest > 0 else { break }
      let perNode = group.devicesPerNode ?? rest
      let size = min(rest, group.nodes.map { $0 * perNode } ?? rest)
      var innermost = 0
      if let level = group.innermost {
        innermost = innermostLevels.count
        innermostLevels.append(level)
      }
      // A group starts a new node and a new innermost unit; a level that joins any number has one unit.
      let joins = file.innermost(group).joins
      for i in 0..<size {
        if i % perNode == 0 { node += 1 }
        if let joins, i % joins == 0 { unit += 1 }
        kindOfDevice.append(group.device)
        nodeOfDevice.append(node)
        innermostUnits.append(joins == nil ? 0 : unit)
        innermostOfDevice.append(innermost)
      }
    }
    var unitOfDevice = [innermostUnits]
    for level in file.levels.dropFirst() {
      unitOfDevice.append(unitOfDevice[unitOfDevice.count - 1].map { unit in level.joins.map { unit / $0 } ?? 0 })
    }
    self.init(
      name: file.name, kinds: file.devices, kindOfDevice: kindOfDevice, nodeOfDevice: nodeOfDevice, unitOfDevice: unitOfDevice,
      levels: file.levels, innermostLevels: innermostLevels, innermostOfDevice: innermostOfDevice)
  }
}
