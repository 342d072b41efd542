// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Testing

struct ValueGeneratorTests {
  private let generator = ValueGenerator(seed: 1)

  /// Golden: the check values of `torch_tp.py`'s header.
  @Test func checkValues() {
    let key = generator.key("tokens")
    #expect(
      (0..<4).map { ValueGenerator.bits(key: key, $0) } == [
        0x90EA_7FD4_2CF8_BC95, 0x0738_3A6C_27C3_E895, 0x9A58_102B_90D4_09BC, 0xC62F_01D6_E664_B425,
      ])
    var f = [Float](repeating: 0, count: 4)
    generator.fill(&f, name: "lm_head.weight", rule: .uniform, offset: 0, strides: [1], extents: [4])
    #expect(f == [0.9185518026351929, -0.296384334564209, 0.326396107673645, -0.7059881687164307])
  }

  @Test func rulesRoundAsStated() {
    var (f, weight, norm) = ([Float](repeating: 0, count: 19), [Float](repeating: 0, count: 19), [Float](repeating: 0, count: 19))
    generator.fill(&f, name: "w", rule: .uniform, offset: 5, strides: [1], extents: [19])
    generator.fill(&weight, name: "w", rule: .weight, offset: 5, strides: [1], extents: [19])
    generator.fill(&norm, name: "w", rule: .normWeight, offset: 5, strides: [1], extents: [19])
    #expect(weight == f.map { Float(0.02) * $0 })
    #expect(norm == weight.map { 1 + $0 })
  }

  /// Differential: a shard of a transposed parameter is the same cells of the whole.
  @Test func boxIsASliceOfTheWhole() {
    let (rows, columns) = (12, 10)
    var whole = [Float](repeating: 0, count: rows * columns)
    generator.fill(&whole, name: "w", rule: .weight, offset: 0, strides: [columns, 1], extents: [rows, columns])
    var box = [Float](repeating: 77, count: 4 * 3 * 2 + 1)
    // Columns 5..<9, then rows 2, 4, 6, each twice.
    generator.fill(&box, name: "w", rule: .weight, offset: 2 * columns + 5, strides: [1, 2 * columns, 0], extents: [4, 3, 2])
    var expected: [Float] = []
    for column in 5..<9 {
      for row in [2, 4, 6] { expected += [whole[row * columns + column], whole[row * columns + column]] }
    }
    #expect(box == expected + [77])
  }

  /// Oracle: the formula of the header; samples and positions of one rank are a box of T.
  @Test func tokens() {
    let (sequence, vocabulary) = (6, 50257)
    var part = [Int32](repeating: -1, count: 2 * 3)
    generator.tokens(into: &part, samples: 1..<3, positions: 4..<7, sequence: sequence, vocabulary: vocabulary)
    let key = generator.key("tokens")
    let expected = (1..<3).flatMap { b in
      (4..<7).map { t in Int32(((ValueGenerator.bits(key: key, b * (sequence + 1) + t) >> 32) * UInt64(vocabulary)) >> 32) }
    }
    #expect(part == expected)
    #expect(generator.choice("tokens", sequence + 1 + 4, below: vocabulary) == expected[0])
  }
}
