// SPDX-License-Identifier: GPL-3.0-or-later

/// Whole-number arithmetic of a shell: + - * / % and brackets.
enum Arithmetic {
  /// - Returns: nil where a variable is not known, or the text is no such expression.
  static func value(_ text: String, _ variable: (String) -> String?) -> Int? {
    var parser = Parser(rest: text.filter { !$0.isWhitespace }[...], depth: 0)
    guard let value = parser.sum(variable), parser.rest.isEmpty else { return nil }
    return value
  }

  private struct Parser {
    var rest: Substring
    /// Brackets that are open.
    var depth: Int

    mutating func sum(_ variable: (String) -> String?) -> Int? {
      guard var total = product(variable) else { return nil }
      while let sign = rest.first, "+-".contains(sign) {
        rest.removeFirst()
        guard let next = product(variable) else { return nil }
        let (result, overflows) = sign == "+" ? total.addingReportingOverflow(next) : total.subtractingReportingOverflow(next)
        if overflows { return nil }
        total = result
      }
      return total
    }

    private mutating func product(_ variable: (String) -> String?) -> Int? {
      guard var total = factor(variable) else { return nil }
      while let sign = rest.first, "*/%".contains(sign) {
        rest.removeFirst()
        guard let next = factor(variable) else { return nil }
        if sign != "*", next == 0 || (next == -1 && total == .min) { return nil }
        guard sign == "*" else {
          total = sign == "/" ? total / next : total % next
          continue
        }
        let (result, overflows) = total.multipliedReportingOverflow(by: next)
        if overflows { return nil }
        total = result
      }
      return total
    }

    private mutating func factor(_ variable: (String) -> String?) -> Int? {
      if rest.first == "(" {
        guard depth < 64 else { return nil }
        rest.removeFirst()
        depth += 1
        guard let value = sum(variable), rest.first == ")" else { return nil }
        depth -= 1
        rest.removeFirst()
        return value
      }
      if rest.first == "-" {
        guard depth < 64 else { return nil }
        rest.removeFirst()
        depth += 1
        defer { depth -= 1 }
        return factor(variable).flatMap { $0 == .min ? nil : -$0 }
      }
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      if !digits.isEmpty {
        rest = rest.dropFirst(digits.count)
        return Int(digits)
      }
      if rest.first == "$" { rest.removeFirst() }
      let isBraced = rest.first == "{"
      if isBraced { rest.removeFirst() }
      let name = rest.prefix { $0 == "_" || $0.isLetter || $0.isNumber }
      rest = rest.dropFirst(name.count)
      if isBraced {
        guard rest.first == "}" else { return nil }
        rest.removeFirst()
      }
      return name.isEmpty ? nil : variable(String(name)).flatMap { Int($0) }
    }
  }
}
