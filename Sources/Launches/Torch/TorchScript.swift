// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Plans
import Strategies

/// A plan as a PyTorch script that runs under `torchrun`, and back.
///
/// Tables at the script's head are the plan: `MESH`, `JOB`, `PARTS` (layers, and what stands around them) and `PLAN`, which has a row for each operator.
/// The rest of the script carries them out with torch's own parallelism, and reading them gives the plan back.
package enum TorchScript {
  /// The script of a plan: torch and numpy are all that it needs.
  ///
  /// - Throws: `Inexpressible`, with the layer, operator or stage.
  package static func exporting(_ plan: Plan) throws -> String { try exporting(plan.decision) }

  static func exporting(_ decision: Decision) throws -> String {
    try refuseOthers(decision)
    let model = try TorchModel(TorchSplits(decision))
    // Among them what the modules that are used extend.
    let classes = TorchClass.allCases.filter(model.needs.contains).map(\.source)
    let modules = "# ---------------------------------------------------------------- the model"
    let isPipelined = decision.groups > 1
    let sections =
      [
        head(decision), TorchRuntime.imports(isPipelined: isPipelined), TorchRuntime.tableTypes, try tables(decision, model), TorchRuntime.options,
        TorchRuntime.values, modules + "\n" + TorchRuntime.graph, isPipelined ? TorchRuntime.stageLayers : TorchRuntime.wholeLayers,
      ] + classes + model.sources + [TorchRuntime.parallel, isPipelined ? TorchRuntime.stages : TorchRuntime.whole]
    return sections.joined(separator: "\n\n\n") + "\n"
  }

  private static func head(_ decision: Decision) -> String {
    let ranks = decision.ranks
    return #"""
      #!/usr/bin/env python3
      """\#(TorchJob.name(decision.graph)) on \#(ranks == 1 ? "one rank" : "\(ranks) ranks"), as tpplan planned it.

        torchrun --nproc-per-node \#(ranks) THIS_FILE --steps 5

      \#(decision.groups > 1 ? "MESH, JOB, PARTS, STAGES and PLAN" : "MESH, JOB, PARTS and PLAN") are the plan, and what drives the rest. Weights, tokens and labels are those of `tpplan run`, and so are the losses;
      --weights takes a checkpoint's. The last line of standard output is a JSON object with the losses, each before its step's update.
      """
      """#
  }

  /// The tables of a plan.
  static func tables(_ decision: Decision, _ model: TorchModel) throws -> String {
    let (splits, graph) = (model.splits, decision.graph)
    let axes = zip(splits.axes.names, decision.mesh)
    let mesh = ((decision.groups > 1 ? [(TorchStages.axis, decision.groups)] : []) + axes).map { "\"\($0.0)\": \($0.1)" }
    var lines = ["# ---------------------------------------------------------------- the plan"]
    lines.append(
      "# Axes, outermost first: neighbours on the last one are neighbouring ranks. The axes dp share out the batch"
        + (decision.groups > 1 ? ", pp has the pipeline." : "."))
    lines.append("MESH = {\(mesh.joined(separator: ", "))}")
    lines.append(TorchJob.table(decision.job, decision.groups > 1 ? decision.schedule.kind : nil, graph))
    lines.append(TorchJob.inputs(graph))
    lines.append("PARTS = [")
    for segment in graph.segments.indices {
      let names = splits.names(segment)
      var arguments = ["\"\(names.part)\""]
      if let module = names.module {
        arguments.append("\"\(module)\"")
        if names.first > 0 { arguments.append("first=\(names.first)") }
        arguments.append("copies=\(names.copies)")
        if decision.recompute[segment] != .none { arguments.append("recompute=\"\(decision.recompute[segment].rawValue)\"") }
      }
      lines.append("    Part(\(arguments.joined(separator: ", "))),")
    }
    lines.append("]")
    if decision.groups > 1 { lines += TorchStages.table(decision) + (try TorchStages.carried(splits)) }
    lines.append("PLAN = {")
    for segment in graph.segments.indices {
      lines.append("    \"\(splits.names(segment).part)\": {")
      lines += splits.rows[segment].map { "        \($0.text)," }
      lines.append("    },")
    }
    lines.append("}")
    if let loss = graph.loss, let op = graph.producer[loss] {
      let names = splits.names(graph.segmentOfOperator[op])
      lines.append("LOSS = PLAN[\"\(names.part)\"][\"\(names.relative(graph.operators[op].name))\"]")
    }
    let tied = model.tied.map { "\"\($0.reader)\": \"\($0.table)\"" }
    lines.append(
      decision.groups > 1
        ? "# Modules that have another's weight; on another stage, one that is equal." : "# Modules that have another's weight.")
    lines.append("TIED = {\(tied.joined(separator: ", "))}")
    lines.append("# Parameters that stand in a checkpoint otherwise than here.")
    lines.append("VIEWS = {")
    for segment in graph.segments.indices where !model.views[segment].isEmpty {
      lines.append("    \"\(splits.names(segment).part)\": {")
      lines += model.views[segment].map { "        \"\($0.name)\": \($0.view.text)," }
      lines.append("    },")
    }
    lines.append("}")
    return lines.joined(separator: "\n")
  }
}
