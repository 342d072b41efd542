// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Execution
import Foundation
import Plans
import Quantities

/// What a generation prints.
struct GenerationText {
  let decision: Decision
  let report: GenerationReport
  /// Tokens of each prompt.
  let prompts: [Int]
  let kernel: String
  /// Lines about where parameters came from.
  var origins: [String] = []

  /// One line each.
  var lines: [String] {
    var lines = ["\(decision.graph.name), generate, \(counted(decision.ranks, "rank")), OpenBLAS kernel \(kernel)"] + origins
    for (number, sequence) in report.sequences.enumerated() {
      let text = { (tokens: ArraySlice<Int32>) in tokens.map(String.init).joined(separator: ",") }
      lines.append("  text \(number)       \(text(sequence[..<prompts[number]])) → \(text(sequence[prompts[number]...]))")
    }
    lines.append(
      "  first step   \(Seconds(report.firstSeconds)) for \(counted(report.firstPositions, "position")) of \(counted(prompts.count, "text"))")
    if let median = report.stepSeconds.median {
      lines.append("  each token   \(Seconds(median)), the median of \(counted(report.stepSeconds.count, "step")) of one position")
    }
    lines.append(
      "  memory       at most \(Bytes(report.peakBufferBytes.max() ?? 0)) of tensors, \(Bytes(report.cacheBytes.max() ?? 0)) of keys and values per rank"
    )
    if let verification = report.verification {
      let error = String(format: "%.2g", verification.maximumRelativeError)
      lines.append(
        verification.holds
          ? "  verified     logits of \(counted(verification.comparedPositions, "token")) equal one rank's without a cache, largest relative error \(error)"
          : "  DIFFERS      logits differ from one rank's without a cache: relative error \(error), tolerance "
            + String(format: "%.2g", verification.tolerance))
    }
    return lines
  }

  var json: JSON {
    var object = JSON.Object()
    object["mode"] = .string(RunMode.generate.rawValue)
    object["ranks"] = .int(decision.ranks)
    object["sequences"] = .array(report.sequences.map { .array($0.map { .int(Int($0)) }) })
    object["prompt_tokens"] = .array(prompts.map { .int($0) })
    object["new_tokens"] = .int(report.newTokens)
    object["first_step_seconds"] = .double(report.firstSeconds)
    object["first_step_positions"] = .int(report.firstPositions)
    object["step_seconds"] = .array(report.stepSeconds.map { .double($0) })
    object["cache_bytes"] = .array(report.cacheBytes.map { .int($0) })
    object["peak_tensor_bytes"] = .array(report.peakBufferBytes.map { .int($0) })
    object["blas_kernel"] = .string(kernel)
    object["verify"] = report.verification.map {
      .object(
        JSON.Object([
          ("compared_positions", .int($0.comparedPositions)), ("max_relative_error", .double($0.maximumRelativeError)),
          ("tolerance", .double($0.tolerance)),
        ]))
    }
    return .object(object)
  }
}
