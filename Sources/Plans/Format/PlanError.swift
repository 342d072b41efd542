// SPDX-License-Identifier: GPL-3.0-or-later

/// What is wrong with a plan whose JSON is well-formed: parts that do not fit together.
package enum PlanError: Error, Hashable, Sendable {
  /// The hash that the plan states is not that of the document that it holds: one of them was changed.
  case anotherDocument(file: String, path: String, stated: String, actual: String)
  /// A value that follows from others, or must fit them, does not.
  case inconsistent(file: String, path: String, problem: String)
  /// A reader takes a tensor in a layout that nothing brings it into.
  case missingConversion(file: String, path: String, tensor: String, from: String, to: String, reader: String)

  /// The process exit status: 65 (bad input), as in sysexits(3).
  package var exitCode: Int32 { 65 }
}

extension PlanError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .anotherDocument(let file, let path, let stated, let actual):
      "\(file): \(path): the plan was made for a document of hash \(stated.prefix(12))…, this one has \(actual.prefix(12))…;"
        + " make the plan again with `tpplan search` instead of changing what it holds"
    case .inconsistent(let file, let path, let problem):
      "\(file): \(path): \(problem)"
    case .missingConversion(let file, let path, let tensor, let from, let to, let reader):
      "\(file): \(path): no conversion of \(tensor) from \(from) to \(to), which \(reader) needs; add one or make the plan again"
    }
  }
}
