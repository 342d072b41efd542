// SPDX-License-Identifier: GPL-3.0-or-later

/// The ranges of a tensor's dimensions that an array holds, row-major.
package typealias Region = [Range<Int>]

extension [Range<Int>] {
  /// The number of elements.
  package var elementCount: Int { reduce(1) { $0 * $1.count } }

  package func intersection(_ other: [Range<Int>]) -> [Range<Int>] { zip(self, other).map { $0.clamped(to: $1) } }

  /// Cuts a run of the region's elements, counted in row-major order, into regions of which each is a run itself, in order.
  ///
  /// A run is the end of one row, whole rows, and the start of another; the ends are cut like that again, one dimension further in.
  package func regions(ofElements run: Range<Int>) -> [[Range<Int>]] {
    precondition(run.lowerBound >= 0 && run.upperBound <= elementCount, "elements \(run) of \(elementCount)")
    if run.isEmpty { return [] }
    guard let rows = first else { return [[]] }
    let inner = Array(dropFirst())
    let rowLength = inner.elementCount
    func row(_ index: Int) -> Range<Int> { rows.lowerBound + index..<rows.lowerBound + index + 1 }
    func partOfRow(_ index: Int, _ elements: Range<Int>) -> [[Range<Int>]] {
      inner.regions(ofElements: elements.lowerBound - index * rowLength..<elements.upperBound - index * rowLength).map { [row(index)] + $0 }
    }
    let firstWhole = (run.lowerBound + rowLength - 1) / rowLength
    let endWhole = run.upperBound / rowLength
    // Inside one row.
    if firstWhole > endWhole { return partOfRow(endWhole, run) }
    var regions: [[Range<Int>]] = []
    if run.lowerBound < firstWhole * rowLength { regions += partOfRow(firstWhole - 1, run.lowerBound..<firstWhole * rowLength) }
    if firstWhole < endWhole { regions.append([rows.lowerBound + firstWhole..<rows.lowerBound + endWhole] + inner) }
    if endWhole * rowLength < run.upperBound { regions += partOfRow(endWhole, endWhole * rowLength..<run.upperBound) }
    return regions
  }
}
