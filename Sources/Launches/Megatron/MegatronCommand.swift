// SPDX-License-Identifier: GPL-3.0-or-later

/// The command of a script that starts Megatron-LM: its options in order, and what its launcher says of devices.
struct MegatronCommand {
  struct Option: Hashable {
    var name: String
    var values: [String]
    var line: Int
  }

  private(set) var options: [Option] = []
  /// Nil where nothing says how many there are.
  private(set) var devices: Int?
  /// Options of the launcher from which the devices follow and whose values the script leaves to its caller.
  private(set) var openDevices: [Option] = []
  /// Whether the command is whole: it starts the program, and no arguments of the script (`$@`) or unknown variables add to it. What is missing is then left to
  /// its defaults.
  private(set) var isWhole = false
  /// Whether the text has several lines, so that a line's number says something.
  let hasLines: Bool
  let script: ShellScript
  /// The Python file that is started, without its folder; nil where none is.
  private(set) var program: String?
  /// Variables that the script does not set and that may hold further options.
  private(set) var openWords: [ShellScript.Field] = []

  /// - Parameter values: of the script's variables, in place of those that it gives them.
  /// - Throws: `LaunchError` where nothing in the text is such a command.
  init(_ source: String, file: String, values: [String: String] = [:]) throws {
    script = try ShellScript(MegatronYAML.script(source) ?? source, file: file, values: values)
    hasLines = source.split(whereSeparator: \.isNewline).count > 1
    let commands = script.commands.flatMap(Self.unfolded)
    let bare = commands.filter { $0.first?.text.hasPrefix("--") ?? false }.flatMap { $0 }
    let whole = commands.filter { !($0.first?.text.hasPrefix("--") ?? true) }
    let best = whole.indices.max { (Self.score(whole[$0]), $0) < (Self.score(whole[$1]), $1) }.map { whole[$0] } ?? []
    var chosen = Self.score(bare) > Self.score(best) ? bare : best
    if Self.score(chosen) == 0 {
      chosen = script.values.flatMap(Self.unfolded).reduce([]) { Self.score($1) > Self.score($0) ? $1 : $0 }
    }
    guard Self.score(chosen) > 0 else {
      throw LaunchError(file: file, "no command in it has options of Megatron-LM, such as --tensor-model-parallel-size or --num-layers")
    }
    let start = Self.start(chosen)
    program = start > 0 ? Self.program(chosen[start - 1].text) : nil
    if let program, MegatronProgram.trainsNothing(program) {
      throw LaunchError(
        file: file, place: hasLines ? "line \(chosen[start - 1].line)" : nil,
        "starts \(program), which trains nothing; lint reads the launch of a training")
    }
    let given = chosen[start...].enumerated().filter { !Self.isOpen($0.element.text, isFirst: $0.offset == 0) }.map(\.element)
    (options, openWords) = Self.options(given)
    isWhole = start > 0 && given.count == chosen.count - start && openWords.isEmpty
    openWords += chosen[start...].filter { !$0.text.hasPrefix("$@") && !$0.text.hasPrefix("$*") && !given.contains($0) }
    devices = countDevices(launcher: Array(chosen[..<start]))
  }

  /// Whether a variable of the environment that the script does not set comes from outside: it is a script, which does more than start the program, reads in no
  /// other, and hands the variable to no launcher.
  func showsEnvironment(of name: String) -> Bool {
    guard program != nil, script.sources.isEmpty else { return false }
    return (script.isMarked || script.setsVariables || script.commands.count > 1) && !script.commands.joined().contains { $0.text.contains(name) }
  }

  /// With commands inside quotes (`bash -c "…"`, `eval "$run"`) taken apart.
  private static func unfolded(_ fields: [ShellScript.Field]) -> [[ShellScript.Field]] {
    var commands: [[ShellScript.Field]] = [[]]
    for field in fields {
      guard field.text.contains(where: \.isWhitespace), field.text.hasPrefix("--") || field.text.contains(" --") else {
        commands[commands.count - 1].append(field)
        continue
      }
      var lexer = ShellLexer(field.text, file: "")
      guard let tokens = try? lexer.tokens() else {
        commands[commands.count - 1] += field.text.split(whereSeparator: \.isWhitespace).map { .init(text: String($0), line: field.line) }
        continue
      }
      // Who starts the first of them starts them all.
      let launcher = commands[commands.count - 1]
      var ends = false
      for token in tokens {
        switch token {
        // A line that goes on with options is meant to go on.
        case .word(let word):
          if ends, !word.text.hasPrefix("-") { commands.append(launcher) }
          ends = false
          commands[commands.count - 1].append(.init(text: word.text, line: field.line + word.line - 1))
        case .separator("\n", _): ends = true
        case .separator: commands.append(launcher)
        case .array: break
        }
      }
    }
    return commands.filter { !$0.isEmpty }
  }

  private static func name(_ text: String) -> String { String(text.prefix { $0 != "=" }) }

  private static func score(_ fields: [ShellScript.Field]) -> Int { fields.count { MegatronFlags.known.contains(name($0.text)) } }

  /// The first word after the program's name; 0 where there is none.
  private static func start(_ fields: [ShellScript.Field]) -> Int {
    if let program = fields.firstIndex(where: { $0.text.hasSuffix(".py") }) { return program + 1 }
    for (index, field) in fields.enumerated().dropLast() where field.text == "-m" && !fields[index + 1].text.hasPrefix("torch.") { return index + 2 }
    if fields.first?.text.hasPrefix("--") ?? true { return 0 }
    return fields.firstIndex { MegatronFlags.known.contains(name($0.text)) } ?? 0
  }

  /// The name of a Python file or module; nil for another word.
  private static func program(_ word: String) -> String? {
    if word.hasSuffix(".py") { return word.split(separator: "/").last.map(String.init) }
    let isModule = !word.isEmpty && word.allSatisfy { $0 == "." || $0 == "_" || $0.isLetter || $0.isNumber }
    return isModule ? word.split(separator: ".").last.map { "\($0).py" } : nil
  }

  /// Whether a word stands for options that the script does not tell.
  private static func isOpen(_ text: String, isFirst: Bool) -> Bool {
    text == "$@" || text == "$*" || (text.hasPrefix("$") && (isFirst || text.hasSuffix("[@]}") || text.hasSuffix("[*]}")))
  }

  /// Options with their values, and the words that are neither.
  private static func options(_ fields: [ShellScript.Field]) -> (options: [Option], open: [ShellScript.Field]) {
    var options: [Option] = []
    var open: [ShellScript.Field] = []
    for field in fields {
      if field.text.hasPrefix("--"), field.text.count > 2 {
        let name = Self.name(field.text)
        let values = field.text.count > name.count ? [String(field.text.dropFirst(name.count + 1))] : []
        options.append(Option(name: name, values: values, line: field.line))
      } else if let last = options.indices.last {
        let takes = MegatronFlags.read.first { $0.flag == options[last].name }?.values
        let isFull = takes.map { $0 == .none || $0 == .one && options[last].values.count == 1 } ?? false
        if isFull, field.text.hasPrefix("$") { open.append(field) } else { options[last].values.append(field.text) }
      }
    }
    return (options, open)
  }

  /// The command with some options written otherwise, on as many devices.
  func edited(_ edits: [LaunchEdit], devices: Int) -> MegatronCommand {
    var command = self
    for edit in edits {
      let line = options.first { $0.name == edit.setting }?.line ?? options.last?.line ?? 1
      command.options.removeAll { $0.name == edit.setting }
      if edit.value != nil { command.options.append(Option(name: edit.setting, values: edit.arguments, line: line)) }
    }
    if command.devices != nil { command.devices = devices }
    return command
  }

  // MARK: - Devices

  /// As many as the launcher starts, as far as the script tells.
  private mutating func countDevices(launcher: [ShellScript.Field]) -> Int? {
    var words = launcher
    if launcher.isEmpty {
      // Options of a launcher among those of the program.
      let launchers = MegatronFlags.devicesPerNode.union(MegatronFlags.nodes)
      words = options.filter { launchers.contains($0.name) }.flatMap { option in
        ([option.name] + option.values).map { ShellScript.Field(text: $0, line: option.line) }
      }
      options.removeAll { launchers.contains($0.name) }
    }
    let places = [words, script.directives]
    func count(_ names: Set<String>) -> Int? { places.lazy.compactMap { Self.settings(names, $0).lazy.compactMap(Self.number).first }.first }
    func unknown(_ names: Set<String>) -> Option? { count(names) == nil ? places.lazy.compactMap { Self.settings(names, $0).first }.first : nil }
    let (perNode, nodes) = (count(MegatronFlags.devicesPerNode), count(MegatronFlags.nodes))
    let open = [unknown(MegatronFlags.devicesPerNode), unknown(MegatronFlags.nodes)].compactMap(\.self)
    if let perNode, open.isEmpty { return product(perNode, nodes ?? 1) }
    if perNode == nil, let processes = count(MegatronFlags.processes) { return processes }
    let all = script.value("WORLD_SIZE").flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
    if all == nil { openDevices = open }
    return all
  }

  private func product(_ a: Int, _ b: Int) -> Int? {
    let (product, overflows) = a.multipliedReportingOverflow(by: b)
    return overflows ? nil : product
  }

  /// What stands behind some options, the last first.
  private static func settings(_ names: Set<String>, _ words: [ShellScript.Field]) -> [Option] {
    words.indices.reversed().filter { names.contains(name(words[$0].text)) }.map { index in
      let (word, flag) = (words[index], name(words[index].text))
      let value = word.text.count > flag.count ? String(word.text.dropFirst(flag.count + 1)) : index + 1 < words.count ? words[index + 1].text : ""
      return Option(name: flag, values: [value], line: word.line)
    }
  }

  /// The number that an option has: `a100:8` is eight of a kind.
  private static func number(_ option: Option) -> Int? {
    let value = option.values[0]
    guard let number = Int(value.split(separator: ":").last ?? ""), number > 0 else { return nil }
    return !value.contains(":") || Int(value.prefix { $0 != ":" }) == nil ? number : nil
  }
}
