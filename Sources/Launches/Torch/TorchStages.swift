// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// The tables of a script that say how the model is cut into pipeline stages.
enum TorchStages {
  /// The mesh axis of the pipeline.
  static let axis = "pp"

  /// `STAGES`: of each part the numbers of its layers.
  static func table(_ decision: Decision) -> [String] {
    let graph = decision.graph
    let rows = decision.stages.map { stage in
      let units = stage.units.filter { !$0.copies.isEmpty }.map { unit in
        let names = TorchNames(graph, unit.segment)
        return "\"\(names.part)\": range(\(names.first + unit.copies.lowerBound), \(names.first + unit.copies.upperBound))"
      }
      return "    {\(units.joined(separator: ", "))},"
    }
    let chunks = decision.schedule.chunks > 1 ? "; rank r of the axis pp has r, r + \(decision.groups), …" : ""
    return ["# Pipeline stages in the model's order, each with layers of parts by their numbers\(chunks).", "STAGES = ["] + rows + ["]"]
  }

  /// `CARRIED`: what a part hands on to the next one, which may be another stage's.
  ///
  /// - Throws: `Inexpressible` for what does not pass between local tensors.
  static func carried(_ splits: TorchSplits) throws -> [String] {
    let graph = splits.graph
    var lines = ["# What passes between stages after a part: a sample's shape of each tensor, and how the axis tp has it.", "CARRIED = {"]
    for segment in graph.segments.indices.dropLast() {
      let tensors = try graph.segments[segment].exits.map { exit in
        let dimensions = graph.tensors[exit].dimensions
        guard let op = graph.producer[exit], dimensions.first.map({ graph.axes[$0].role == .batch }) ?? false else {
          throw Inexpressible(graph.tensors[exit].name, "has no samples, by which the pipeline cuts what stages hand on; plan it with --pp 1")
        }
        let heads = dimensions[(graph.flattened(exit) ?? dimensions.count)...]
        let extents =
          dimensions.dropFirst().dropLast(heads.count).map { TorchJob.extent($0, graph) }
          + (heads.isEmpty ? [] : ["\(heads.reduce(1) { $0 * graph.axes[$1].extent })"])
        return "((\(extents.joined(separator: ", "))\(extents.count == 1 ? "," : "")), \(try splits.text(splits.held(exit), of: exit, op)))"
      }
      lines.append("    \"\(splits.names(segment).part)\": [\(tensors.joined(separator: ", "))],")
    }
    return lines + ["}"]
  }
}
