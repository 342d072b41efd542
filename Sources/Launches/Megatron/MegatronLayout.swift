// SPDX-License-Identifier: GPL-3.0-or-later

/// `--pipeline-model-parallel-layout`: which virtual stage holds the embedding (E), which layers (t) and the loss (L), in the model's order, divided by `|`;
/// `t*3` and `(tt|)*4` repeat (megatron/core/transformer/pipeline_parallel_layer_layout.py).
struct MegatronLayout: Hashable {
  /// Layers on each virtual stage.
  var layers: [Int]

  /// What is wrong with a layout.
  struct Problem: Error, Hashable {
    let text: String
  }

  /// More letters no model has.
  private static let longest = 1 << 16

  init(layers: [Int]) { self.layers = layers }

  /// - Throws: `Problem`.
  init(parsing text: String) throws {
    let written = try Self.unrolled(text.filter { $0 != "," && !$0.isWhitespace })
    if let odd = written.first(where: { !"EtmL|".contains($0) }) {
      throw Problem(text: "found the letter \(odd), expected E, t, m, L and | alone")
    }
    let stages = written.split(separator: "|", omittingEmptySubsequences: false)
    let letters = stages.joined()
    guard letters.first == "E", letters.filter({ $0 == "E" }).count == 1 else { throw Problem(text: "the embedding, E, is not the first, once") }
    guard letters.last == "L", letters.filter({ $0 == "L" }).count == 1 else { throw Problem(text: "the loss, L, is not the last, once") }
    if letters.contains("m") { throw Problem(text: "it has layers of multi-token prediction, m, which are not priced") }
    guard stages.first?.contains("E") ?? false else { throw Problem(text: "the first stage is empty") }
    guard stages.last?.contains("L") ?? false else { throw Problem(text: "the last stage is empty") }
    layers = stages.map { $0.count { $0 == "t" } }
    if let empty = layers.indices.dropFirst().dropLast().first(where: { layers[$0] == 0 }) { throw Problem(text: "stage \(empty) is empty") }
  }

  /// Brackets first, then single letters, as the program does.
  private static func unrolled(_ text: String) throws -> String {
    var result = ""
    var rest = text[...]
    while let character = rest.first {
      rest.removeFirst()
      var unit = String(character)
      if character == "(" {
        guard let close = rest.firstIndex(of: ")") else { throw Problem(text: "( is not closed") }
        unit = try unrolledLetters(String(rest[..<close]))
        rest = rest[rest.index(after: close)...]
        guard rest.first == "*" else { throw Problem(text: "expected *, and how often, after )") }
      }
      try append(unit, times(&rest), to: &result)
    }
    return result
  }

  private static func unrolledLetters(_ text: String) throws -> String {
    var result = ""
    var rest = text[...]
    while let character = rest.first {
      rest.removeFirst()
      try append(String(character), times(&rest), to: &result)
    }
    return result
  }

  private static func append(_ unit: String, _ count: Int?, to result: inout String) throws {
    guard let count, result.count + unit.count * min(count, longest) <= longest else { throw Problem(text: "it repeats more than any model does") }
    result += String(repeating: unit, count: count)
  }

  /// The number after a `*`; 1 without one, nil where it is none.
  private static func times(_ rest: inout Substring) -> Int? {
    guard rest.first == "*" else { return 1 }
    rest.removeFirst()
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    return Int(digits).flatMap { $0 <= longest ? $0 : nil }
  }

  /// `Et*3|t*4|t*3L`.
  var text: String {
    layers.enumerated().map { stage, count in
      let layers = count == 0 ? "" : count == 1 ? "t" : "t*\(count)"
      return (stage == 0 ? "E" : "") + layers + (stage == self.layers.count - 1 ? "L" : "")
    }.joined(separator: "|")
  }
}
