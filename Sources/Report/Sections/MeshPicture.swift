// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Plans
import Quantities

extension ReportFigures {
  /// Neighbouring stages with equal meshes on equal links.
  var meshRuns: [(mesh: [Int], stages: Range<Int>)] {
    var runs: [(mesh: [Int], placements: [AxisPlacement], stages: Range<Int>)] = []
    for group in 0..<decision.groups {
      let shape = decision.mesh(ofGroup: group)
      let mesh = Mesh(shape: shape, firstDevice: decision.ranks(ofGroup: group).lowerBound)
      let placements = shape.indices.map { cluster.placement(ofAxis: $0, in: mesh) }
      if let last = runs.last, last.mesh == shape, last.placements == placements {
        runs[runs.count - 1].stages = last.stages.lowerBound..<group + 1
      } else {
        runs.append((shape, placements, group..<group + 1))
      }
    }
    return runs.map { ($0.mesh, $0.stages) }
  }

  /// The places along an axis that are drawn: all, or the first ones and the last.
  private func places(_ extent: Int, most: Int) -> [Int?] {
    extent <= most ? Array(0..<extent) : Array(0..<most - 2) + [nil, extent - 1]
  }

  /// The grid of a stage's devices: the last axis across, the one before it down, one before that as several grids.
  func meshPicture(group: Int) -> HTML {
    let shape = decision.mesh(ofGroup: group)
    let mesh = Mesh(shape: shape, firstDevice: decision.ranks(ofGroup: group).lowerBound)
    let outer = shape.dropLast(2).reduce(1, *)
    let (rows, columns) = (shape.count > 1 ? shape[shape.count - 2] : 1, shape[shape.count - 1])
    let (down, across, blocks) = (places(rows, most: 8), places(columns, most: 10), places(outer, most: 4))
    let (cell, row, left, top) = (46.0, 26.0, shape.count > 1 ? 120.0 : 8.0, 26.0)
    let block = Double(down.count) * row + 14 + (outer > 1 ? 16 : 0)
    let heading = "axis \(shape.count - 1): \(axisText(shape.count - 1, group)) →"
    let width = left + max(Double(across.count) * cell, Double(heading.count) * 6.2) + 8
    var drawing = Drawing(width: width, height: top + Double(blocks.count) * block + 4)
    drawing.text(heading, left, 14, "s")
    for (number, place) in blocks.enumerated() {
      var y = top + Double(number) * block
      guard let place else {
        drawing.text("…", left, y + row, "t")
        continue
      }
      if outer > 1 {
        drawing.text("at \(place) of \(counted(shape.count - 2, "outer axis", plural: "outer axes"))", left, y + 10, "s")
        y += 16
      }
      if shape.count > 1 {
        drawing.text("axis \(shape.count - 2) ↓", 4, y + 14, "s")
        drawing.text(axisText(shape.count - 2, group, most: 1), 4, y + 28, "s")
      }
      for (i, r) in down.enumerated() {
        for (j, c) in across.enumerated() {
          let (x, top) = (left + Double(j) * cell, y + Double(i) * row)
          guard let r, let c else {
            drawing.text("…", x + cell / 2, top + 17, "t", anchor: .middle)
            continue
          }
          let device = mesh.firstDevice + (place * rows + r) * columns + c
          let node = cluster.nodeOfDevice[device]
          drawing.rectangle(
            x + 2, top + 2, cell - 4, row - 4, node % 2 == 0 ? "k-\(hue(ofGroup: group))" : "k-\(hue(ofGroup: group)) odd", round: 3,
            title: "device \(device) on node \(node)")
          drawing.text("\(device)", x + cell / 2, top + 17, "s", anchor: .middle)
        }
      }
    }
    let words =
      "A grid of \(shape.map(String.init).joined(separator: " by ")) devices, \(span(mesh.devices)); the table beside it says what each axis is."
    return scrollable("Mesh of \(name(ofGroup: group))") { drawing.picture(words) }
  }

  func axisText(_ axis: Int, _ group: Int, most: Int = 4) -> String {
    let words = report.words(onAxis: axis, ofGroup: group)
    return words.isEmpty ? "nothing" : words.prefix(most).joined(separator: ", ") + (words.count > most ? " …" : "")
  }

  func axesTable(_ stages: Range<Int>) -> HTML {
    let group = stages.lowerBound
    let mesh = decision.mesh(ofGroup: group)
    var table = DataTable(
      decision.groups > 1 ? "Mesh axes of \(stages.count == 1 ? "stage" : "stages") \(span(stages))" : "Mesh axes",
      [.number("axis"), .number("devices"), .text("over"), .number("rate of a device"), .text("what operators split along it")])
    let placed = Mesh(shape: mesh, firstDevice: decision.ranks(ofGroup: group).lowerBound)
    for (axis, extent) in mesh.enumerated() {
      let steps = cluster.placement(ofAxis: axis, in: placed).steps
      table.add([
        "\(axis)", "\(extent)",
        steps.isEmpty ? "a single device" : steps.map { "\(cluster.levels[$0.level].name) (\($0.factor))" }.joined(separator: ", then "),
        steps.map { "\($0.bandwidth)" }.joined(separator: ", "),
        report.words(onAxis: axis, ofGroup: group).joined(separator: ", "),
      ])
    }
    return table.html
  }
}
