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
  private var variables: [String: [Field]] = [:]
  private var arrays: Set<String> = []
  private let file: String

  /// No launch has more.
  private static let mostFields = 1 << 16
  private static let longestValue = 1 << 20

  /// - Throws: `LaunchError`.
  init(_ source: String, file: String) throws {
    self.file = file
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
    return fields.first?.text ?? ""
  }

  /// The words of each variable, in the order of their names: a command may be run by what is not read here.
  var values: [[Field]] { variables.sorted { $0.key < $1.key }.map(\.value) }

  // MARK: - Commands

  /// Whether a branch of an `if` is taken; nil where one before it was.
  private struct Branch {
    var isTaken: Bool
    /// Whether no further branch counts.
    var isDecided: Bool
  }

  private mutating func run(_ tokens: [ShellToken]) throws {
    var branches: [Branch] = []
    var words: [ShellWord] = []
    var condition: [(separator: String, words: [ShellWord])]?
    func isActive() -> Bool { branches.allSatisfy(\.isTaken) }
    for token in tokens + [.separator("\n", line: 0)] {
      switch token {
      case .array(let name, let appends, let elements):
        if isActive() && condition == nil { try assign(name, appends: appends, elements) }
      case .word(let word): words.append(word)
      case .separator(let separator, _):
        var rest = words[...]
        words = []
        while let keyword = rest.first?.plain, Self.keywords.contains(keyword) {
          rest = rest.dropFirst()
          switch keyword {
          case "if", "elif": condition = []
          case "then":
            guard let tests = condition else { break }
            condition = nil
            begin(tests, &branches)
          case "else":
            if let last = branches.indices.last { branches[last] = Branch(isTaken: !branches[last].isDecided, isDecided: true) }
          case "fi": _ = branches.popLast()
          default: break
          }
          // What stands between `if` and `then` is the condition, whatever words it is made of.
          if keyword == "if" { branches.append(Branch(isTaken: isActive(), isDecided: false)) }
        }
        if condition != nil {
          condition?.append((separator, Array(rest)))
        } else if isActive(), !rest.isEmpty {
          try command(rest)
        }
      }
    }
  }

  private static let keywords: Set<String> = [
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "{", "}", "time", "function",
  ]

  /// Enters the branch of a condition.
  private mutating func begin(_ tests: [(separator: String, words: [ShellWord])], _ branches: inout [Branch]) {
    guard let last = branches.indices.last else { return }
    let isReached = branches.dropLast().allSatisfy(\.isTaken)
    if branches[last].isDecided || !isReached {
      branches[last].isTaken = false
      return
    }
    let holds = decide(tests)
    if holds == nil, let line = tests.first?.words.first?.line {
      findings.append(Finding(.ignored, "line \(line)", "whether the condition holds is not known from the script; read as if it did not"))
    }
    branches[last] = Branch(isTaken: holds ?? false, isDecided: holds ?? false)
  }

  private mutating func command(_ words: ArraySlice<ShellWord>) throws {
    var words = words
    // Settings before a command are of its environment, and so of this launch.
    while let first = words.first {
      if let assignment = first.assignment {
        try assign(assignment.name, appends: assignment.appends, assignment.value)
      } else if let word = first.plain, ["export", "local", "declare", "readonly", "typeset", "-x", "-a", "-r"].contains(word) {
        // The next word may be a setting.
      } else {
        break
      }
      words = words.dropFirst()
    }
    if words.isEmpty { return }
    let fields = try words.flatMap { try expand($0) }
    if !fields.isEmpty { commands.append(fields) }
  }

  private mutating func assign(_ name: String, appends: Bool, _ value: ShellWord) throws {
    // What is assigned is one word, however many it holds.
    let text = try expand(value, asOne: true).map(\.text).joined(separator: " ")
    let before = appends ? variables[name]?.map(\.text).joined(separator: " ") ?? "" : ""
    guard before.utf8.count + text.utf8.count <= Self.longestValue else { throw tooLong(name, value.line) }
    variables[name] = [Field(text: before + text, line: value.line)]
    arrays.remove(name)
  }

  private mutating func assign(_ name: String, appends: Bool, _ elements: [ShellWord]) throws {
    let fields = (appends ? variables[name] ?? [] : []) + (try elements.flatMap { try expand($0) })
    guard fields.count <= Self.mostFields else { throw tooLong(name, elements.first?.line ?? 1) }
    variables[name] = fields
    arrays.insert(name)
  }

  private func tooLong(_ name: String, _ line: Int) -> LaunchError {
    LaunchError(file: file, place: "line \(line)", "\(name) becomes longer than any launch is")
  }

  // MARK: - Expansion

  /// The words that a word becomes (POSIX.1-2024, Shell Command Language, §2.6). What the script does not set stays as it is written.
  private func expand(_ word: ShellWord, asOne: Bool = false) throws -> [Field] {
    var fields: [Field] = []
    var current: String?
    func append(_ text: String) { current = (current ?? "") + text }
    func end() {
      if let text = current { fields.append(Field(text: text, line: word.line)) }
      current = nil
    }
    for piece in word.pieces {
      switch piece.part {
      case .literal(let text): append(text)
      case .arithmetic(let text): append(Arithmetic.value(text) { value($0) }.map(String.init) ?? "$((\(text)))")
      case .unknown(let text): append(text)
      case .variable(let name, let isAll, let fallback, let text):
        guard var values = variables[name] ?? fallback.map({ [Field(text: $0, line: word.line)] }) else {
          append(text)
          continue
        }
        if !isAll { values = Array(values.prefix(1)) }
        if values.first?.text.isEmpty ?? false, values.count == 1, let fallback, text.contains(":") {
          values = [Field(text: fallback, line: word.line)]
        }
        if asOne || (piece.isQuoted && !isAll) {
          append(values.map(\.text).joined(separator: " "))
          continue
        }
        let parts = values.flatMap { value in
          piece.isQuoted ? [value] : value.text.split(whereSeparator: \.isWhitespace).map { Field(text: String($0), line: value.line) }
        }
        for (number, part) in parts.enumerated() {
          if number > 0 { end() }
          // A word that is nothing else stands where its value was written.
          if word.pieces.count == 1 { fields.append(part) } else { append(part.text) }
        }
      }
      if fields.count > Self.mostFields { throw LaunchError(file: file, place: "line \(word.line)", "more words than any launch has") }
    }
    end()
    return fields
  }

  // MARK: - Conditions

  /// Whether tests joined by `&&` and `||` hold; nil where the script does not tell.
  private func decide(_ tests: [(separator: String, words: [ShellWord])]) -> Bool? {
    var result: Bool?
    var joint = ""
    for (number, test) in tests.enumerated() where !test.words.isEmpty {
      let holds = decide(test.words)
      if number == 0 || joint.isEmpty {
        result = holds
      } else if joint == "&&" {
        result = result == false || holds == false ? false : result == nil || holds == nil ? nil : true
      } else if joint == "||" {
        result = result == true || holds == true ? true : result == nil || holds == nil ? nil : false
      } else {
        result = nil
      }
      joint = ["&&", "||"].contains(test.separator) ? test.separator : ""
    }
    return result
  }

  private func decide(_ test: [ShellWord]) -> Bool? {
    var words = test[...]
    if let first = words.first?.plain, ["[", "[[", "test"].contains(first) { words = words.dropFirst() }
    if let last = words.last?.plain, ["]", "]]"].contains(last) { words = words.dropLast() }
    if words.first?.plain == "!" { return decide(Array(words.dropFirst())).map(!) }
    guard let known = known(words) else { return nil }
    switch known.count {
    case 1: return known[0] == "true" ? true : known[0] == "false" ? false : !known[0].isEmpty
    case 2: return known[0] == "-z" ? known[1].isEmpty : known[0] == "-n" ? !known[1].isEmpty : nil
    case 3: return Self.compare(known[0], known[1], known[2])
    default: return nil
    }
  }

  private static func compare(_ a: String, _ comparison: String, _ b: String) -> Bool? {
    switch comparison {
    case "=", "==": return a == b
    case "!=": return a != b
    default:
      guard let x = Int(a), let y = Int(b) else { return nil }
      let results = ["-eq": x == y, "-ne": x != y, "-lt": x < y, "-le": x <= y, "-gt": x > y, "-ge": x >= y]
      return results[comparison]
    }
  }

  /// The values of some words; nil where one is not known.
  private func known(_ words: ArraySlice<ShellWord>) -> [String]? {
    var values: [String] = []
    for word in words {
      for piece in word.pieces {
        switch piece.part {
        case .unknown: return nil
        case .variable(let name, _, let fallback, _) where variables[name] == nil && fallback == nil: return nil
        default: break
        }
      }
      guard let fields = try? expand(word, asOne: true) else { return nil }
      values.append(fields.map(\.text).joined(separator: " "))
    }
    return values
  }
}
