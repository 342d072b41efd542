// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Strategies

/// What a request must have before its space can be laid out.
extension Space {
  /// - Throws: `PlannerError.usage`.
  static func check(_ request: SearchRequest) throws {
    func usage(_ text: String) -> PlannerError { PlannerError.usage(text) }
    func list(_ values: [Int], _ separator: String) -> String { values.map(String.init).joined(separator: separator) }
    if request.batch < 1 { throw usage("--batch \(request.batch): at least one sequence is needed") }
    if let degree = request.pipelineDegree, degree < 1 { throw usage("--pp \(degree): at least one stage is needed") }
    if let stages = request.stageLayers, stages.isEmpty { throw usage("--stages names no stage; give the layers of each, for example 3,5") }
    if let size = request.microBatchSize, size < 1 { throw usage("--micro-batch \(size): at least one sequence is needed") }
    if let mesh = request.mesh {
      let devices = request.cluster.deviceCount
      // No extent is above the device count, so that the product of all stays small.
      guard 1...Layout.maximumAxes ~= mesh.count, mesh.allSatisfy({ 1...devices ~= $0 }) else {
        throw usage("--mesh \(list(mesh, "x")): expected 1 to \(Layout.maximumAxes) extents of 1 to \(devices), the number of devices")
      }
    }
    if request.mode == .train && request.graph.loss == nil {
      throw usage("the model \(request.graph.name) has no loss, so it cannot be trained; plan it with --mode forward")
    }
    for constraint in request.constraints { try check(constraint, request.graph) }
  }

  /// A pattern must mean some operator.
  private static func check(_ constraint: StrategyConstraint, _ graph: Graph) throws {
    if graph.operators.contains(where: { constraint.matches($0.name) }) { return }
    let (pattern, copy) = Graph.blockPattern(of: constraint.pattern)
    if copy != nil, graph.operators.contains(where: { $0.name == pattern }) {
      throw PlannerError.usage("\(constraint.option): all copies of a block are split alike; write {i} for the number: \(pattern)")
    }
    let plain = String(pattern.drop { $0 == "*" || $0 == "." })
    let near = graph.operatorNames(like: plain)
    throw PlannerError.usage(
      "\(constraint.option): no operator of \(graph.name) has such a name; "
        + (near.isEmpty ? "`tpplan inspect` prints the names of a plan's" : "did you mean \(near.joined(separator: " or "))?"))
  }
}
