// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities

/// `tpplan check`: whether a plan still is what its inputs and this program make of it.
struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Fail where a plan's model, hardware or prices have changed since it was made.",
    discussion: """
      Exit code 0: the files are those that the plan was made for, and this program prices it as it was priced. 1: something has changed, which is said.
      """,
    examples: [
      """
      tpplan check plans/gpt2-dgx-a100-8.json \\
        models/gpt2.json hardware/dgx-a100.json
      """
    ])

  @Argument(help: "A plan; - is standard input.", completion: .json)
  var plan: String

  @OptionGroup var files: ModelAndHardware

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    let plan = try readPlan()
    let (model, hardware) = try files.read()
    var changes: [(what: String, text: String)] = []
    if model.sha256 != plan.modelSHA256 {
      changes.append(
        (
          "model",
          "\(files.model) is not the model that the plan was made for"
            + difference(plan.decision.graph.joiningParts()?.graph ?? plan.decision.graph, model.graph)
        ))
    }
    if hardware.json.sha256 != plan.hardwareSHA256 {
      changes.append(("hardware", "\(files.hardware) is not the hardware that the plan was made for" + numbers(plan, hardware)))
    }
    let now = try Planner.predict(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    if now != plan.prediction {
      let (before, step) = (plan.prediction.step, now.step)
      let isWholeSame = step == before && now.memory == plan.prediction.memory
      changes.append(
        (
          "prices",
          "this program prices the plan otherwise than the one that made it: "
            + (isWholeSame
              ? "the step and the memory are the same, and their parts are not"
              : "a step \(step), before \(before) (\(step >= before ? "+" : "")\(percent(step / before - 1))); memory \(now.memory), before \(plan.prediction.memory)")
        ))
    }
    switch format {
    case .text:
      try printLines(
        changes.isEmpty
          ? ["\(self.plan): the model, the hardware and the prices are those that it was made with"]
          : changes.map(\.text) + ["`tpplan search` makes the plan anew"])
    case .json:
      try
        ([
          "is_current": .bool(changes.isEmpty), "changes": .array(changes.map { ["what": .string($0.what), "text": .string($0.text)] }),
          "step_seconds": .double(now.step.value), "planned_step_seconds": .double(plan.prediction.step.value),
        ] as JSON).printLine()
    }
    if !changes.isEmpty { throw ExitCode(Failure.verificationFailed) }
  }

  /// The plan; another file in its place is recognised.
  private func readPlan() throws -> Plan {
    do {
      return try PlanFile.read(plan)
    } catch DocumentError.wrongKind(let file, let found, let expected) {
      throw UsageError("\(DocumentError.wrongKind(file: file, found: found, expected: expected)); the order is PLAN MODEL HW")
    }
  }

  /// In what two models differ, as far as their names and parameters tell.
  private func difference(_ planned: Graph, _ now: Graph) -> String {
    if planned.name != now.name { return ": the plan is for \(planned.name), the file has \(now.name)" }
    let (before, after) = (planned.namedParameters, now.namedParameters)
    let count = "\(after.count) parameters"
    if before.count != after.count { return ": it has \(count), the plan's had \(before.count)" }
    if let (old, new) = zip(before, after).first(where: { $0.name != $1.name || $0.shape != $1.shape }) {
      return ": \(new.name) is \(new.shape), was \(old.name == new.name ? "" : old.name + " ")\(old.shape)"
    }
    return ": its parameters are the same, other things are not"
  }

  /// Which numbers differ.
  private func numbers(_ plan: Plan, _ hardware: HardwareFile) -> String {
    if hardware.name != plan.hardware.name { return ": the plan is for \(plan.hardware.name), the file has \(hardware.name)" }
    let changed = Set(hardware.numberNames + plan.hardware.numberNames).sorted().filter { hardware.number($0) != plan.hardware.number($0) }
    if changed.isEmpty { return ": no number differs, but names, sources or the form" }
    let shown = changed.prefix(5).map { name in
      "\(name) is \(hardware.number(name).map(figure) ?? "missing"), was \(plan.hardware.number(name).map(figure) ?? "missing")"
    }
    return ": " + shown.joined(separator: "; ") + (changed.count > 5 ? "; and \(changed.count - 5) more" : "")
  }
}
