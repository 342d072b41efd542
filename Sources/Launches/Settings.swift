// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A file's settings by their paths (`zero_optimization.stage`). What is wrong with one is a finding, and the others are read all the same.
struct Settings {
  /// In file order.
  private(set) var paths: [String] = []
  private var values: [String: JSON] = [:]
  private(set) var findings: [Finding] = []
  /// For settings that stand under an older name, that name.
  private(set) var olderNames: [String: String] = [:]
  /// Stands for what another program fills in: such a setting counts as left out.
  private let open: JSON?

  /// - Parameters:
  ///   - closed: objects that are settings by themselves: their members are not looked at.
  ///   - open: the value of settings that are left open.
  init(_ object: JSON.Object, closed: Set<String> = [], open: JSON? = nil) {
    self.open = open
    add(object, to: "", closed: closed)
  }

  private mutating func add(_ object: JSON.Object, to path: String, closed: Set<String>) {
    for member in object.members {
      let name = path.isEmpty ? member.key : path + "." + member.key
      if case .object(let inner) = member.value, !inner.members.isEmpty, !closed.contains(name) {
        add(inner, to: name, closed: closed)
      } else if values.updateValue(member.value, forKey: name) == nil {
        paths.append(name)
      }
    }
  }

  /// Whether the file says anything of a setting, or of a section.
  func contains(_ path: String) -> Bool { values[path] != nil || paths.contains { $0.hasPrefix(path + ".") } }

  func value(_ path: String) -> JSON? { values[path].flatMap { $0 == .null || $0 == open ? nil : $0 } }

  /// Whether a setting is left open expressly.
  func isOpen(_ path: String) -> Bool { open != nil && values[path] == open }

  mutating func add(_ severity: Finding.Severity, _ place: String, _ text: String) { findings.append(Finding(severity, place, text)) }

  /// Gives a setting of an older name the one that it has today.
  mutating func rename(_ old: String, _ new: String) {
    guard let value = values[old] else { return }
    paths.removeAll { $0 == old }
    values[old] = nil
    if values.updateValue(value, forKey: new) == nil {
      paths.append(new)
      olderNames[new] = old
    } else {
      add(.illegal, old, "is an older name of \(new), which stands here too; leave one of them out")
    }
  }

  /// With some settings written otherwise.
  func edited(_ edits: [LaunchEdit]) -> Settings {
    var settings = self
    for edit in edits {
      settings.remove(edit.setting)
      guard let value = edit.value else { continue }
      settings.values[edit.setting] = value
      settings.paths.append(edit.setting)
    }
    return settings
  }

  /// Leaves out a setting, or all of a section.
  private mutating func remove(_ path: String) {
    for setting in paths where setting == path || setting.hasPrefix(path + ".") { values[setting] = nil }
    paths.removeAll { $0 == path || $0.hasPrefix(path + ".") }
  }

  // MARK: typed values

  mutating func int(_ path: String, _ bound: Bound<Int> = .any) -> Int? {
    read(path) { (node) throws(DocumentError) in try node.int(bound) }
  }

  mutating func double(_ path: String, _ bound: Bound<Double> = .any) -> Double? {
    read(path) { (node) throws(DocumentError) in try node.double(bound) }
  }

  mutating func bool(_ path: String) -> Bool? { read(path) { (node) throws(DocumentError) in try node.bool() } }

  mutating func string(_ path: String) -> String? { read(path) { (node) throws(DocumentError) in try node.string() } }

  mutating func strings(_ path: String) -> [String]? {
    read(path) { (node) throws(DocumentError) in
      var strings: [String] = []
      for element in try node.elements() { strings.append(try element.string()) }
      return strings
    }
  }

  /// One of some words; others are a finding.
  mutating func word(_ path: String, of words: [String]) -> String? {
    guard let found = string(path) else { return nil }
    if words.contains(found) { return found }
    let hint = nearestSpelling(to: found, among: words).map { "; did you mean \"\($0)\"?" } ?? ""
    add(.illegal, path, "found \"\(found)\", expected one of \(words.map { "\"\($0)\"" }.joined(separator: ", "))\(hint)")
    return nil
  }

  private mutating func read<Value>(_ path: String, _ body: (Node) throws(DocumentError) -> Value) -> Value? {
    guard let value = value(path) else { return nil }
    do throws(DocumentError) {
      return try body(Document(file: path, value: value).root)
    } catch {
      if case .invalid(_, _, let found, let expected) = error { add(.illegal, path, "found \(found), expected \(expected)") }
      return nil
    }
  }

  // MARK: the rest

  /// Says of each setting that is not known that it is not.
  ///
  /// - Parameters:
  ///   - known: every path that there is.
  ///   - apart: sections all of whose members are known.
  ///   - severity: for a path, how bad it is that it is not known.
  ///   - consequence: what the program does with it, for the end of the sentence.
  mutating func reportUnknown(_ known: Set<String>, apart: [String], severity: (String) -> Finding.Severity, consequence: (String) -> String) {
    for path in paths where !known.contains(path) {
      if apart.contains(where: { path.hasPrefix($0 + ".") }) { continue }
      let (parent, name) = Self.split(path)
      if known.contains(where: { $0.hasPrefix(path + ".") }) {
        // An empty section says nothing.
        if values[path] != .object(JSON.Object()) {
          add(.illegal, path, "found \(values[path]!.summary), expected a section of settings")
        }
        continue
      }
      let siblings = known.filter { Self.split($0).parent == parent }.map { Self.split($0).name }.sorted()
      let elsewhere = known.filter { Self.split($0).name == name }.sorted().first
      let nearest = nearestSpelling(to: name, among: siblings).map { parent.isEmpty ? $0 : parent + "." + $0 } ?? elsewhere
      add(severity(path), path, "is no setting\(nearest.map { "; did you mean \($0)?" } ?? "") \(consequence(path))")
    }
  }

  private static func split(_ path: String) -> (parent: String, name: String) {
    guard let dot = path.lastIndex(of: ".") else { return ("", path) }
    return (String(path[..<dot]), String(path[path.index(after: dot)...]))
  }
}
