// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// How a segment and its operators are called in the script.
struct TorchNames: Hashable {
  /// Of the segment, in the script's tables.
  let part: String
  /// The module of a layer, with `{i}` for its number; nil for what stands before or after layers.
  let module: String?
  /// The number of the first layer.
  let first: Int
  let copies: Int

  init(_ graph: Graph, _ segment: SegmentID) {
    part = graph.segments[segment].name
    copies = graph.segments[segment].repeats
    let name = graph.segments[segment].operators.first.map { graph.operators[$0].name } ?? ""
    first = Graph.firstCopy(name)
    let path = Graph.withoutFirstCopy(name).split(separator: ".", omittingEmptySubsequences: false)
    module = path.lastIndex { $0.contains("{i}") }.map { path[...$0].joined(separator: ".") }
  }

  /// A name of the segment as its module has it: without the layer's own.
  func relative(_ name: String) -> String {
    let name = Graph.withoutFirstCopy(name)
    guard let module, name.hasPrefix(module + ".") else { return name }
    return String(name.dropFirst(module.count + 1))
  }
}
