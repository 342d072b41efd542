// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import Lowering
import Plans
import Quantities
import Report

extension ProgramReport {
  /// - Throws: `UsageError` where the plan has no such rank.
  init(_ plan: Plan, option rank: Int) throws {
    let ranks = plan.decision.ranks
    guard 0..<ranks ~= rank else { throw UsageError("--rank \(rank): the plan has " + (ranks == 1 ? "one rank, 0" : "ranks 0 to \(ranks - 1)")) }
    try self.init(plan, rank: rank)
  }

  func lines(_ style: TextStyle) -> [String] {
    let coordinates = program.coordinates.map(String.init).joined(separator: ",")
    let kind = cluster.kind(of: program.rank)
    let heading =
      "Rank \(program.rank): \(kind.name) on node \(cluster.nodeOfDevice[program.rank]), stage \(program.stage), place \(coordinates) on the mesh "
      + program.mesh.map(String.init).joined(separator: " × ")
    let instructions = instructions
    let numberWidth = "\(max(0, instructions.count - 1))".count
    let actionWidth = instructions.map(\.action.count).max() ?? 0
    let microBatchWidth = "\(plan.decision.job.microBatches - 1)".count + 1
    func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }
    let hanging = numberWidth + actionWidth + microBatchWidth + 6
    let body = instructions.enumerated().flatMap { index, line -> [String] in
      let number = String(repeating: " ", count: numberWidth - "\(index)".count) + "\(index)"
      let microBatch = padded(line.microBatch.map { "m\($0)" } ?? "", microBatchWidth)
      let action = line.action
      var text = "\(number)  \(style.apply(code(of: action), padded(action, actionWidth)))  \(microBatch)  \(line.subject)"
      if !line.note.isEmpty { text += "  \(line.note)" }
      if !line.ranks.isEmpty {
        text +=
          (action == "send" ? "  to " : action == "receive" ? "  from " : "  ")
          + (["send", "receive"].contains(action) && line.ranks.count == 1 ? "rank " : "ranks ") + list(line.ranks)
      }
      return style.fit(text, hanging: hanging)
    }
    return style.fit(style.heading(heading)) + [
      "\(counted(instructions.count, "instruction")) of one step; m: the micro-batch; [..]: this rank's part"
    ] + body
  }

  private func code(of action: String) -> TextStyle.Code? {
    switch action {
    case "forward", "recompute": .blue
    case "backward": .yellow
    case "update": .green
    case "send", "receive", "exchange": .magenta
    case "free", "load", "zero", "add": .faint
    default: .cyan
    }
  }

  private func list(_ ranks: [Int]) -> String { ranks.map(String.init).joined(separator: " ") }

  var json: JSON {
    [
      "rank": .int(program.rank), "stage": .int(program.stage), "coordinates": .array(program.coordinates.map { .int($0) }),
      "node": .int(cluster.nodeOfDevice[program.rank]), "device": .string(cluster.kind(of: program.rank).name),
      "instructions": .array(
        instructions.map { line in
          var object = JSON.Object([("action", .string(line.action)), ("subject", .string(line.subject))])
          object["micro_batch"] = line.microBatch.map { .int($0) }
          if !line.ranks.isEmpty { object["ranks"] = .array(line.ranks.map { .int($0) }) }
          if !line.note.isEmpty { object["note"] = .string(line.note) }
          return .object(object)
        }),
    ]
  }
}
