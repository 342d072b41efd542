// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// What is wrong with a sharding problem's file.
package enum ShardingProblemError: Error, Equatable, CustomStringConvertible {
  /// The file cannot be read, or a solution cannot be written.
  case document(DocumentError)
  /// The compressed data is damaged at this byte of the compressed file.
  case compression(file: String, offset: Int, reason: String)
  case tooLarge(file: String, limit: Int)
  /// Something that is no JSON, or of another type or range than the format wants, at this byte of the (decompressed) text.
  case syntax(file: String, path: String, offset: Int, found: String, expected: String)
  case missingKey(file: String, path: String, key: String)
  case duplicateKey(file: String, path: String, key: String, offset: Int)
  /// A value that contradicts another one.
  case invalid(file: String, path: String, found: String, expected: String)

  /// The process exit status for this error, as in sysexits(3).
  package var exitCode: Int32 { if case .document(let error) = self { error.exitCode } else { 65 } }

  package var description: String {
    switch self {
    case .document(let error): error.description
    case .compression(let file, let offset, let reason): "\(file): byte \(offset): not a whole gzip file: \(reason)"
    case .tooLarge(let file, let limit): "\(file): has more than \(limit) bytes of text; is it the file you meant?"
    case .syntax(let file, let path, let offset, let found, let expected):
      "\(file): \(path), byte \(offset) of the text: found \(found), expected \(expected)"
    case .missingKey(let file, let path, let key):
      "\(file): \(path): the key \"\(key)\" is missing; expected a problem in the format of the ASPLOS 2025 contest on intra-operator parallelism"
    case .duplicateKey(let file, let path, let key, let offset):
      "\(file): \(path), byte \(offset) of the text: the key \"\(key)\" occurs twice; remove one"
    case .invalid(let file, let path, let found, let expected): "\(file): \(path): found \(found), expected \(expected)"
    }
  }
}
