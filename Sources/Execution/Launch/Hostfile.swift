// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// An Open MPI host file, as far as it says how many ranks may start and where.
///
///     # a comment
///     node1 slots=8
///     node2 slots=8 max_slots=16
///     node3
///
/// A host with no number has as many slots as Open MPI finds cores on it; one that is named again has a slot more for each further time.
/// A line that is not understood is left to Open MPI, which refuses what it does not know either.
struct Hostfile: Equatable {
  struct Host: Equatable {
    let name: String
    /// Nil where only Open MPI, on that host, can count them.
    fileprivate(set) var slots: Int?
  }

  /// In the order of the file: ranks fill the first host's slots first.
  private(set) var hosts: [Host] = []
  /// Whether a line chooses hosts in a way that is not counted here (`^node1`, `+e2`).
  private(set) var hasRelativeHosts = false

  /// The slots of all hosts together; nil where a host's are not known.
  var slots: Int? {
    if hasRelativeHosts { return nil }
    return hosts.reduce(0) { (total: Int?, host) in
      guard let total, let slots = host.slots else { return nil }
      return total + slots
    }
  }

  private static let slotKeys = ["slots", "slot", "cpus", "cpu", "count"]
  private static let limitKeys = ["max_slots", "max-slots", "slots_max", "slots-max", "cpus_max", "cpus-max", "max_cpus", "max-cpus"]

  /// - Throws: `document` where it cannot be read; `unusableHostfile` where it names no host, gives a host's slots twice or in a way that Open MPI does not read.
  init(path: String) throws(ExecutionError) {
    let bytes: [UInt8]
    do throws(DocumentError) {
      bytes = try readFile(path, limit: 1 << 24)
    } catch {
      throw .document(error)
    }
    var numbered = Set<String>()
    for (index, text) in String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      func failure(_ problem: String) -> ExecutionError { .unusableHostfile(file: path, line: index + 1, problem: problem) }
      let words = Self.words(of: text)
      guard let first = words.first else { continue }
      if first.hasPrefix("^") || first.hasPrefix("+") {
        hasRelativeHosts = true
        continue
      }
      let name = first.split(separator: "@").last.map(String.init) ?? first
      let parts = name.split(separator: ":", omittingEmptySubsequences: false)
      if parts.count == 2, let count = Int(parts[1]) {
        throw failure("found \"\(name)\"; Open MPI reads the number of slots as \"\(parts[0]) slots=\(count)\"")
      }
      guard name.unicodeScalars.allSatisfy(Self.isAllowed) else {
        throw failure("found \"\(name)\", expected a host's name or address; a line is \"HOST slots=N\"")
      }
      var given = try Self.number(Self.slotKeys, in: words, failure)
      let most = try Self.number(Self.limitKeys, in: words, failure)
      if let given, let most, given > most { throw failure("\(name) has \(given) slots, and at most \(most) of them") }
      given = given ?? most
      if given != nil, !numbered.insert(name).inserted {
        throw failure("the slots of \(name) are given a second time; give each host's number once")
      }
      add(name, given)
    }
    if hosts.isEmpty && !hasRelativeHosts {
      throw .unusableHostfile(file: path, line: nil, problem: "names no host; expected a line \"HOST slots=N\" for each host")
    }
  }

  /// One more line about a host.
  private mutating func add(_ name: String, _ given: Int?) {
    guard let known = hosts.firstIndex(where: { $0.name == name }) else { return hosts.append(Host(name: name, slots: given)) }
    // A host that was only named before had one slot from that.
    hosts[known].slots = (hosts[known].slots ?? 1) + (given ?? 1)
  }

  /// The words of a line without its comment, each `key=value` one word.
  private static func words(of line: Substring) -> [String] {
    var text = line
    for mark in ["#", "//"] { if let range = text.firstRange(of: mark) { text = text[..<range.lowerBound] } }
    return text.replacing(/\s*=\s*/, with: "=").split(whereSeparator: \.isWhitespace).map(String.init)
  }

  /// In names and addresses, of the sixth version too.
  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isAlphabetic || "0"..."9" ~= scalar || ["-", "_", ".", ":", "%"].contains(scalar)
  }

  private static func number(
    _ keys: [String], in words: [String], _ failure: (String) -> ExecutionError
  ) throws(ExecutionError) -> Int? {
    for word in words.dropFirst() {
      guard let equal = word.firstIndex(of: "="), keys.contains(word[..<equal].lowercased()) else { continue }
      guard let number = Int(word[word.index(after: equal)...]), 1...1 << 24 ~= number else {
        throw failure("found \"\(word)\", expected a number of slots from 1 on")
      }
      return number
    }
    return nil
  }
}

extension Hostfile {
  /// How many of `ranks` ranks Open MPI places on the host of these names: hosts are filled in the file's order.
  ///
  /// - Parameter cores: the slots of this host where the file does not say; another host of which it does not say takes all that are left.
  func ranks(ofAll ranks: Int, onHostNamed names: Set<String>, cores: Int) -> Range<Int> {
    var next = 0
    for host in hosts {
      let isHere = names.contains(host.name)
      let count = min(ranks - next, host.slots ?? (isHere ? cores : ranks))
      if isHere { return next..<next + count }
      next += count
    }
    return 0..<0
  }
}
