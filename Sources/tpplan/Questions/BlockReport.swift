// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Plans
import Quantities
import Search
import Strategies

/// The operators of a layer, or of a part of one, each with the best strategy that it does not have.
struct BlockReport {
  struct Choice {
    let op: OperatorID
    let strategy: Strategy
  }

  let plan: Plan
  /// As it was asked for.
  let name: String
  let operators: [OperatorID]
  private let rules: [OperatorRule]
  private let alternatives: [Alternative<Choice>]

  /// - Parameters:
  ///   - name: the beginning of operators' names, up to a dot; a copy's index may stand in place of `{i}`. Or `layer 3`, or what `inspect` heads a part of
  ///     the model with: `embedding`, `block`, `head`.
  ///   - seconds: wall-clock time for all alternatives.
  /// - Throws: what a search throws.
  /// - Returns: nil where no operator's name begins so.
  init?(_ plan: Plan, name: String, seconds: Double, stop: StopCondition, progress: @escaping @Sendable (Int, Int) -> Void) throws {
    let graph = plan.decision.graph
    let (pattern, copy) = Graph.blockPattern(of: name + ".")
    let prefix = copy == nil ? name + "." : pattern
    let space = try OperatorSpace(plan)
    let layer = ExplainCommand.number(of: "layer", in: name)
    let named = graph.operators.indices.filter { op in
      let (own, segment) = (graph.operators[op].name, graph.segmentOfOperator[op])
      if graph.nameOfLayers(segment) == name { return true }
      if let layer { return graph.holdsLayers(segment) && graph.copies(of: segment).contains(layer) }
      let isMeant = own.hasPrefix(prefix) || Graph.withoutFirstCopy(own).hasPrefix(prefix)
      return isMeant && (copy.map { graph.copies(of: graph.segmentOfOperator[op]).contains($0) } ?? true)
    }
    // Of operators that are alike on several stages the first.
    operators = named.reduce(into: []) { found, op in if !found.contains(where: { space.areOne($0, op) }) { found.append(op) } }
    if operators.isEmpty { return nil }
    (self.plan, self.name) = (plan, name)
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    self.rules = rules
    let choices = operators.flatMap { op in
      let chosen = plan.decision.assignments[op]
      return Strategy.all(for: rules[op], mesh: plan.decision.mesh(ofOperator: op)).filter { $0.assignment != chosen }.map { strategy in
        (choice: Choice(op: op, strategy: strategy), request: space.request(pinning: op, to: strategy, rules[op]))
      }
    }
    alternatives = try Alternative.compare(choices, seconds: seconds, stop: stop, progress: progress)
  }

  private var step: Seconds { plan.prediction.step }

  private func others(_ op: OperatorID) -> [Alternative<Choice>] { Alternative.sortedByResult(alternatives.filter { $0.choice.op == op }) }

  func lines(_ style: TextStyle) -> [String] {
    let graph = plan.decision.graph
    let lines = [
      style.heading(name) + ", \(counted(operators.count, "operator")): each with the best strategy that it does not have, beside a step of \(step)",
      "  Everything around the operators as in the plan; the other operators as suits each alternative best.",
    ].flatMap { style.fit($0, hanging: 2) }
    var table = TextTable([
      ("operator", .left), ("strategy", .left), ("time", .right), ("kept", .right), ("next best", .left), ("step", .right), ("difference", .right),
      ("", .left),
    ])
    for op in operators {
      let part = plan.prediction.operators[op]
      let chosen = Strategy(assignment: plan.decision.assignments[op], rule: rules[op]).words(rules[op]).joined(separator: ",")
      let next = others(op).first
      let (time, difference, note) = next.map { $0.result.cells(beside: step) } ?? ("", "", "no other")
      table.add(
        graph.shortName(of: op), chosen, "\(part.forward + part.backward)", "\(part.kept)",
        next.map { $0.choice.strategy.words(rules[op]).joined(separator: ",") } ?? "", time, difference, note)
    }
    return lines + table.lines(style) + Alternative.unfinishedLines(alternatives)
  }

  var json: JSON {
    let graph = plan.decision.graph
    return [
      "name": .string(name), "step_seconds": .double(step.value),
      "operators": .array(
        operators.map { op in
          let chosen = Strategy(assignment: plan.decision.assignments[op], rule: rules[op])
          return [
            "operator": .string(graph.operators[op].name), "strategy": .string(chosen.words(rules[op]).joined(separator: ",")),
            "alternatives": .array(
              others(op).map { item in
                var object = JSON.Object([("strategy", .string(item.choice.strategy.words(rules[op]).joined(separator: ",")))])
                for (key, value) in item.result.members(beside: step) { object[key] = value }
                return .object(object)
              }),
          ]
        }),
    ]
  }
}
