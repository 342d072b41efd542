// SPDX-License-Identifier: GPL-3.0-or-later

/// The global batches that `--batch max` compares: powers of two times odd divisors of the usual batch, times what given micro-batches ask for, so
/// that each divides well over replicas and micro-batches.
struct BatchSet: CustomStringConvertible {
  /// More sequences than any job's; each may be a micro-batch.
  static let largest = Space.mostMicroBatches
  /// What divides every batch.
  private let unit: Int
  private let oddFactors: [Int]

  /// - Parameter request: its batch is the usual one.
  /// - Throws: `PlannerError.usage` where given micro-batches are more than any batch has.
  init(_ request: SearchRequest) throws {
    let (count, size) = (max(1, request.microBatches ?? 1), max(1, request.microBatchSize ?? 1))
    let (unit, overflows) = count.multipliedReportingOverflow(by: size)
    guard !overflows, unit <= Self.largest else {
      throw PlannerError.usage("--batch max looks at batches of up to \(Self.largest), which are less than one of \(count) micro-batches of \(size)")
    }
    self.unit = unit
    let odd = request.batch >> request.batch.trailingZeroBitCount
    oddFactors = (1...Int(Double(odd).squareRoot())).filter { odd % $0 == 0 }.flatMap { $0 * $0 == odd ? [$0] : [$0, odd / $0] }
  }

  /// The batches of a range, in ascending order.
  func batches(_ range: ClosedRange<Int>) -> [Int] {
    let last = min(range.upperBound, Self.largest)
    return oddFactors.flatMap { odd -> [Int] in
      guard odd <= last / unit else { return [] }
      return sequence(first: odd * unit) { $0 <= last / 2 ? $0 * 2 : nil }.filter { $0 >= range.lowerBound }
    }.sorted()
  }

  /// Where the comparison starts: the largest batch that is no more than the usual one.
  func start(usual: Int) -> Int { batches(1...max(usual, unit)).last ?? unit }

  var description: String {
    let factors = oddFactors.sorted().map { String($0 * unit) }
    return "powers of two times \(factors.count > 1 ? "one of " : "")\(factors.joined(separator: " "))"
  }
}
