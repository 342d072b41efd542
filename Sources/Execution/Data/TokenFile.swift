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
    var largest: Int { self == .uint16 ? Int(UInt16.max) : Int(UInt32.max) }

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
        file: path, input: "tokens", problem: "take \(mapped.bytes.count) bytes, which are no whole number of \(element.rawValue); see --token-type")
    }
  }

  /// - Parameter sequences: counted from the start of the training; they come round.
  /// - Throws: `unusableInput` for the first token that is not below `vocabulary`.
  func check(sequences: Range<Int>, length: Int, vocabulary: Int) throws(ExecutionError) {
    let all = self.sequences(of: length)
    guard !sequences.isEmpty, vocabulary <= element.largest else { return }
    let (first, count) = (sequences.lowerBound % all, min(sequences.count, all))
    // Each has one token more, its last label.
    let end = min(first + count, all)
    for run in [first..<end, 0..<(first + count - end)] where !run.isEmpty {
      let tokens = run.lowerBound * length..<run.upperBound * length + 1
      if let wrong = firstToken(in: tokens, from: vocabulary) { throw unknown(wrong, vocabulary) }
    }
  }

  /// The place of the first token that is at least `bound`.
  private func firstToken(in tokens: Range<Int>, from bound: Int) -> Int? {
    func find<Token: FixedWidthInteger>(_: Token.Type) -> Int? {
      let all = mapped.bytes.bindMemory(to: Token.self)
      // Blocks without a branch for each token.
      for start in stride(from: tokens.lowerBound, to: tokens.upperBound, by: 4096) {
        let block = start..<min(start + 4096, tokens.upperBound)
        var most: Token = 0
        for i in block { most = max(most, Token(littleEndian: all[i])) }
        if most >= bound { return block.first { Token(littleEndian: all[$0]) >= bound } }
      }
      return nil
    }
    switch element {
    case .uint16: return find(UInt16.self)
    case .uint32: return find(UInt32.self)
    }
  }

  private func unknown(_ place: Int, _ vocabulary: Int) -> ExecutionError {
    .unusableInput(
      file: path, input: "tokens",
      problem: "hold \(self[place]) at place \(place), read as \(element.rawValue); the model's vocabulary has \(vocabulary). See --token-type")
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
        throw unknown(start + position, vocabulary)
      }
      values[i] = Int32(token)
    }
  }
}
