// SPDX-License-Identifier: GPL-3.0-or-later

/// Options of Megatron-LM as its own tests have them: a mapping of options to values in YAML (`MODEL_ARGS` of a `model_config.yaml`), beside one of
/// environment variables.
enum MegatronYAML {
  /// The script that such a text means, line by line; nil for a text that is none.
  static func script(_ source: String) -> String? {
    let lines = source.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    guard lines.contains(where: { option($0) != nil }) else { return nil }
    return lines.map { line in
      guard let (name, value) = member(line) else { return "" }
      if name.hasPrefix("--") { return words(value).map { ([name] + $0).joined(separator: " ") } ?? "" }
      let isVariable = line.first?.isWhitespace ?? false && name.allSatisfy { $0 == "_" || $0.isUppercase || $0.isNumber }
      return isVariable && ShellWord.isName(name) ? "\(name)=\(quoted(value))" : ""
    }.joined(separator: "\n")
  }

  private static func option(_ line: Substring) -> String? { member(line).flatMap { $0.name.hasPrefix("--") ? $0.name : nil } }

  /// `name: value`, without a comment; nil for other lines.
  private static func member(_ line: Substring) -> (name: String, value: String)? {
    let text = line.drop(while: \.isWhitespace)
    let name = text.prefix { $0 == "-" || $0 == "_" || $0.isLetter || $0.isNumber }
    let rest = text.dropFirst(name.count)
    guard !name.isEmpty, rest.first == ":", rest.count == 1 || rest.dropFirst().first == " " else { return nil }
    var value = rest.dropFirst()
    if let comment = value.firstRange(of: " #") { value = value[..<comment.lowerBound] }
    return (String(name), String(value.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed()))
  }

  /// The words of an option's value; nil where the option is off.
  private static func words(_ value: String) -> [String]? {
    if ["false", "null", "~"].contains(value) { return nil }
    if value == "true" || value.isEmpty { return [] }
    guard value.hasPrefix("["), value.hasSuffix("]") else { return [quoted(value)] }
    return value.dropFirst().dropLast().split(separator: ",").map { quoted(String($0.drop(while: \.isWhitespace))) }
  }

  /// As one word of a shell, in which variables are still replaced.
  private static func quoted(_ value: String) -> String {
    var text = value[...]
    if text.count >= 2, let quote = text.first, "\"'".contains(quote), text.last == quote { text = text.dropFirst().dropLast() }
    return "\"\(text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("`", with: "\\`"))\""
  }
}
