// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Plans

/// What shells offer where a verb takes a value.
extension CompletionKind {
  /// Plans, hardware files and tables.
  static let json = CompletionKind.file(extensions: ["json"])
  static let models = CompletionKind.file(extensions: ["json", "onnx"])
  static let zeroStages = CompletionKind.list(["0", "1", "2", "3"])

  /// The operators of the plan that the command line names.
  static let operators = CompletionKind.custom { words, _, _ in
    for word in words.dropFirst() where word.hasSuffix(".json") {
      if let plan = try? PlanFile.read(word) { return plan.decision.graph.operators.map(\.name) }
    }
    return []
  }
}
