// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Plans
import Quantities

extension ReportFigures {
  var clusterSection: HTML {
    section(
      "cluster", "Cluster and mesh",
      lead:
        "Each box is a level of the interconnect with what it joins; each small box is a device, \(decision.groups > 1 ? "from dark to light by its stage, " : "")in its place in the mesh: a row is the last axis, rows under each other are the axes before it. Of many equal units one is drawn."
    ) {
      figure("Topology of the devices in use: links, nodes, stages, and the mesh in each node.") { topology }
      levelsTable
      tag("h3") { "Mesh" }
      tag("p") {
        decision.groups > 1
          ? "The devices of a stage form a grid. What operators split, they split along its axes, and collectives join the devices of a row or a column."
          : "The devices form a grid. What operators split, they split along its axes, and collectives join the devices of a row or a column."
      }
      for run in meshRuns {
        figure(meshCaption(run.stages)) { meshPicture(group: run.stages.lowerBound) }
        axesTable(run.stages)
      }
    }
  }

  private func meshCaption(_ stages: Range<Int>) -> String {
    let others = stages.lowerBound + 1..<stages.upperBound
    let follow =
      others.isEmpty
      ? "" : "; those of \(others.count == 1 ? "stage" : "stages") \(span(others)) \(others.count == 1 ? "follows" : "follow") in the same order"
    let nodes = cluster.nodeCount > 1 ? " Dashed and full outlines: one node and the next." : ""
    let whose = decision.groups == 1 ? "All devices" : "Devices of stage \(stages.lowerBound)"
    return "\(whose)\(follow).\(nodes)"
  }

  // MARK: - Topology

  private var topology: HTML {
    tag("div", ["class": "topology"]) {
      topologyBox(level: cluster.levels.count - 1, devices: 0..<cluster.deviceCount)
    }
  }

  /// What a unit of a level looks like: units with equal ones are drawn once. Devices by kind and stage.
  private func signature(_ devices: Range<Int>) -> [Int] {
    devices.flatMap { [cluster.kindOfDevice[$0], decision.group(ofRank: $0)] }
  }

  /// The parts of a range of devices that are units of a level.
  private func units(ofLevel level: Int, in devices: Range<Int>) -> [Range<Int>] {
    var units: [Range<Int>] = []
    var first = devices.lowerBound
    while first < devices.upperBound {
      let unit = cluster.unitOfDevice[level][first]
      let end = (first..<devices.upperBound).first { cluster.unitOfDevice[level][$0] != unit } ?? devices.upperBound
      units.append(first..<end)
      first = end
    }
    return units
  }

  private func topologyBox(level: Int, devices: Range<Int>, alike: Int = 1) -> HTML {
    let form = cluster.level(level, of: devices.lowerBound)
    let owner = form.bandwidthIs == .device ? "per device" : "per node"
    let nodes = cluster.nodeOfDevice[devices.lowerBound]..<cluster.nodeOfDevice[devices.upperBound - 1] + 1
    let stages = decision.group(ofRank: devices.lowerBound)..<decision.group(ofRank: devices.upperBound - 1) + 1
    return tag("div", ["class": "level"]) {
      tag("p", ["class": "level-name"]) {
        tag("strong") { form.name }
        tag("span") { " \(form.bandwidth) \(owner)" }
        tag("span") { "; \(nodes.count == 1 ? "node" : "nodes") \(span(nodes))" }
        if !cluster.isUniform { tag("span") { ", \(kindNames(devices))" } }
        if decision.groups > 1 { tag("span") { ", \(stages.count == 1 ? "stage" : "stages") \(span(stages))" } }
        if alike > 1 { tag("em") { ", first of \(alike) equal ones" } }
      }
      tag("div", ["class": level == 0 ? "units" : "boxes", "style": level == 0 ? nil : "--least:\(leastWidth(ofLevel: level - 1, devices))px"]) {
        if level == 0 { cells(devices) } else { innerBoxes(units(ofLevel: level - 1, in: devices), level: level - 1) }
      }
    }
  }

  /// What a box of a level needs for its rows of devices, in pixels, on a page that has so much room.
  private func leastWidth(ofLevel level: Int, _ devices: Range<Int>) -> Int {
    let columns = devices.map { rowLength(ofGroup: decision.group(ofRank: $0)) }.max() ?? 1
    let cell = devices.upperBound > 1000 ? 44 : 37
    // Besides the devices: margins and outlines of the row, its mesh and the box, and those of the boxes around that one.
    return max(255, columns * cell + 44 + 22 * level)
  }

  /// How many devices of a stage's mesh stand beside each other.
  private func rowLength(ofGroup group: Int) -> Int { min(8, decision.mesh(ofGroup: group).last ?? 1) }

  private func kindNames(_ devices: Range<Int>) -> String {
    Set(devices.map { cluster.kindOfDevice[$0] }).sorted().map { cluster.kinds[$0].name }.joined(separator: " and ")
  }

  /// Boxes of units, equal neighbours once; of many different ones the first and the last.
  private func innerBoxes(_ units: [Range<Int>], level: Int) -> [HTML] {
    var runs: [(first: Range<Int>, signature: [Int], count: Int)] = []
    for unit in units {
      let own = signature(unit)
      if let last = runs.last, last.signature == own { runs[runs.count - 1].count += 1 } else { runs.append((unit, own, 1)) }
    }
    let most = 16
    func box(_ run: (first: Range<Int>, signature: [Int], count: Int)) -> HTML { topologyBox(level: level, devices: run.first, alike: run.count) }
    // A few equal units are all drawn.
    if units.count <= most && runs.allSatisfy({ $0.count <= 4 }) { return units.map { topologyBox(level: level, devices: $0) } }
    if runs.count <= most { return runs.map(box) }
    let (head, tail) = (runs.prefix(most - 2), runs.suffix(1))
    let left = runs.dropFirst(head.count).dropLast(tail.count)
    let stages = decision.group(ofRank: left.first?.first.lowerBound ?? 0)..<decision.group(ofRank: (left.last?.first.upperBound ?? 1) - 1) + 1
    let rest = tag("p", ["class": "more"]) {
      "… \(counted(left.reduce(0) { $0 + $1.count }, "further unit")) of \(cluster.levels[level].name)"
        + (decision.groups > 1 ? ", stages \(span(stages))" : "")
    }
    return head.map(box) + [rest] + tail.map(box)
  }

  /// Devices in the grid of their stage's mesh; of very many in one unit the first ones and the last in a row.
  private func cells(_ devices: Range<Int>) -> [HTML] {
    let most = 16
    if devices.count > most {
      let rest = tag("span", ["class": "more"]) { "… \(devices.count - most + 1) more …" }
      return devices.prefix(most - 2).map(cell) + [rest, cell(devices.upperBound - 1)] + axesText(devices)
    }
    var boxes: [HTML] = []
    var first = devices.lowerBound
    while first < devices.upperBound {
      let group = decision.group(ofRank: first)
      let own = decision.ranks(ofGroup: group)
      let part = first..<min(devices.upperBound, own.upperBound)
      let long = decision.mesh(ofGroup: group).last ?? 1
      let rows = Set(part.map { ($0 - own.lowerBound) / long }).sorted().map { index in
        part.clamped(to: own.lowerBound + index * long..<own.lowerBound + (index + 1) * long)
      }
      boxes.append(
        tag("div", ["class": "mesh"]) {
          for row in rows {
            tag("div", ["class": long > 4 ? "mesh-row long" : "mesh-row", "style": "--n:\(rowLength(ofGroup: group))"]) { row.map(cell) }
          }
        })
      first = part.upperBound
    }
    return boxes + axesText(devices)
  }

  private func cell(_ device: Int) -> HTML {
    let group = decision.group(ofRank: device)
    return tag(
      "span", ["class": "device bg-\(hue(ofGroup: group))", "title": "device \(device), \(cluster.kind(of: device).name), \(name(ofGroup: group))"]
    ) { "\(device)" }
  }

  /// What the axes of a mesh are, where its first device is drawn; of stages with equal meshes at the first one.
  private func axesText(_ devices: Range<Int>) -> [HTML] {
    let begun = meshRuns.filter { devices.contains(decision.ranks(ofGroup: $0.stages.lowerBound).lowerBound) }
    return begun.map { run in
      let mesh = Mesh(shape: run.mesh, firstDevice: decision.ranks(ofGroup: run.stages.lowerBound).lowerBound)
      return tag("ul", ["class": "mesh-axes"]) {
        for axis in run.mesh.indices.reversed() {
          let steps = cluster.placement(ofAxis: axis, in: mesh).steps.map { "\($0.factor) on \(cluster.levels[$0.level].name)" }
          tag("li") {
            "axis \(axis) = \(run.mesh[axis])" + (steps.isEmpty ? "" : ": \(steps.joined(separator: " × "))")
              + "; splits \(axisText(axis, run.stages.lowerBound, most: 3))"
          }
        }
      }
    }
  }

  private var levelsTable: HTML {
    var table = DataTable(
      "Levels of the interconnect, from the innermost outwards",
      [.text("level"), .text("joins"), .number("bandwidth"), .text("which is"), .number("latency"), .text("topology")])
    for level in cluster.levels {
      table.add([
        level.name, level.joins.map { "\($0)" } ?? "any number", "\(level.bandwidth)", level.bandwidthIs.rawValue, "\(level.latency)",
        level.topology.rawValue,
      ])
    }
    return table.html
  }
}
