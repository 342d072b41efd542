// SPDX-License-Identifier: GPL-3.0-or-later

/// The rows of a box of an array [experts, batch, slots, features…] that hold tokens, each with its number, next to each other.
///
/// Marks [experts, batch, slots] are 1 where the array's row holds a token, otherwise 0. A record is a row's number in the box, as the bits of an
/// integer, and then the part of the row that lies in the box.
package struct MarkedRows: Sendable {
  /// Dimensions that number rows.
  package static let rowDimensions = 3

  /// The box in rows.
  private let extents: [Int]
  /// Rows of the array from one index of the box to the next, and the box's first.
  private let strides: [Int]
  private let firstRow: Int
  /// Elements of the array's rows, and where the box begins in each.
  private let pitch: Int
  private let offset: Int
  private let toRecord: BoxTransfer
  private let fromRecord: BoxTransfer

  /// Elements of a record.
  package let recordLength: Int
  /// Rows of the box, with a token or without.
  package var rows: Int { extents.reduce(1, *) }

  /// - Parameters:
  ///   - box: lies in `region`.
  ///   - region: what the array holds, row-major.
  package init(box: [Range<Int>], of region: [Range<Int>]) {
    func strides(_ extents: some Collection<Int>) -> [Int] {
      var strides: [Int] = []
      for extent in extents.reversed() { strides.append((strides.last ?? 1) * extent) }
      return Array(([1] + strides.dropLast()).reversed()).suffix(extents.count)
    }
    func start(_ strides: [Int], _ dimensions: Range<Int>) -> Int {
      zip(strides, dimensions).reduce(0) { $0 + $1.0 * (box[$1.1].lowerBound - region[$1.1].lowerBound) }
    }
    let (rowDimensions, elementDimensions) = (0..<Self.rowDimensions, Self.rowDimensions..<region.count)
    extents = box[rowDimensions].map(\.count)
    self.strides = strides(region[rowDimensions].map(\.count))
    firstRow = start(self.strides, rowDimensions)
    let parts = box[elementDimensions].map(\.count)
    let (own, packed) = (strides(region[elementDimensions].map(\.count)), strides(parts))
    pitch = region[elementDimensions].reduce(1) { $0 * $1.count }
    offset = start(own, elementDimensions)
    toRecord = BoxTransfer(extents: parts, sourceStrides: own, destinationStrides: packed)
    fromRecord = BoxTransfer(extents: parts, sourceStrides: packed, destinationStrides: own)
    recordLength = 1 + toRecord.count
  }

  /// Writes the records of the rows that hold tokens, in order; returns how many there are.
  package func pack(_ array: UnsafePointer<Float>, marks: UnsafePointer<Float>, into records: UnsafeMutablePointer<Float>) -> Int {
    if toRecord.count == 0 { return 0 }
    var record = records
    for e in 0..<extents[0] {
      for b in 0..<extents[1] {
        let (line, number) = (firstRow + e * strides[0] + b * strides[1], (e * extents[1] + b) * extents[2])
        for slot in 0..<extents[2] where marks[line + slot] != 0 {
          record.pointee = Float(bitPattern: UInt32(number + slot))
          toRecord.copy(array + (line + slot) * pitch + offset, into: record + 1)
          record += recordLength
        }
      }
    }
    return (record - records) / recordLength
  }

  /// Puts the rows of records into their places in the array, and marks them.
  package func unpack(
    _ records: UnsafePointer<Float>, count: Int, into array: UnsafeMutablePointer<Float>, marks: UnsafeMutablePointer<Float>
  ) {
    for index in 0..<count {
      let record = records + index * recordLength
      let number = Int(record.pointee.bitPattern)
      precondition(number < rows, "a row of number \(number) in a box of \(rows)")
      let (line, slot) = number.quotientAndRemainder(dividingBy: extents[2])
      let (e, b) = line.quotientAndRemainder(dividingBy: extents[1])
      let row = firstRow + e * strides[0] + b * strides[1] + slot
      fromRecord.copy(record + 1, into: array + row * pitch + offset)
      marks[row] = 1
    }
  }
}
