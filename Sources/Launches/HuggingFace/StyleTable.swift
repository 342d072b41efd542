// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A plan's patterns while they are looked up: which of them mean a module of the model.
struct StyleTable {
  private let styles: [ModuleStyle]
  private let matching: PatternMatching
  private let names: [[String]]
  private var used: Set<Int> = []

  /// - Parameter names: those of each operator's module.
  init(_ styles: [ModuleStyle], names: [[String]], matching: PatternMatching) {
    (self.styles, self.names, self.matching) = (styles, names, matching)
  }

  /// A style is also that of a module whose weight is named.
  private func pattern(_ index: Int) -> String {
    let pattern = styles[index].pattern
    return pattern.hasSuffix(".weight") ? String(pattern.dropLast(7)) : pattern
  }

  mutating func style(of names: [String]) -> ParallelStyle? {
    for index in styles.indices where names.contains(where: { matching.matches(pattern(index), $0) }) {
      used.insert(index)
      guard let style = ParallelStyle(styles[index].style) else { continue }
      if case .container = style { continue }
      return style
    }
    return nil
  }

  /// Whether a module around another adds up what that leaves partial.
  mutating func isAddedUp(_ names: [String]) -> Bool {
    var isAddedUp = false
    for index in styles.indices {
      guard case .container(let addsUp)? = ParallelStyle(styles[index].style), names.contains(where: { contains(index, $0) }) else { continue }
      used.insert(index)
      isAddedUp = isAddedUp || addsUp
    }
    return isAddedUp
  }

  private func contains(_ index: Int, _ name: String) -> Bool {
    name.indices.contains { name[$0] == "." && matching.matches(pattern(index), String(name[..<$0])) }
  }

  /// Styles that there are not, and patterns that mean no module.
  func findings() -> [Finding] {
    let known = Set(names.joined())
    // Of the alternatives of a regular expression few are names of one model's modules.
    if matching == .globs {
      return used.isEmpty && !styles.isEmpty
        ? [Finding(.doubtful, "tensor_parallel", "no pattern means a module of the model; all devices do the same")] : []
    }
    return styles.indices.compactMap { index in
      let style = styles[index]
      guard let read = ParallelStyle(style.style) else {
        let hint = nearestSpelling(to: style.style, among: ParallelStyle.named.keys.sorted()).map { "; did you mean \"\($0)\"?" } ?? ""
        return Finding(.illegal, style.pattern, "transformers has no style \"\(style.style)\"\(hint)")
      }
      if used.contains(index) {
        return read == .other
          ? Finding(.ignored, style.pattern, "\(style.style) is priced as replicated: expert parallelism is not read from styles") : nil
      }
      return Finding(.doubtful, style.pattern, "means no module of the model; \(advice(style.pattern, known))")
    }
  }

  private func advice(_ pattern: String, _ known: Set<String>) -> String {
    let starred = pattern.replacing(#/[0-9]+/#, with: "*")
    if starred != pattern, known.contains(where: { matching.matches(starred, $0) }) {
      return "layers have no numbers in a plan: write \(starred)"
    }
    let candidates = known.sorted().filter { $0.contains(".") || $0 == "lm_head" }
    // From the base model on, as most plans are written.
    let short = candidates.map { name in
      let dot = pattern.hasPrefix("layers.") ? name.firstIndex(of: ".") : nil
      return dot.map { String(name[name.index(after: $0)...]) } ?? name
    }
    return nearestSpelling(to: pattern, among: short).map { "did you mean \($0)?" } ?? "its modules are \(short.prefix(3).joined(separator: ", ")), …"
  }
}
