// SPDX-License-Identifier: GPL-3.0-or-later

/// What a JSON file is for, by its own word: files that are given in each other's place are recognised by it.
package enum DocumentKind: String, CaseIterable, Sendable {
  case model
  case hardware
  case plan

  /// The kind that a format such as `tpplan/model/1` names, in any version.
  package init?(format: String) {
    let parts = format.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "tpplan", let kind = Self(rawValue: String(parts[1])) else { return nil }
    self = kind
  }

  /// The kind of a parsed file: what its key `format` says, or a model where it has a `model_type`, as Hugging Face's have.
  package init?(of value: JSON) {
    guard case .object(let object) = value else { return nil }
    if case .string(let format) = object["format"], let kind = Self(format: format) {
      self = kind
    } else if object["format"] == nil, object["model_type"] != nil {
      self = .model
    } else {
      return nil
    }
  }

  /// The kind with its article: `a hardware file`.
  package var phrase: String {
    switch self {
    case .model, .plan: "a \(rawValue)"
    case .hardware: "a hardware file"
    }
  }
}
