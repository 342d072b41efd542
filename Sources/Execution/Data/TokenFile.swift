// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A text as token ids, one after the other without a header, mapped: little-endian numbers of 16 or 32 bits, as nanoGPT and others write them.
///
/// Sequences of T tokens are taken from it one after the other; sequence i begins at token i·T, and the token after its last is its last label.
/// After the last whole one the first comes again.
package struct TokenFile {
  package enum Element: String, CaseIterable, Sendable {
    case uint16
    case uint32

    var byteCount: Int { self == .uint16 ? 2 : 4 }

    /// The smaller one that can say every token of a vocabulary.
    package static func smallest(forVocabulary size: Int) -> Element { size <= 1 << 16 ? .uint16 : .uint32 }
  }

  package let path: String
  let element: Element
  private let mapped: MappedFile
  /// Tokens in the file.
  package let count: Int

  /// - Throws: `cannotRead`; `unusableInput` where the size is not one of whole tokens.
  package init(path: String, element: Element) throws(ExecutionError) {
    self.path = path
    self.element = element
    mapped = try MappedFile.open(path)
    count = mapped.bytes.count / element.byteCount
    guard mapped.bytes.count % element.byteCount == 0 else {
      throw .unusableInput(
        file: path, input: "tokens", problem: "has \(mapped.bytes.count) bytes, which are no whole number of \(element.rawValue); see --token-type")
    }
  }

  /// The sequences of `length` tokens that have a label for each of them.
  func sequences(of length: Int) -> Int { max(0, count - 1) / length }

  subscript(index: Int) -> UInt32 {
    switch element {
    case .uint16: UInt32(UInt16(littleEndian: mapped.bytes.loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)))
    case .uint32: UInt32(littleEndian: mapped.bytes.loadUnaligned(fromByteOffset: index * 4, as: UInt32.self))
    }
  }

  /// Writes some positions of a sequence.
  /// - Parameters:
  ///   - sequence: counted from the start of the training; they come round.
  ///   - positions: from the sequence's first token; one more than `length` is the last label.
  /// - Throws: `unusableInput` for a token that is not below `vocabulary`.
  func copy(
    _ positions: Range<Int>, ofSequence sequence: Int, length: Int, vocabulary: Int, into values: UnsafeMutablePointer<Int32>
  ) throws(ExecutionError) {
    let start = sequence % sequences(of: length) * length
    for (i, position) in positions.enumerated() {
      let token = self[start + position]
      guard token < vocabulary else {
        throw .unusableInput(
          file: path, input: "token \(start + position)",
          problem: "is \(token), read as \(element.rawValue); the model's vocabulary has \(vocabulary). See --token-type")
      }
      values[i] = Int32(token)
    }
  }
}
