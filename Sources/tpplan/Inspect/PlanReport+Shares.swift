// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Plans
import Quantities
import Report
import Strategies

extension BatchShares {
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
