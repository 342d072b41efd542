// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies

/// A script that `TorchScript.exporting` wrote, as its tables have it.
package struct TorchLaunch: Sendable {
  /// Consecutive layers, or what stands around layers: a row of the table `PARTS`.
  package struct Part: Hashable, Sendable {
    package var name: String
    /// The module of a layer, with `{i}` for its number.
    package var module: String?
    package var first: Int
    package var copies: Int
    package var recompute: Recompute
    var rows: [Row]
  }

  /// A row of the table `PLAN`.
  struct Row: Hashable, Sendable {
    var name: String
    var split: String?
    var style: PythonLiteral?
    var zero: ZeROStage
    var over: String
  }

  /// Names and sizes of a stage's axes, outermost first.
  package var mesh: [(name: String, size: Int)]
  /// Nil where all ranks have all layers.
  package var pipeline: Pipeline?
  package var model: String
  package var job: Job
  package var parts: [Part]
  let file: String
  /// The whole script.
  let text: String

  var tensorAxis: Int? { mesh.firstIndex { $0.name == TorchAxes.tensorName } }

  /// What other launches say too.
  package var launch: Launch {
    var launch = Launch(.torch)
    let tensor = tensorAxis.map { mesh[$0].size } ?? 1
    launch.degrees.tensor = tensor
    launch.degrees.data = mesh.reduce(1) { $0.times($1.size) } / tensor
    if let pipeline {
      (launch.degrees.pipeline, launch.degrees.chunks) = (pipeline.groups, pipeline.schedule.chunks)
      (launch.degrees.schedule, launch.degrees.stageLayers) = (pipeline.schedule.kind, pipeline.layers(parts))
    }
    launch.accumulationSteps = job.microBatches
    launch.degrees.zero = parts.flatMap(\.rows).map(\.zero).max() ?? .none
    launch.degrees.isSequenceParallel = parts.contains { $0.rows.contains { $0.split == "sequence" } }
    launch.degrees.recompute = parts.map(\.recompute).max() ?? .none
    launch.leavesDataOpen = false
    launch.script = self
    launch.devices = mesh.reduce(pipeline?.groups ?? 1) { $0.times($1.size) }
    (launch.batch, launch.sequence, launch.precision, launch.mode) = (job.batch, job.sequence, job.precision, job.mode)
    (launch.optimizer, launch.software) = (job.optimizer, job.software)
    return launch
  }

  /// The request whose only plan is the script's.
  ///
  /// - Parameters:
  ///   - model: what the script trains, with its layers in one segment.
  ///   - cluster: of as many devices as the script's mesh.
  ///   - batch: in place of the script's, as the sequence is.
  /// - Throws: `LaunchError` where the tables are not those of the model.
  package func request(for model: Graph, on cluster: Cluster, batch: Int? = nil, sequence: Int? = nil) throws -> SearchRequest {
    let graph = try divided(model)
    var request = SearchRequest(
      graph: graph, cluster: cluster, batch: batch ?? job.batch, sequence: sequence ?? job.sequence, precision: job.precision, mode: job.mode,
      optimizer: job.optimizer)
    request.software = job.software
    (request.mesh, request.pipelineDegree, request.microBatches) = (mesh.map { $0.size }, pipeline?.groups ?? 1, job.microBatches)
    if let pipeline {
      (request.schedule, request.chunks, request.stageLayers) = (pipeline.schedule.kind, pipeline.schedule.chunks, pipeline.layers(parts))
    }
    (request.layersMayDiffer, request.shares) = (false, [])
    request.recomputeOfSegments = parts.map(\.recompute)
    var zero: [ZeROStage] = []
    for (op, node) in graph.operators.enumerated() {
      let segment = graph.segmentOfOperator[op]
      let name = TorchNames(graph, segment).relative(node.name)
      guard let row = parts[segment].rows.first(where: { $0.name == name }) else {
        throw LaunchError(file: file, place: "PLAN[\"\(parts[segment].name)\"]", "has no row of \(name), which \(model.name) has")
      }
      let rule = OperatorRules.rule(for: op, in: graph)
      let assignment = try mesh.indices.map { try assigned(row, $0, rule, in: parts[segment]) }
      request.constraints.append(StrategyConstraint(operator: node.name, strategy: Strategy(assignment: assignment, rule: rule), rule: rule))
      zero.append(row.zero)
    }
    request.zeroOfOperators = zero
    return request
  }

  private func assigned(_ row: Row, _ axis: Int, _ rule: OperatorRule, in part: Part) throws -> Int? {
    if mesh[axis].size == 1 { return nil }
    guard axis == tensorAxis else { return TorchAxes.batch(of: rule) }
    guard let split = row.split, let assignment = rule.assignment(split) else {
      throw LaunchError(
        file: file, place: place(part, row.name), "has the split \"\(row.split ?? "")\", which the operator does not know")
    }
    return assignment
  }

  private func place(_ part: Part, _ row: String) -> String { "PLAN[\"\(part.name)\"][\"\(row)\"]" }

  /// The model with its layers in the script's parts.
  private func divided(_ model: Graph) throws -> Graph {
    var graph = model
    var segment = 0
    var part = 0
    while segment < graph.segments.count {
      let names = TorchNames(graph, segment)
      let same = parts[part...].prefix { $0.module == names.module && $0.module != nil }
      let counts = names.module == nil ? [1] : same.map(\.copies)
      guard names.module != nil || part < parts.count && parts[part].module == nil, counts.reduce(0, +) == names.copies else {
        throw LaunchError(
          file: file, place: "PARTS", "has \(counts.reduce(0, +)) layers of \(names.module ?? names.part); \(model.name) has \(names.copies)")
      }
      if counts.count > 1 { graph = graph.dividing(segment, into: counts).graph }
      segment += counts.count
      part += counts.count
    }
    let found = graph.segments.indices.map { TorchNames(graph, $0).part }
    guard found == parts.map(\.name) else {
      throw LaunchError(
        file: file, place: "PARTS", "has \(parts.map(\.name).joined(separator: ", ")); \(model.name) has \(found.joined(separator: ", "))")
    }
    for (index, part) in parts.enumerated() {
      let names = TorchNames(graph, index)
      let known = Set(graph.segments[index].operators.map { names.relative(graph.operators[$0].name) })
      if let other = part.rows.first(where: { !known.contains($0.name) && !$0.name.hasPrefix("shared.") }) {
        throw LaunchError(file: file, place: place(part, other.name), "is no operator of \(model.name)")
      }
    }
    return graph
  }

  /// Rows in which the script does something else than a plan says: in one that was exported and not changed there are none.
  ///
  /// - Throws: `Inexpressible` where the plan cannot be exported at all.
  package func findings(against decision: Decision) throws -> [Finding] {
    let meant = try TorchScript.reading(TorchScript.exporting(decision), file: file)
    let other = changedLine(from: meant.text)
    var findings = pipelineFindings(meant)
    for (part, other) in zip(parts, meant.parts) {
      for row in other.rows where !part.rows.contains(row) {
        let found = part.rows.first { $0.name == row.name }
        let (own, expected) = (found?.style?.description ?? "none", row.style?.description ?? "none")
        let text =
          found == nil
          ? "is missing; where layouts are as the other rows say, it is \(expected)"
          : own != expected
            ? "has the style \(own); what the operators split takes \(expected)" : "sums over \"\(found?.over ?? "")\", not \"\(row.over)\""
        findings.append(Finding(.illegal, place(part, row.name), text))
      }
      for row in part.rows where !other.rows.contains(where: { $0.name == row.name }) {
        findings.append(Finding(.illegal, place(part, row.name), "is there without need: no reader of it takes another layout"))
      }
    }
    if let other {
      findings.append(
        Finding(.doubtful, "line \(other)", "below the tables is not as it was exported; the tables alone were read, and priced is what they say"))
    }
    return findings
  }

  /// Stages that are not those which the cut of the layers gives.
  private func pipelineFindings(_ meant: TorchLaunch) -> [Finding] {
    let (own, expected) = (pipeline?.stages ?? [], meant.pipeline?.stages ?? [])
    func text(_ units: [Pipeline.Unit]) -> String {
      "{" + units.map { "\"\($0.part)\": range(\($0.layers.lowerBound), \($0.layers.upperBound))" }.joined(separator: ", ") + "}"
    }
    return zip(own, expected).enumerated().filter { $0.element.0 != $0.element.1 }.map {
      Finding(.illegal, "STAGES[\($0.offset)]", "is \(text($0.element.0)); a plan with so many layers on each stage has \(text($0.element.1))")
    }
  }

  /// The first line below the tables that is not another script's.
  private func changedLine(from other: String) -> Int? {
    func lines(_ text: String) -> [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }
    let (own, written) = (lines(text), lines(other))
    guard let first = TorchRuntime.options.split(separator: "\n").first, let start = written.firstIndex(of: first) else { return nil }
    guard let place = own.firstIndex(of: first) else { return own.count }
    let (rest, expected) = (own[place...], written[start...])
    if rest.elementsEqual(expected) { return nil }
    let alike = zip(rest, expected).prefix { $0 == $1 }.count
    return place + min(alike, rest.count - 1) + 1
  }
}
