// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// AutoTP: which modules are split, by regular expressions on the names of their weights (`module_inject/autotp_config.py`).
extension DeepSpeedReading {
  mutating func readTensorParallelism() {
    var size = settings.int("tensor_parallel.autotp_size", .within(0, 1 << 20)) ?? 0
    if size == 0, case .object(let inner)? = settings.value("tensor_parallel.tp"), case .int(let older)? = inner["tp_size"] {
      if older > 1 << 20 { settings.add(.illegal, "tensor_parallel.tp.tp_size", "found \(older), expected a number of devices") }
      size = older > 1 << 20 ? 0 : older
    }
    guard size > 1 else { return }
    launch.degrees.tensor = size
    if settings.bool("tensor_parallel.tp_overlap_comm") == true {
      settings.add(.ignored, "tensor_parallel.tp_overlap_comm", "collectives behind tensor-parallel products are priced in full")
    }
    let place = "tensor_parallel.partition_config"
    if case .object(let configuration)? = settings.value(place) {
      launch.styles = specifications(configuration, place)
      if configuration["use_default_specs"] == true { launch.styles! += Self.usual }
      return
    }
    launch.styles = Self.usual
    settings.add(
      .ignored, settings.value("tensor_parallel.preset_model") == nil ? "tensor_parallel.autotp_size" : "tensor_parallel.preset_model",
      "AutoTP takes the split from the model's code; priced is that of the usual names: q, k, v, gate and up projections by columns, output and down "
        + "projections by rows")
  }

  /// What AutoTP's presets have, and what transformers' plans have, for models of the usual names.
  private static let usual =
    ["q_proj", "k_proj", "v_proj", "query_key_value", "gate_proj", "up_proj", "dense_h_to_4h", "w1", "w3", "fc1"].map {
      ModuleStyle("*.\($0)", "colwise")
    }
    + ["o_proj", "attention.dense", "down_proj", "dense_4h_to_h", "w2", "out_proj", "fc2"].map { ModuleStyle("*.\($0)", "rowwise") }

  private mutating func specifications(_ configuration: JSON.Object, _ place: String) -> [ModuleStyle] {
    guard case .array(let specifications)? = configuration["layer_specs"] else { return [] }
    var styles: [ModuleStyle] = []
    for (index, specification) in specifications.enumerated() {
      let here = "\(place).layer_specs[\(index)]"
      guard case .object(let members) = specification, case .array(let patterns)? = members["patterns"] else {
        settings.add(.illegal, here, "found \(specification.summary), expected an object with an array of patterns")
        continue
      }
      var type = "column"
      if case .string(let stated)? = members["partition_type"] { type = stated.lowercased() }
      guard
        let style = ["column": members["gather_output"] == true ? "colwise_gather_output" : "colwise", "row": "rowwise", "skip": "replicate"][type]
      else {
        settings.add(.illegal, "\(here).partition_type", "found \"\(type)\", expected column, row or skip")
        continue
      }
      let isPacked = type == "column" && members["shape"].map { $0 != .null } ?? false
      if isPacked { settings.add(.ignored, "\(here).shape", "each part of a fused weight is cut by itself: priced as one weight for each part") }
      for pattern in patterns {
        guard case .string(let text) = pattern, let globs = PatternGlobs(text)?.globs else {
          settings.add(
            .ignored, "\(here).patterns", "\(pattern.summary) is no pattern that is read here: names with .* and \\d+, [abc] and (one|other)")
          continue
        }
        styles += globs.map { ModuleStyle($0, isPacked ? "packed_colwise" : style) }
      }
    }
    return styles
  }
}

/// The patterns with `*` for any characters that a simple regular expression means.
struct PatternGlobs {
  private(set) var globs: [String] = [""]
  /// More alternatives than any model has projections are not written out.
  private static let most = 64

  /// - Returns: nil for a regular expression that is not simple.
  init?(_ expression: String) {
    var rest = Substring(expression)
    // It is matched from the name's beginning on (`re.match`).
    if rest.first == "^" { rest = rest.dropFirst() }
    var isWhole = false
    while let character = rest.popFirst() {
      switch character {
      case "$" where rest.isEmpty: isWhole = true
      case ".":
        if rest.first == "*" || rest.first == "+" {
          rest = rest.dropFirst()
          append(["*"])
        } else {
          return nil
        }
      case "\\":
        guard let escaped = rest.popFirst() else { return nil }
        if escaped == "d" {
          guard rest.first == "+" || rest.first == "*" else { return nil }
          rest = rest.dropFirst()
          append(["*"])
        } else {
          guard !escaped.isLetter, !escaped.isNumber else { return nil }
          append([String(escaped)])
        }
      case "[":
        guard let end = rest.firstIndex(of: "]") else { return nil }
        let members = rest[..<end]
        guard !members.isEmpty, members.allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" }) else { return nil }
        rest = rest[rest.index(after: end)...]
        append(members.map(String.init))
      case "(":
        guard let end = rest.firstIndex(of: ")") else { return nil }
        var members = rest[..<end]
        if members.hasPrefix("?:") { members = members.dropFirst(2) }
        guard members.allSatisfy({ $0.isLetter || $0.isNumber || "_|".contains($0) }) else { return nil }
        rest = rest[rest.index(after: end)...]
        append(members.split(separator: "|", omittingEmptySubsequences: false).map(String.init))
      default:
        guard character.isLetter || character.isNumber || character == "_" || character == "-" else { return nil }
        append([String(character)])
      }
      if globs.count > Self.most { return nil }
    }
    if !isWhole { append(["*"]) }
    // A pattern is that of a weight; what it means is the module.
    globs = globs.map { $0.hasSuffix(".weight") ? String($0.dropLast(7)) : $0 }
  }

  private mutating func append(_ alternatives: [String]) { globs = globs.flatMap { glob in alternatives.map { glob + $0 } } }
}
