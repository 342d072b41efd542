// SPDX-License-Identifier: GPL-3.0-or-later

/// What a shell script runs, as far as its text tells: variables and arrays are put in, conditions on them are decided, and nothing is run.
struct ShellScript {
  /// A word of a command, and the line on which it was written.
  struct Field: Hashable {
    var text: String
    var line: Int
  }

  private(set) var commands: [[Field]] = []
  private(set) var findings: [Finding] = []
  /// Words of `#SBATCH` comments.
  private(set) var directives: [Field] = []
  /// Files that are read into the script, which are not read here.
  private(set) var sources: [Field] = []
  /// Of an array its words; of another variable its text in parts, each on its line.
  private var variables: [String: [Field]] = [:]
  private var arrays: Set<String> = []
  /// Variables that are set to what only running something tells (`N=$(nproc)`): they stay as they are written.
  private var results: Set<String> = []
  /// Variables whose values are given from outside, and stay.
  private let given: Set<String>
  let file: String
  /// Whether it begins as a program of its own (`#!`).
  let isMarked: Bool
  /// Whether it gives variables values, also such as are given from outside.
  private(set) var setsVariables = false

  /// No launch has more.
  static let mostFields = 1 << 16
  private static let longestValue = 1 << 20

  /// - Parameter values: of variables, in place of what the script gives them.
  /// - Throws: `LaunchError`.
  init(_ source: String, file: String, values: [String: String] = [:]) throws {
    (self.file, isMarked) = (file, source.hasPrefix("#!"))
    given = Set(values.keys)
    variables = values.mapValues { [Field(text: $0, line: 1)] }
    var lexer = ShellLexer(source, file: file)
    let tokens = try lexer.tokens()
    directives = lexer.directives.flatMap { directive in
      directive.text.split(whereSeparator: \.isWhitespace).map { Field(text: String($0), line: directive.line) }
    }
    try run(tokens)
  }

  /// The value of a variable, where the script sets one.
  func value(_ name: String) -> String? {
    guard let fields = variables[name], !arrays.contains(name) else { return nil }
    return fields.map(\.text).joined()
  }

  /// The words of an array, or the text of another variable in parts; nil where the script sets none.
  func values(of name: String) -> [Field]? { variables[name] }
  func isArray(_ name: String) -> Bool { arrays.contains(name) }

  /// The words of each variable, in the order of their names: a command may be run by what is not read here.
  var values: [[Field]] {
    variables.sorted { $0.key < $1.key }.map { name, fields in arrays.contains(name) ? fields : Self.split(fields) }
  }

  /// The variable that a text, as it is written, stands for: `TP` for `${TP}`; nil where there is none.
  func variable(of text: String) -> String? {
    let name = text.drop { "${".contains($0) }.prefix { $0 == "_" || $0.isLetter || $0.isNumber }
    return text.hasPrefix("$") && !text.hasPrefix("$(") && !name.isEmpty ? String(name) : nil
  }

  /// Whether only running something tells a variable.
  func isResult(_ name: String) -> Bool { results.contains(name) }

  // MARK: - Commands

  private mutating func run(_ tokens: [ShellToken]) throws {
    var flow = ShellFlow()
    var words: [ShellWord] = []
    var (hasArray, continuesTest) = (false, false)
    var condition: [(separator: String, words: [ShellWord])]?
    for token in tokens + [.separator("\n", line: 0)] {
      switch token {
      case .array(let name, let appends, let elements):
        hasArray = true
        var rest = words[...]
        readKeywords(&rest, &flow, &condition)
        words = Array(rest)
        if flow.isActive && condition == nil { try assign(name, appends: appends, elements) }
      case .word(let word): words.append(word)
      case .separator(let separator, _):
        let isEmpty = words.isEmpty && !hasArray
        // `[[ a && b ]]` is `[[ a ]] && [[ b ]]`.
        if continuesTest, let line = words.first?.line { words.insert(Self.test(line), at: 0) }
        continuesTest = isEmpty && separator == "\n" ? continuesTest : ["&&", "||"].contains(separator) && Self.leavesTestOpen(words)
        var rest = words[...]
        (words, hasArray) = ([], false)
        readKeywords(&rest, &flow, &condition)
        if flow.readsPatterns {
          flow.read(patterns: rest.map(\.text), isLast: separator == ")")
        } else if condition != nil {
          condition?.append((separator, Array(rest)))
        } else {
          let succeeded = flow.isActive && !rest.isEmpty ? try carryOut(rest, before: separator) : nil
          flow.pass(separator, isEmpty: isEmpty, succeeded: succeeded)
        }
      }
    }
  }

  private static func test(_ line: Int) -> ShellWord {
    ShellWord(pieces: [.init(part: .literal("[["), isQuoted: false, line: line)], line: line)
  }

  private static func leavesTestOpen(_ words: [ShellWord]) -> Bool { words.contains { $0.plain == "[[" } && words.last?.plain != "]]" }

  private static let keywords: Set<String> = [
    "if", "then", "elif", "else", "fi", "case", "esac", "for", "while", "until", "do", "done", "{", "}", "time", "function",
  ]

  /// Takes the words off that say which commands run.
  ///
  /// - Parameter condition: what stands between `if` and `then`, whatever words it is made of.
  private mutating func readKeywords(
    _ words: inout ArraySlice<ShellWord>, _ flow: inout ShellFlow, _ condition: inout [(separator: String, words: [ShellWord])]?
  ) {
    while let keyword = words.first?.plain, Self.keywords.contains(keyword) {
      // A pattern may be any word but one.
      if flow.readsPatterns, keyword != "esac" { return }
      words = words.dropFirst()
      switch keyword {
      case "if":
        condition = []
        flow.begin(.branch)
      case "elif": condition = []
      case "then":
        guard let tests = condition else { break }
        condition = nil
        begin(tests, &flow)
      case "else": flow.take(true)
      case "fi": flow.end(.branch)
      case "case":
        guard let subject = words.first, words.dropFirst().first?.plain == "in" else { break }
        words = words.dropFirst(2)
        let text = self.text(subject)
        if text == nil, flow.isActive { report([subject], "which clause holds", "read as if none but *) did") }
        flow.begin(.clause, subject: text)
      case "esac": flow.end(.clause)
      case "for", "while", "until", "{": flow.begin(.group)
      case "done", "}": flow.end(.group)
      // Its name, before what is in braces.
      case "function": words = words.dropFirst()
      default: break
      }
    }
  }

  /// Enters the branch of a condition.
  private mutating func begin(_ tests: [(separator: String, words: [ShellWord])], _ flow: inout ShellFlow) {
    let holds = flow.mayTake ? decide(tests) : false
    if holds == nil { report(tests.flatMap(\.words), "whether the condition holds", "read as if it did not") }
    flow.take(holds ?? false)
  }

  /// Says that the script does not decide something.
  private mutating func report(_ words: [ShellWord], _ what: String, _ reading: String) {
    guard let line = words.first?.line else { return }
    let names = unset(words)
    let why =
      names.isEmpty
      ? "\(what), only running the script tells" : "\(what) depends on \(names.joined(separator: " and ")), which the script does not tell"
    let advice = names.isEmpty ? "" : " (\(names.map { "--set \($0)=…" }.joined(separator: " ")))"
    findings.append(Finding(.ignored, "line \(line)", "\(why); \(reading)\(advice)"))
  }

  /// A command of a list.
  ///
  /// - Returns: whether it succeeds.
  private mutating func carryOut(_ words: ArraySlice<ShellWord>, before separator: String) throws -> Bool {
    guard let first = words.first?.plain, ["[", "[[", "test", "!", "true", "false"].contains(first) else {
      try command(words)
      return true
    }
    let holds = decide([(separator, Array(words))])
    if holds == nil, ["&&", "||"].contains(separator) { report(Array(words), "whether the condition holds", "read as if it did not") }
    return holds ?? false
  }

  private mutating func command(_ words: ArraySlice<ShellWord>) throws {
    var words = words
    // Settings before a command are of its environment, and so of this launch.
    var isDeclaration = false
    while let first = words.first {
      if let assignment = first.assignment {
        try assign(assignment.name, appends: assignment.appends, assignment.value)
      } else if let word = first.plain, ["export", "local", "declare", "readonly", "typeset"].contains(word) {
        isDeclaration = true
      } else if !isDeclaration || first.plain?.first != "-" {
        break
      }
      words = words.dropFirst()
    }
    if words.isEmpty { return }
    if let first = words.first, ["source", "."].contains(first.plain), let path = words.dropFirst().first {
      sources.append(Field(text: path.text, line: first.line))
      return
    }
    let fields = try words.flatMap { try expand($0) }
    if !fields.isEmpty { commands.append(fields) }
  }

  private mutating func assign(_ name: String, appends: Bool, _ value: ShellWord) throws {
    setsVariables = true
    guard !given.contains(name) else { return }
    // What is assigned is one word, however many it holds.
    let parts = (appends ? variables[name] ?? [] : []) + (try parts(value))
    guard parts.reduce(0, { $0 + $1.text.utf8.count }) <= Self.longestValue, parts.count <= Self.mostFields else { throw tooLong(name, value.line) }
    arrays.remove(name)
    let written = value.pieces.filter { $0.part != .literal("") }
    if written.count == 1, case .unknown = written[0].part, !appends {
      variables[name] = nil
      results.insert(name)
    } else {
      variables[name] = parts
      results.remove(name)
    }
  }

  private mutating func assign(_ name: String, appends: Bool, _ elements: [ShellWord]) throws {
    setsVariables = true
    guard !given.contains(name) else { return }
    let fields = (appends ? variables[name] ?? [] : []) + (try elements.flatMap { try expand($0) })
    guard fields.count <= Self.mostFields else { throw tooLong(name, elements.first?.line ?? 1) }
    variables[name] = fields
    arrays.insert(name)
    results.remove(name)
  }

  private func tooLong(_ name: String, _ line: Int) -> LaunchError {
    LaunchError(file: file, place: "line \(line)", "\(name) becomes longer than any launch is")
  }
}
