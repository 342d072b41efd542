// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// The values of a command's options. What is wrong with one is a finding, and the option then counts as left out.
struct MegatronArguments {
  private let options: [String: MegatronCommand.Option]
  private let hasLines: Bool
  private let script: ShellScript
  private let program: String?
  private(set) var findings: [Finding] = []
  /// Variables whose values the caller has to give, each once.
  private(set) var openVariables: [String] = []
  /// Options whose values are none.
  private var refused: Set<String> = []

  /// Of several options of one name the last counts, as for argparse.
  init(_ command: MegatronCommand) {
    (hasLines, script, program) = (command.hasLines, command.script, command.program)
    var options: [String: MegatronCommand.Option] = [:]
    for option in command.options {
      let place = Self.place(option, command.hasLines)
      if let before = options[option.name], before.values != option.values {
        findings.append(
          Finding(
            .doubtful, place,
            "is given twice, \(before.values.joined(separator: " ")) and \(option.values.joined(separator: " ")); the last counts"))
      }
      options[option.name] = option
    }
    self.options = options
    for option in command.options where options[option.name] == option { check(option) }
  }

  private static func place(_ option: MegatronCommand.Option, _ hasLines: Bool) -> String {
    hasLines ? "\(option.name) (line \(option.line))" : option.name
  }

  /// Where an option stands; the name alone, where it does not.
  func place(_ name: String) -> String { options[name].map { Self.place($0, hasLines) } ?? name }

  mutating func find(_ severity: Finding.Severity, _ name: String, _ text: String) { findings.append(Finding(severity, place(name), text)) }

  /// Whether an option is known, and has as many values as it takes.
  private mutating func check(_ option: MegatronCommand.Option) {
    let name = option.name
    if let removed = MegatronFlags.removed.first(where: { $0.flag == name }) {
      return find(.illegal, name, "is no option of Megatron-LM any more; say \(removed.instead)")
    }
    if let unpriced = MegatronFlags.unpriced.first(where: { $0.flag == name }) { return find(.ignored, name, unpriced.why) }
    if MegatronFlags.former.contains(name) { return find(.illegal, name, "was an option of earlier versions; Megatron-LM of today refuses it") }
    if MegatronFlags.isOff(name) { return }
    guard MegatronFlags.known.contains(name) else {
      let nearest = nearestSpelling(to: name, among: MegatronFlags.known.sorted())
      let text = "is no option of Megatron-LM that is known" + (nearest.map { "; did you mean \($0)?" } ?? "")
      if let program, !MegatronProgram.hasNoOptionsOfItsOwn(program) {
        return find(.doubtful, name, text + (nearest == nil ? "; it may be one of \(program)'s own" : " Or it is one of \(program)'s own"))
      }
      return find(.illegal, name, text)
    }
    guard let values = MegatronFlags.read.first(where: { $0.flag == name })?.values else { return }
    switch values {
    case .none where !option.values.isEmpty: find(.illegal, name, "takes no value, and has \(option.values.joined(separator: " "))")
    case .one where option.values.count != 1:
      find(.illegal, name, option.values.isEmpty ? "needs a value" : "takes one value, and has \(option.values.joined(separator: " "))")
    case .many where option.values.isEmpty: find(.illegal, name, "needs a value")
    default: break
    }
  }

  /// Says what is wrong with a value, once, however often it is asked for.
  private mutating func refuse(_ name: String, _ text: String) {
    if refused.insert(name).inserted { find(.illegal, name, text) }
  }

  // MARK: - Values

  func has(_ name: String) -> Bool { options[name] != nil }

  /// Whether one of some options is given.
  func has(any names: String...) -> Bool { names.contains { options[$0] != nil } }

  func values(_ name: String) -> [String] { options[name]?.values ?? [] }

  func text(_ name: String) -> String? {
    guard let values = options[name]?.values, values.count == 1 else { return nil }
    return values[0]
  }

  /// Whether a value is left to the script's caller, which is then said.
  private mutating func isOpen(_ name: String, _ text: String) -> Bool {
    guard text.hasPrefix("$") || text.hasPrefix("`") else { return false }
    let variable = script.variable(of: text)
    let isRun = variable.map(script.isResult) ?? true
    let advice = variable.map { "give it with --set \($0)=…" } ?? "write its value"
    find(.open, name, "is \(text), which \(isRun ? "only running the script tells" : "the script does not set"); \(advice)")
    if let variable, !openVariables.contains(variable) { openVariables.append(variable) }
    return true
  }

  /// A whole number of at least `least`.
  mutating func int(_ name: String, atLeast least: Int = 1, atMost most: Int = 1 << 40) -> Int? {
    guard let text = text(name), !isOpen(name, text) else { return nil }
    if let number = Int(text), least...most ~= number { return number }
    refuse(name, "found \(text), expected a whole number of at least \(least)" + (most < 1 << 40 ? " and at most \(most)" : ""))
    return nil
  }

  mutating func double(_ name: String, _ isLawful: (Double) -> Bool, _ expected: String) -> Double? {
    guard let text = text(name), !isOpen(name, text) else { return nil }
    if let number = Double(text), number.isFinite, isLawful(number) { return number }
    refuse(name, "found \(text), expected \(expected)")
    return nil
  }

  /// One of some words.
  mutating func choice(_ name: String, _ words: [String]) -> String? {
    guard let text = text(name), !isOpen(name, text) else { return nil }
    if words.contains(text) { return text }
    let nearest = nearestSpelling(to: text, among: words)
    refuse(name, "found \(text), expected \(words.joined(separator: ", "))" + (nearest.map { "; did you mean \($0)?" } ?? ""))
    return nil
  }
}
