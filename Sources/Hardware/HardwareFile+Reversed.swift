// SPDX-License-Identifier: GPL-3.0-or-later

extension HardwareFile {
  /// The first so many devices with the groups of nodes in reverse order, so that the last kind of device comes first.
  ///
  /// - Returns: nil where all devices are of one kind, a node would be cut, or the levels do not join the groups in this order.
  package func reversed(devices: Int) -> HardwareFile? {
    var taken: [Group] = []
    var rest = devices
    for group in groups where rest > 0 {
      guard let perNode = group.devicesPerNode else { return nil }
      let nodes = min(group.nodes ?? .max, rest / perNode)
      if nodes == 0 { return nil }
      taken.append(Group(device: group.device, devicesPerNode: perNode, nodes: nodes, innermost: group.innermost))
      rest -= nodes * perNode
    }
    guard rest == 0, Set(taken.map(\.device)).count > 1 else { return nil }
    return try? HardwareFile(name: name, source: source, devices: self.devices, groups: taken.reversed(), levels: levels)
  }
}
