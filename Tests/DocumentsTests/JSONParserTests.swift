// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

@testable import Documents

private func parse(_ text: String) throws -> JSON { try JSON(parsing: text.utf8, file: "t.json") }

private let validTexts: [(String, JSON)] = [
  ("null", JSON.null), (" true ", true), ("false\n", false), ("0", 0), ("-0", 0), ("-12", -12),
  ("9223372036854775807", .int(.max)), ("-9223372036854775808", .int(.min)), ("9223372036854775808", .double(9_223_372_036_854_775_808)),
  ("1.5", 1.5), ("-2.5e3", .double(-2500)), ("1E+2", .double(100)), ("0.1", 0.1),
  ("123456789012345678901234567890", .double(1.2345678901234568e29)),
  ("5e-324", .double(.leastNonzeroMagnitude)), ("1e-400", .double(0)), ("1.7976931348623157e308", .double(.greatestFiniteMagnitude)),
  ("\"\"", ""), ("\"é\\u00e9\\n\\/\\\"\\\\\\ud83d\\ude00\"", "éé\n/\"\\😀"),
  ("[]", []), ("[1,[2],{}]", [1, [2], [:]]), ("{\"b\":1,\"a\":[true,null]}", ["b": 1, "a": [true, .null]]), ("\u{FEFF}7", 7),
]

private let malformedTexts: [(String, Int, Int, String)] = [
  ("", 1, 1, "the file is empty"), ("{", 1, 2, "inside the object that begins at 1:1"),
  ("{\"a\":\n [1, 2", 2, 7, "inside the array that begins at 2:2"),
  ("{\"a\"", 1, 5, "inside the object"), ("{\"a\":", 1, 6, "inside the object"), ("{\"a\":1,", 1, 8, "inside the object"),
  ("[1,", 1, 4, "inside the array"),
  ("\"abc", 1, 5, "inside the string that begins at 1:1"), ("\"ab\\", 1, 5, "inside the string"), ("\"\\u12", 1, 6, "inside the string"),
  ("tru", 1, 1, "expected true"), ("nul", 1, 1, "expected null"), ("-", 1, 2, "expected a digit"), ("1.", 1, 3, "after the decimal point"),
  ("1e", 1, 3, "exponent"),
  ("01", 1, 1, "begin with a zero"), ("+1", 1, 1, "expected a value, found '+'"), (".5", 1, 1, "expected a value"), ("1e999", 1, 1, "too large"),
  ("NaN", 1, 1, "expected a value, found 'N'"), ("[1 2]", 1, 4, "expected ',' or ']', found '2'"), ("[1,]", 1, 4, "expected a value, found ']'"),
  ("{\"a\":1,}", 1, 8, "expected a key in double quotes"), ("{a:1}", 1, 2, "expected a key"), ("{\"a\" 1}", 1, 6, "expected ':'"),
  ("{\"é\": 1, \"é\": 2}", 1, 10, "the key \"é\" occurs twice"), ("1 2", 1, 3, "expected the end of the file"),
  ("{} x", 1, 4, "expected the end of the file"),
  ("\"a\nb\"", 1, 3, "control character"), ("\"\\x\"", 1, 2, "unknown escape"), ("\"\\ud800\"", 1, 2, "surrogate"),
  ("\"\\udc00\"", 1, 2, "surrogate"),
  ("\"\\ud800\\u0041\"", 1, 2, "surrogate"), ("\"\\u12g4\"", 1, 6, "hexadecimal"), ("\u{0}", 1, 1, "byte 0x0"),
  ("// c\n1", 1, 1, "expected a value"),
]

@Suite struct JSONParserTests {
  @Test(arguments: validTexts)
  func valid(text: String, expected: JSON) throws {
    #expect(try parse(text) == expected)
  }

  @Test(arguments: malformedTexts)
  func malformed(text: String, line: Int, column: Int, problem: String) {
    #expect {
      try parse(text)
    } throws: { error in
      guard case DocumentError.syntax("t.json", line, column, let found) = error else { return false }
      return found.contains(problem)
    }
  }

  @Test func invalidUTF8() {
    for bytes: [UInt8] in [[0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0xFF], [0x22, 0xE2, 0x82, 0x22]] {
      #expect(throws: DocumentError.self) { try JSON(parsing: bytes, file: "t.json") }
    }
  }

  @Test func depthIsLimited() throws {
    func nested(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    _ = try parse(nested(JSON.depthLimit))
    #expect(throws: DocumentError.self) { try parse(nested(JSON.depthLimit + 1)) }
    #expect(throws: DocumentError.self) { try parse(String(repeating: "{\"a\":", count: 1_000_000)) }
    // Depth counts what is open, not what was opened.
    _ = try parse("[" + Array(repeating: "[]", count: 1000).joined(separator: ",") + "]")
  }

  @Test func largeObjectsFindDuplicates() throws {
    let members = (0..<3000).map { "\"k\($0)\":\($0)" }
    let object = try parse("{" + members.joined(separator: ",") + "}")
    #expect(object["k2999"] == 2999)
    #expect(throws: DocumentError.self) { try parse("{" + (members + ["\"k17\":0"]).joined(separator: ",") + "}") }
  }

  /// Differential: random doubles, printed to 17 digits and to the shortest, read as the standard library reads them.
  @Test(arguments: 0..<20) func numbersAgreeWithTheStandardLibrary(seed: Int) throws {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let value = Double(bitPattern: generator.next())
      guard value.isFinite else { continue }
      for text in ["\(value)", "\(Float(value))".contains("inf") ? "0.5" : "\(Float(value))", decimal(&generator)] {
        let parsed = try parse(text)
        #expect(try Node(file: "", path: "$", value: parsed).double() == Double(text))
      }
    }
  }

  /// A decimal with few digits and a small exponent: the range where the reader computes instead of calling the library.
  private func decimal(_ generator: inout SeededGenerator) -> String {
    let digits = Int.random(in: 0..<10_000_000_000, using: &generator)
    let fraction = Int.random(in: 0..<100_000, using: &generator)
    return "\(Bool.random(using: &generator) ? "-" : "")\(digits).\(fraction)e\(Int.random(in: -30...30, using: &generator))"
  }

  /// A damaged file gives a value or a located error, and never anything else; what it gives survives being written and read.
  @Test(arguments: 0..<300) func mutations(seed: Int) {
    var generator = SeededGenerator(seed: seed)
    var bytes = Array(
      #"{"format": "tpplan/x/1", "n": [1, -2.5e-3, 0.125, 1e22], "s": "a\u00e9\ud83d\ude00\n", "o": {"t": true, "f": false, "z": null, "é": []}}"#
        .utf8)
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      switch Int.random(in: 0..<5, using: &generator) {
      case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
      case 1: bytes.remove(at: place)
      case 2: bytes.insert("{}[]\",:\\-e.0u".utf8.randomElement(using: &generator)!, at: place)
      case 3: bytes.removeSubrange(place...)
      default: bytes.insert(contentsOf: bytes[place..<Int.random(in: place...bytes.count, using: &generator)], at: place)
      }
      if bytes.isEmpty { bytes = [0x5B] }
    }
    do {
      let value = try JSON(parsing: bytes, file: "t.json")
      #expect(try JSON(parsing: value.canonicalBytes, file: "again").canonicalBytes == value.canonicalBytes)
    } catch {
      guard case .syntax("t.json", let line, let column, let problem) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(line >= 1 && column >= 1 && column <= bytes.count + 1 && !problem.isEmpty)
    }
  }
}
