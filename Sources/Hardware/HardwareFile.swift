// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

/// What a hardware file says, checked: each number is in its lawful range, each name is defined, the counts fit together.
///
/// Key names end in their unit; GB = 10^9, GiB = 2^30, FLOPS = floating-point operations per second.
package struct HardwareFile: Hashable, Sendable {
  package static let format = "tpplan/hardware/1"

  package let name: String
  package let source: String
  package let devices: [DeviceKind]
  package let groups: [Group]
  /// From the innermost outwards.
  package let levels: [Level]
  /// What was measured, where the figures are this program's own.
  package let calibration: CalibrationRecord?

  /// Nodes of one kind, consecutive in device order.
  package struct Group: Hashable, Sendable {
    /// Index into `devices`.
    package let device: Int
    /// nil: any number, all in one node.
    package let devicesPerNode: Int?
    /// nil: any number.
    package let nodes: Int?
    /// What joins the devices of this group's nodes, where that is not `levels[0]`.
    package let innermost: Level?

    package init(device: Int, devicesPerNode: Int?, nodes: Int?, innermost: Level? = nil) {
      self.device = device
      self.devicesPerNode = devicesPerNode
      self.nodes = nodes
      self.innermost = innermost
    }
  }

  /// - Parameter file: what messages call the description; nil: its name.
  /// - Throws: `HardwareError` if a list is empty, a level's name occurs twice, or the counts of groups and levels do not fit.
  package init(
    name: String, source: String, devices: [DeviceKind], groups: [Group], levels: [Level], calibration: CalibrationRecord? = nil,
    file: String? = nil
  ) throws(HardwareError) {
    self.name = name
    self.source = source
    self.devices = devices
    self.groups = groups
    self.levels = levels
    self.calibration = calibration
    try validate(file: file ?? name)
  }

  /// Devices in all groups; nil if any number.
  package var deviceCount: Int? {
    var count = 0
    for group in groups {
      guard let nodes = group.nodes, let perNode = group.devicesPerNode else { return nil }
      count += nodes * perNode
    }
    return count
  }

  /// The innermost level of a group.
  package func innermost(_ group: Group) -> Level { group.innermost ?? levels[0] }
}

// MARK: checks across values

extension HardwareFile {
  /// - Throws: `HardwareError`, naming `file` and the path of the value to change.
  private func validate(file: String) throws(HardwareError) {
    for (list, isEmpty) in [("devices", devices.isEmpty), ("groups", groups.isEmpty), ("levels", levels.isEmpty)] where isEmpty {
      throw .badList(file: file, path: "$.\(list)", problem: "is empty; define at least one")
    }
    for (i, level) in levels.enumerated() where levels[..<i].contains(where: { $0.name == level.name }) {
      throw .badList(file: file, path: "$.levels[\(i)].name", problem: "\"\(level.name)\" is the name of two levels")
    }
    func inconsistent(_ path: String, _ problem: String) -> HardwareError { .inconsistent(file: file, path: path, problem: problem) }

    var units = 0  // of the innermost level
    for (i, group) in groups.enumerated() {
      let path = "$.groups[\(i)]"
      if group.nodes == nil || group.devicesPerNode == nil, i < groups.count - 1 {
        throw inconsistent(path, "only the last group may have \"any\" number of nodes or devices: later ones would never be reached")
      }
      if group.devicesPerNode == nil, group.nodes != 1 {
        throw inconsistent(path + ".nodes", "must be 1 where devices_per_node is \"any\"")
      }
      let levelPath = group.innermost == nil ? "$.levels[0].joins" : path + ".innermost_level.joins"
      guard let joins = innermost(group).joins else {
        if levels.count > 1 || group.innermost != nil { throw inconsistent(levelPath, "only the outermost level may join \"any\" number") }
        continue
      }
      guard let perNode = group.devicesPerNode else {
        throw inconsistent(levelPath, "joins \(counted(joins, "device")), but devices_per_node is \"any\"; make this \"any\" too")
      }
      guard joins % perNode == 0 || perNode % joins == 0 else {
        throw inconsistent(
          levelPath, "joins \(counted(joins, "device")), which neither divides nor is a multiple of the \(counted(perNode, "device")) of a node")
      }
      guard let nodes = group.nodes else { continue }
      guard nodes * perNode % joins == 0 else {
        throw inconsistent(
          levelPath,
          "joins \(counted(joins, "device")), but the group has \(counted(nodes, "node")) × \(perNode) = \(nodes * perNode), not a multiple")
      }
      units += nodes * perNode / joins
    }
    try validateOuterLevels(file: file, innermostUnits: deviceCount == nil ? nil : units)
  }

  /// Checks that the levels above the innermost join all units, whose number is nil where it is open.
  private func validateOuterLevels(file: String, innermostUnits: Int?) throws(HardwareError) {
    let outermost = levels.count - 1
    func inconsistent(_ i: Int, _ problem: String) -> HardwareError { .inconsistent(file: file, path: "$.levels[\(i)].joins", problem: problem) }

    for i in levels.indices.dropFirst().dropLast() where levels[i].joins == nil {
      throw inconsistent(i, "only the outermost level may join \"any\" number")
    }
    guard levels[outermost].joins != nil else { return }
    guard var units = innermostUnits else {
      throw inconsistent(outermost, "must be \"any\", since the last group has \"any\" number")
    }
    for (i, level) in levels.enumerated().dropFirst() {
      guard let joins = level.joins, units % joins == 0 else {
        throw inconsistent(i, "joins \(level.joins ?? 0) units of the level below, but there are \(units), not a multiple")
      }
      units /= joins
    }
    guard units == 1 else {
      let count = deviceCount ?? 0
      throw inconsistent(outermost, "the levels join \(counted(count / units, "device")), the groups have \(count)")
    }
  }
}
