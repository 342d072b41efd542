// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

extension Graph {
  /// The names under which transformers has the module that an operator is, or is a part of, with `*` for numbers, the usual one first.
  ///
  /// A module that is stored together with others has their name; experts have that of each, and that of all of them together.
  func moduleNames(_ op: OperatorID) -> [String] {
    var names: [String] = []
    let plain = operators[op].name
    let isBias = operators[op].kind == .bias
    if let weight = ownWeight(op), let source = tensors[weight].parameter, let dot = source.checkpointName.lastIndex(of: ".") {
      names.append(Self.withStars(String(source.checkpointName[..<dot])))
    }
    names.append(Self.withStars(isBias && plain.hasSuffix(".bias") ? String(plain.dropLast(5)) : plain))
    names += names.compactMap(Self.newerExperts)
    return names.reduce(into: []) { unique, name in if !unique.contains(name) { unique.append(name) } }
  }

  /// The weight (of a bias the vector) that an operator alone reads.
  func ownWeight(_ op: OperatorID) -> TensorID? {
    operators[op].operands.first { tensors[$0].isParameter && consumers[$0].count == 1 }
  }

  static func withStars(_ name: String) -> String { name.replacing("{i}", with: "*").replacing("{j}", with: "*") }

  /// Since version 5 all experts of a layer are one module, `mlp.experts`, whose first weight is that of gate and up together; a router is `mlp.gate`.
  private static func newerExperts(_ name: String) -> String? {
    let renamed = name.replacing(".block_sparse_moe.", with: ".mlp.")
    for (old, new) in [
      (".w1", "gate_up"), (".w3", "gate_up"), (".gate_proj", "gate_up"), (".up_proj", "gate_up"), (".w2", "down"), (".down_proj", "down"),
    ]
    where renamed.hasSuffix(".experts.*" + old) {
      return String(renamed.dropLast(2 + old.count)) + ".\(new)_proj"
    }
    return renamed == name ? nil : renamed
  }
}

/// How patterns mean modules.
enum PatternMatching {
  /// A pattern is a module's name with `*` for each number, from the whole model or from its base model on (transformers).
  case names
  /// `*` stands for any characters (DeepSpeed's regular expressions).
  case globs

  func matches(_ pattern: String, _ name: String) -> Bool {
    switch self {
    case .names: return pattern == name || name.hasSuffix("." + pattern) && !name.dropLast(pattern.count + 1).contains(".")
    case .globs: return Self.glob(Array(pattern.utf8), Array(name.utf8))
    }
  }

  private static func glob(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
    let star = UInt8(ascii: "*")
    var (p, n, mark, restart) = (0, 0, 0, -1)
    while n < name.count {
      if p < pattern.count, pattern[p] == star {
        (restart, mark, p) = (p, n, p + 1)
      } else if p < pattern.count, pattern[p] == name[n] {
        (p, n) = (p + 1, n + 1)
      } else if restart >= 0 {
        mark += 1
        (p, n) = (restart + 1, mark)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == star }
  }
}
