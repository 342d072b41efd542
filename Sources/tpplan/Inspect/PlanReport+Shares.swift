// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Plans
import Quantities
import Report
import Strategies

extension BatchShares {
  /// Neighbours with equal shares together: `5 5 3 3` is `2 × 5, 2 × 3`.
  var text: String {
    var runs: [(count: Int, samples: Int)] = []
    for samples in samples {
      if runs.last?.samples == samples { runs[runs.count - 1].count += 1 } else { runs.append((1, samples)) }
    }
    return runs.map { $0.count == 1 ? "\($0.samples)" : "\($0.count) × \($0.samples)" }.joined(separator: ", ")
  }

  var json: JSON { ["batch_shares": .array(samples.map { .int($0) })] }
}

extension PlanReport {
  /// Who has how many samples, where they are not shared out evenly.
  func sharesLines(_ style: TextStyle) -> [String] {
    guard let shares = decision.shares else { return [] }
    let inner = decision.mesh.reduce(1, *) / decision.mesh[shares.axis]
    func kinds(_ rank: Int) -> String {
      Set((rank * inner..<(rank + 1) * inner).map { cluster.kindOfDevice[$0] }).sorted().map { cluster.kinds[$0].name }.joined(separator: " and ")
    }
    var lines = ["  Samples of a micro-batch's \(shares.total) along axis \(shares.axis); all that is split along the batch there is cut so."]
    var table = TextTable([("places", .right), ("samples each", .right), ("on", .left)])
    var first = 0
    while first < shares.samples.count {
      let end =
        (first..<shares.samples.count).first { shares.samples[$0] != shares.samples[first] || kinds($0) != kinds(first) } ?? shares.samples.count
      table.add(span(first..<end), "\(shares.samples[first])", kinds(first))
      first = end
    }
    lines += table.lines(style)
    return lines
  }
}
