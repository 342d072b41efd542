// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Plans
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Report
@testable import tpplan

@Suite struct DrawingTests {
  @Test("Boxes of a graph do not overlap, edges lead down, and long ones run past the boxes between", arguments: 0..<40)
  func layout(seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    let count = Int.random(in: 1...24, using: &random)
    let boxes = (0..<count).map { _ in
      LayeredLayout.Box(width: .random(in: 20...200, using: &random), height: .random(in: 15...70, using: &random))
    }
    var edges: [(from: Int, to: Int)] = []
    for to in 0..<count {
      for from in 0..<to where Double.random(in: 0..<1, using: &random) < (from == to - 1 ? 0.7 : 0.1) { edges.append((from, to)) }
    }
    let layout = LayeredLayout(boxes, edges: edges)
    func left(_ i: Int) -> Double { layout.centers[i].x - boxes[i].width / 2 }
    func right(_ i: Int) -> Double { layout.centers[i].x + boxes[i].width / 2 }
    func top(_ i: Int) -> Double { layout.centers[i].y - boxes[i].height / 2 }
    func bottom(_ i: Int) -> Double { layout.centers[i].y + boxes[i].height / 2 }
    for i in 0..<count {
      #expect(left(i) >= -1e-9 && top(i) >= -1e-9 && right(i) <= layout.width + 1e-9 && bottom(i) <= layout.height + 1e-9)
      for j in 0..<i {
        let apart = right(i) <= left(j) || right(j) <= left(i) || bottom(i) <= top(j) || bottom(j) <= top(i)
        #expect(apart, "boxes \(j) and \(i)")
      }
    }
    for (edge, route) in zip(edges, layout.routes) {
      #expect(bottom(edge.from) < top(edge.to) && route.first! == (layout.centers[edge.from].x, bottom(edge.from)))
      #expect(route.last! == (layout.centers[edge.to].x, top(edge.to)))
      guard route.count == 4 else { continue }
      // Its straight part meets no box.
      for i in 0..<count where bottom(i) > route[1].y && top(i) < route[2].y {
        #expect(route[1].x < left(i) || route[1].x > right(i), "edge \(edge) and box \(i)")
      }
    }
  }

  @Test("Every conversion of a plan stands on an edge of its block's graph, once", arguments: committedPlans)
  func conversions(name: String) throws {
    let report = try PlanReport(try committedPlan(name))
    var inGraphs: [OperatorGraph.Exchange] = []
    for segment in report.graph.segments.indices {
      for case .conversion(let exchanges) in OperatorGraph(report, segment: segment).nodes { inGraphs += exchanges }
    }
    var known: [String] = []
    // Those of one tensor for one reader that are alike in everything are drawn once.
    for part in report.prediction.collectives where part.cause == .forward || part.cause == .backward {
      let text = "\(part.op) \(part.tensor) \(part.cause) \(part.kind?.rawValue ?? "") \(part.axes) \(part.bytes) \(part.time)"
      if !known.contains(text) { known.append(text) }
    }
    #expect(inGraphs.count == known.count)
  }

  @Test("No call of a collective is lost between a plan and its graphs, and all that graphs show is in the page's tables", arguments: committedPlans)
  func calls(name: String) throws {
    let plan = try committedPlan(name)
    let report = try PlanReport(plan)
    let text = String(decoding: try ReportPage(plan).bytes, as: UTF8.self)
    var count = 0
    for segment in report.graph.segments.indices {
      let graph = OperatorGraph(report, segment: segment)
      for (number, node) in graph.nodes.enumerated() {
        switch node {
        case .seam: break
        case .conversion(let exchanges): for line in OperatorGraph.lines(exchanges) { #expect(text.contains(line), "\(line)") }
        case .op(_, _, _, _, let notes):
          count += notes.reduce(0) { $0 + $1.calls.count }
          for words in graph.exchanged(atNode: number) { #expect(text.contains("<li>\(words)</li>"), "\(words)") }
          let inputs = graph.inputs(ofNode: number)
          #expect(inputs.isEmpty || text.contains("<td>\(inputs.joined(separator: ", "))</td>"))
        }
      }
    }
    let causes: [Prediction.CollectivePart.Cause] = [.interior, .weights, .parts, .gradient, .updated, .tied]
    #expect(count == report.prediction.collectives.filter { causes.contains($0.cause) }.reduce(0) { $0 + $1.calls })
  }

  @Test("Differential: where a stage's time goes adds up to the step, and is what `run` compares with", arguments: Schedule.Kind.allCases)
  func stageTime(kind: Schedule.Kind) throws {
    let plan = try tinyPipeline(kind)
    for group in 0..<2 {
      let time = try stageTimes(plan)[group]
      #expect(abs(time.whole / plan.prediction.step - 1) < 1e-9)
      let parts = plan.prediction.parts(ofGroup: group, microBatches: plan.decision.job.microBatches)
      #expect(abs((time.computing + time.collectives).value / (parts[.forward] + parts[.backward]) - 1) < 1e-9)
      #expect(abs((time.collectives + time.gradientSync).value - parts.communication) < 1e-9 * plan.prediction.step.value)
      #expect(time.update.value == parts[.optimizer] && abs(time.waiting.value - parts[.stages]) < 1e-9 * plan.prediction.step.value)
    }
  }
}
