// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension Graph {
  /// Whether a sample is an image with its text, whose agreement is learned.
  package var learnsPairs: Bool { operators.contains { $0.kind == .contrastiveLoss } }
}

extension Decision {
  /// What a step works on: `8 sequences of 128`, `512 samples`, `32768 pairs of an image and 77 tokens`.
  package var batchText: String { batchText { "\($0)" } }

  /// The same with counts as they are to be written.
  func batchText(_ written: (Int) -> String) -> String {
    let (of, plural) = (written(job.batch), job.batch == 1 ? "" : "s")
    if graph.learnsPairs {
      return "\(of) pair\(plural) of an image and " + (job.sequence.map { "\(written($0)) tokens" } ?? "a text")
    }
    return job.sequence.map { "\(of) sequence\(plural) of \(written($0))" } ?? "\(of) sample\(plural)"
  }

  /// How much of that in a second: `1.20 k tokens/s`.
  package func rateText(step: Seconds) -> String {
    "\(abbreviated(rate(step))) \(graph.learnsPairs ? "pairs" : job.sequence != nil ? "tokens" : "samples")/s"
  }

  /// Tokens, pairs or samples in a second.
  package func rate(_ step: Seconds) -> Double {
    let samples = step > .zero ? Double(job.batch) / step.value : 0
    return graph.learnsPairs ? samples : samples * Double(job.sequence ?? 1)
  }
}

/// `1 220 845`: a count whose thousands stand apart.
func grouped(_ count: Int) -> String {
  let digits = String(abs(count))
  var text = ""
  for (index, digit) in digits.enumerated() {
    // Four digits are read at a glance.
    if index > 0, digits.count > 4, (digits.count - index).isMultiple(of: 3) { text += "\u{202F}" }
    text.append(digit)
  }
  return count < 0 ? "-" + text : text
}

/// As `counted`, with thousands apart: `32 768 pairs`.
func many(_ count: Int, _ singular: String, plural: String? = nil) -> String {
  "\(grouped(count)) \(count == 1 ? singular : plural ?? singular + "s")"
}

/// `1`, `1 and 2`, `0, 1 and 2`.
func enumerated(_ words: [String]) -> String {
  words.count < 2 ? words.joined() : words.dropLast().joined(separator: ", ") + " and " + words[words.count - 1]
}
