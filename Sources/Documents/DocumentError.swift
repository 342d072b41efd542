// SPDX-License-Identifier: GPL-3.0-or-later

/// What is wrong with a file: where it is wrong, what stands there, what should, and what to do.
package enum DocumentError: Error, Hashable, Sendable {
  /// The file cannot be read; `reason` is the system's, or that it is a directory.
  case unreadable(file: String, reason: String)
  /// The file is longer than the reader is willing to hold in memory.
  case tooLarge(file: String, bytes: Int, limit: Int)
  /// The text is not JSON. Lines and columns count from 1; a column is one Unicode scalar.
  case syntax(file: String, line: Int, column: Int, problem: String)
  /// The text is not TOML.
  case tomlSyntax(file: String, line: Int, column: Int, problem: String)
  /// The file declares another format or version than the one that is read here.
  case wrongFormat(file: String, found: String, expected: String)
  /// The file is of another kind than the one that is read here.
  case wrongKind(file: String, found: DocumentKind, expected: DocumentKind)
  /// A required key is absent; `misspelt` is the key that was probably meant to be it.
  case missingKey(file: String, path: String, key: String, misspelt: String?)
  /// A key that the format does not have; `nearest` is the known key it resembles.
  case unknownKey(file: String, path: String, nearest: String?, known: [String])
  /// A value of another type or outside its lawful range.
  case invalid(file: String, path: String, found: String, expected: String)
  /// The file cannot be written.
  case unwritable(file: String, reason: String)

  /// The process exit status for this error: 73 (cannot create output), else 65 (bad input), as in sysexits(3).
  package var exitCode: Int32 {
    if case .unwritable = self { 73 } else { 65 }
  }
}

extension DocumentError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unreadable(let file, let reason):
      return "\(file): cannot be read: \(reason)"
    case .tooLarge(let file, let bytes, let limit):
      return "\(file): has \(bytes) bytes, at most \(limit) are read; is it the file you meant?"
    case .syntax(let file, let line, let column, let problem):
      return "\(file):\(line):\(column): not valid JSON: \(problem)"
    case .tomlSyntax(let file, let line, let column, let problem):
      return "\(file):\(line):\(column): not valid TOML: \(problem)"
    case .wrongFormat(let file, let found, let expected):
      return "\(file): $.format: found \(found), expected \"\(expected)\"; convert the file or use the version that wrote it"
    case .wrongKind(let file, let found, let expected):
      return "\(file) is \(found.phrase); expected \(expected.phrase)" + (expected == .plan ? ", which `tpplan search` makes" : "")
    case .missingKey(let file, let path, let key, let misspelt):
      let hint = misspelt.map { "; the unknown key \"\($0)\" is close: rename it" } ?? ""
      return "\(file): \(path): the key \"\(key)\" is missing\(hint)"
    case .unknownKey(let file, let path, let nearest, let known):
      let hint = nearest.map { "did you mean \"\($0)\"?" } ?? "known keys: \(known.joined(separator: ", "))"
      return "\(file): \(path): unknown key; \(hint)"
    case .invalid(let file, let path, let found, let expected):
      return "\(file): \(path): found \(found), expected \(expected)"
    case .unwritable(let file, let reason):
      return "\(file): cannot be written: \(reason)"
    }
  }
}
