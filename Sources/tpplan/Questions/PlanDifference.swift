// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Documents
import Lowering
import ModelGraph
import Plans
import Quantities
import Report
import Strategies

/// Two plans of one model, layer by layer.
struct PlanDifference {
  /// Consecutive copies of one operator, which are alike in each of the plans.
  struct Row: Hashable {
    /// `transformer.h.{i}.mlp.c_fc`, or `transformer.h.0–3.mlp.c_fc`.
    let name: String
    /// With its ZeRO stage, without its mesh.
    let strategies: [String]
    let meshes: [[Int]]
    /// Forward and backward of one copy and micro-batch, with what is communicated; of it what is communicated.
    let times: [Seconds]
    let communication: [Seconds]
    /// Weights, gradients and optimizer state of one copy; and what is kept of it for backward, of one micro-batch.
    let resident: [Bytes]
    let kept: [Bytes]

    var isChanged: Bool {
      strategies[0] != strategies[1] || meshes[0] != meshes[1] || resident[0] != resident[1] || kept[0] != kept[1] || times[0] != times[1]
    }
  }

  let plans: [Plan]
  let rows: [Row]
  let move: CheckpointMove
  private let names: [String]

  /// - Throws: `UsageError` where they are of two models.
  init(_ a: Plan, _ b: Plan, names: (String, String)) throws {
    guard a.decision.graph.name == b.decision.graph.name, Self.operators(a).map(\.name) == Self.operators(b).map(\.name) else {
      throw UsageError(
        "\(names.0) is a plan of \(a.decision.graph.name), and \(names.1) one of \(b.decision.graph.name): two plans of one model can be compared")
    }
    plans = [a, b]
    self.names = [names.0, names.1]
    rows = Self.rows(a, b)
    move = CheckpointMove(from: a.decision, to: b.decision)
  }

  /// Each operator of the model with, for each of its copies, the operator of the plan that it is.
  private static func operators(_ plan: Plan) -> [(name: String, copies: [OperatorID])] {
    let graph = plan.decision.graph
    var found: [(name: String, copies: [OperatorID])] = []
    var place: [String: Int] = [:]
    for op in graph.operators.indices {
      let name = Graph.withoutFirstCopy(graph.operators[op].name)
      if place[name] == nil {
        place[name] = found.count
        found.append((name, []))
      }
      if let index = place[name] { found[index].copies += Array(repeating: op, count: graph.segments[graph.segmentOfOperator[op]].repeats) }
    }
    return found
  }

  private static func rows(_ a: Plan, _ b: Plan) -> [Row] {
    zip(operators(a), operators(b)).flatMap { first, second -> [Row] in
      // Runs of copies that are one operator in both plans.
      var runs: [(copies: Range<Int>, ops: (OperatorID, OperatorID))] = []
      for (copy, ops) in zip(first.copies, second.copies).enumerated() {
        if let last = runs.last, last.ops == ops {
          runs[runs.count - 1].copies = last.copies.lowerBound..<copy + 1
        } else {
          runs.append((copy..<copy + 1, ops))
        }
      }
      return runs.map { run in
        let name = runs.count == 1 ? first.name : first.name.replacing("{i}", with: span(run.copies))
        let pairs = [(a, run.ops.0), (b, run.ops.1)]
        let parts = pairs.map { plan, op in plan.prediction.operators[op] }
        return Row(
          name: name, strategies: pairs.map { strategy($0, $1) },
          meshes: pairs.map { plan, op in plan.decision.mesh(ofOperator: op).filter { $0 > 1 } }, times: parts.map { $0.forward + $0.backward },
          communication: parts.map(\.communication),
          resident: parts.map(\.resident), kept: parts.map(\.kept))
      }
    }
  }

  private static func strategy(_ plan: Plan, _ op: OperatorID) -> String {
    let decision = plan.decision
    let rule = OperatorRules.rule(for: op, in: decision.graph)
    var text = Strategy(assignment: decision.assignments[op], rule: rule).words(rule).joined(separator: ",")
    if decision.zero[op] != .none, decision.graph.operators[op].operands.contains(where: { decision.graph.tensors[$0].isParameter }) {
      text += ", ZeRO \(decision.zero[op].rawValue)"
    }
    return text
  }

  /// Of an element of a parameter, and of its optimizer's state.
  private var elementBytes: (value: Int, state: Int) {
    let job = plans[1].decision.job
    guard job.mode == .train else { return (job.precision.elementBytes, 0) }
    return (job.precision.elementBytes, job.precision.masterBytes + (job.optimizer == .adamw ? 8 : 0))
  }

  /// For each device what it gets, and what it has already.
  private var bytes: (moved: [Bytes], kept: [Bytes]) {
    let (value, state) = elementBytes
    func bytes(_ values: [Int], _ states: [Int]) -> [Bytes] { zip(values, states).map { Bytes(Double($0 * value + $1 * state)) } }
    return (bytes(move.moved, move.movedState), bytes(move.kept, move.keptState))
  }

  /// `train, batch 32 x 4096, bf16, adamw`.
  private static func job(_ decision: Decision) -> String {
    let job = decision.job
    return
      ([job.mode.rawValue, "batch \(job.batch)" + (job.sequence.map { " x \($0)" } ?? ""), job.precision.rawValue]
      + (job.mode == .train ? [job.optimizer.rawValue] : [])).joined(separator: ", ")
  }

  func lines(_ style: TextStyle, all: Bool) -> [String] {
    let (a, b) = (plans[0], plans[1])
    var lines = [style.heading("\(a.decision.graph.name): \(names[0]) and \(names[1])")]
    lines += zip(names, plans).flatMap { style.fit("  \($0): \($1.decision.splitText)") }
    var table = TextTable([("", .left), (names[0], .right), (names[1], .right), ("", .left)])
    func change(_ a: Double, _ b: Double) -> String { a == b || a == 0 ? "" : (b > a ? "+" : "") + percent(b / a - 1) }
    table.add("devices", "\(a.decision.ranks) of \(a.hardware.name)", "\(b.decision.ranks) of \(b.hardware.name)", "")
    table.add("batch", "\(a.decision.job.batch)", "\(b.decision.job.batch)", "")
    table.add("step", "\(a.prediction.step)", "\(b.prediction.step)", change(a.prediction.step.value, b.prediction.step.value))
    let rates = plans.map { $0.decision.rateText(step: $0.prediction.step) }
    table.add("rate", rates[0], rates[1], change(a.decision.rate(a.prediction.step), b.decision.rate(b.prediction.step)))
    table.add("memory", "\(a.prediction.memory)", "\(b.prediction.memory)", change(a.prediction.memory.value, b.prediction.memory.value))
    table.add("bubble", percent(a.prediction.bubble), percent(b.prediction.bubble), "")
    lines += table.lines(style)
    let jobs = plans.map { Self.job($0.decision) }
    if jobs[0] != jobs[1] { lines += style.fit("  The jobs differ (\(jobs[0]); \(jobs[1])), so that steps do not compare.") }
    lines.append("")
    let shown = all ? rows : rows.filter(\.isChanged)
    if shown.isEmpty {
      lines.append("Every operator is split alike.")
    } else {
      lines.append(
        style.heading("Operators") + ", of one copy and one micro-batch" + (all ? "" : "; \(rows.count - shown.count) of \(rows.count) are alike"))
      var table = TextTable([
        ("operator", .left), ("time", .right), ("comm.", .right), ("state", .right), ("kept", .right), ("strategy", .left),
      ])
      table.hasRemarks = true
      for row in shown {
        func pair<Value>(_ values: [Value]) -> String {
          let (a, b) = ("\(values[0])", "\(values[1])")
          return a == b ? a : "\(a) → \(b)"
        }
        table.add(row.name, pair(row.times), pair(row.communication), pair(row.resident), pair(row.kept), pair(row.strategies))
      }
      lines += table.lines(style)
    }
    let (moved, kept) = bytes
    let total = moved.reduce(.zero, +)
    let what = elementBytes.state > 0 ? "parameters and optimizer state" : "parameters"
    lines += [
      "", style.heading("Going on under \(names[1])") + " with what \(names[0]) has trained",
      total == .zero
        ? "  every device has its \(what) already"
        : "  \(total) of \(what) go to other devices, at most \(moved.max() ?? .zero) to one; \(kept.reduce(.zero, +)) are where they will be",
    ]
    return lines
  }

  var json: JSON {
    let (moved, kept) = bytes
    return [
      "plans": .array(
        plans.map { plan in
          [
            "plan": .string(plan.decision.splitText), "devices": .int(plan.decision.ranks), "step_seconds": .double(plan.prediction.step.value),
            "memory_bytes_per_device": .double(plan.prediction.memory.value), "bubble": .double(plan.prediction.bubble),
          ]
        }),
      "operators": .array(
        rows.map { row in
          [
            "operator": .string(row.name), "is_changed": .bool(row.isChanged), "strategies": .array(row.strategies.map { .string($0) }),
            "meshes": .array(row.meshes.map { .array($0.map { .int($0) }) }),
            "seconds": .array(row.times.map { .double($0.value) }), "communication_seconds": .array(row.communication.map { .double($0.value) }),
            "resident_bytes": .array(row.resident.map { .double($0.value) }), "kept_bytes": .array(row.kept.map { .double($0.value) }),
          ]
        }),
      "checkpoint": [
        "moved_bytes": .array(moved.map { .double($0.value) }), "kept_bytes": .array(kept.map { .double($0.value) }),
      ],
    ]
  }
}
