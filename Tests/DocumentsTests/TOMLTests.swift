// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

@testable import Documents

private func parse(_ text: String) throws -> JSON { try TOML.parse(text.utf8, file: "t.toml") }

/// After the examples of the specification (https://toml.io/en/v1.0.0), section by section.
private let validTexts: [(String, JSON)] = [
  ("", [:]), ("# all comment\n", [:]), ("\u{FEFF}a = 1", ["a": 1]), ("a = 1 # c\r\nb = 2\r\n", ["a": 1, "b": 2]),
  // Keys
  ("bare_key = 1\nbare-key = 2\n1234 = 3", ["bare_key": 1, "bare-key": 2, "1234": 3]),
  ("\"127.0.0.1\" = 1\n'quoted \"v\"' = 2\n\"\" = 3", ["127.0.0.1": 1, "quoted \"v\"": 2, "": 3]),
  (
    "physical.color = \"orange\"\nphysical.shape = \"round\"\nsite.\"google.com\" = true",
    ["physical": ["color": "orange", "shape": "round"], "site": ["google.com": true]]
  ),
  ("fruit . flavor = 1\nfruit. \"a\".b= 2", ["fruit": ["flavor": 1, "a": ["b": 2]]]), ("3.14159 = \"pi\"", ["3": ["14159": "pi"]]),
  // Strings
  ("a = \"t\\t\\\"q\\\" \\u00E9 \\U0001F600 \\\\\"", ["a": "t\t\"q\" é 😀 \\"]), ("a = 'C:\\Users\\n'", ["a": "C:\\Users\\n"]),
  ("a = \"\"\"\nRoses\nViolets\"\"\"", ["a": "Roses\nViolets"]), ("a = \"\"\"The \\\n\n   quick \\  \n fox.\"\"\"", ["a": "The quick fox."]),
  ("a = \"\"\"two \"\". quotes \"\"\\\"\"\"\"", ["a": "two \"\". quotes \"\"\""]), ("a = \"\"\"\"ends in two\"\"\"\"\"", ["a": "\"ends in two\"\""]),
  ("a = '''\nfirst '' \\n'''", ["a": "first '' \\n"]), ("a = ''''That,' she said, 'is'.'''", ["a": "'That,' she said, 'is'."]),
  ("a = \"\"\nb = ''", ["a": "", "b": ""]),
  // Numbers
  ("a = +99\nb = 0\nc = -17\nd = 1_000\ne = 5_349_221", ["a": 99, "b": 0, "c": -17, "d": 1000, "e": 5_349_221]),
  ("a = 0xDEAD_beef\nb = 0o755\nc = 0b1101", ["a": 0xDEAD_BEEF, "b": 0o755, "c": 13]),
  ("a = 9223372036854775807\nb = -9223372036854775808", ["a": .int(.max), "b": .int(.min)]),
  (
    "a = +1.0\nb = 3.1415\nc = -0.01\nd = 5e+22\ne = 1e06\nf = -2E-2\ng = 6.626e-34\nh = 224_617.445_991",
    [
      "a": .double(1), "b": 3.1415, "c": -0.01, "d": .double(5e22), "e": .double(1e6), "f": .double(-2e-2), "g": .double(6.626e-34),
      "h": 224617.445991,
    ]
  ), ("a = inf\nb = -inf\nc = nan", ["a": "inf", "b": "-inf", "c": "nan"]), ("a = true\nb = false", ["a": true, "b": false]),
  // Dates and times
  (
    "a = 1979-05-27T07:32:00Z\nb = 1979-05-27T00:32:00.999999-07:00\nc = 1979-05-27 07:32:00Z",
    [
      "a": "1979-05-27T07:32:00Z", "b": "1979-05-27T00:32:00.999999-07:00", "c": "1979-05-27 07:32:00Z",
    ]
  ),
  (
    "a = 1979-05-27T07:32:00\nb = 1979-05-27\nc = 07:32:00\nd = 2000-02-29 # leap",
    ["a": "1979-05-27T07:32:00", "b": "1979-05-27", "c": "07:32:00", "d": "2000-02-29"]
  ),
  // Arrays
  ("a = [1, 2, 3]\nb = [ [1, 2], [\"a\"] ]\nc = [\n  1, # one\n  2,\n]\nd = []", ["a": [1, 2, 3], "b": [[1, 2], ["a"]], "c": [1, 2], "d": []]),
  ("a = [0.1, {b = 1}, \"s\"]", ["a": [0.1, ["b": 1], "s"]]),
  // Tables
  ("[table]\n[dog.\"tater.man\"]\ntype.name = \"pug\"", ["table": [:], "dog": ["tater.man": ["type": ["name": "pug"]]]]),
  ("[ j . \"ʞ\" . 'l' ]\nx = 1", ["j": ["ʞ": ["l": ["x": 1]]]]), ("[x.y.z.w]\n[x]\na = 1", ["x": ["y": ["z": ["w": [:]]], "a": 1]]),
  (
    "[fruit]\napple.color = \"red\"\napple.taste.sweet = true\n[fruit.apple.texture]\nsmooth = true",
    [
      "fruit": ["apple": ["color": "red", "taste": ["sweet": true], "texture": ["smooth": true]]]
    ]
  ),
  (
    "a = {}\nname = { first = \"Tom\", last = \"P\" }\nanimal = { type.name = \"pug\" }",
    ["a": [:], "name": ["first": "Tom", "last": "P"], "animal": ["type": ["name": "pug"]]]
  ),
  // Arrays of tables
  ("[[products]]\nname = \"Hammer\"\n[[products]]\n[[products]]\nname = \"Nail\"", ["products": [["name": "Hammer"], [:], ["name": "Nail"]]]),
  (
    "[[fruits]]\nname = \"apple\"\n[fruits.physical]\ncolor = \"red\"\n[[fruits.varieties]]\nname = \"red\"\n[[fruits.varieties]]\nname = \"granny\"\n[[fruits]]\nname = \"banana\"\n[[fruits.varieties]]\nname = \"plantain\"",
    [
      "fruits": [
        ["name": "apple", "physical": ["color": "red"], "varieties": [["name": "red"], ["name": "granny"]]],
        ["name": "banana", "varieties": [["name": "plantain"]]],
      ]
    ]
  ),
]

private let malformedTexts: [(String, Int, Int, String)] = [
  ("key = # INVALID", 1, 7, "expected a value, found '#'"), ("first = \"Tom\" last = \"P\"", 1, 15, "expected the end of the line, found 'l'"),
  ("= \"no key\"", 1, 1, "expected a key"), ("a = 1\na = 2", 2, 1, "the key a is defined twice"),
  ("spelling = 1\n\"spelling\" = 2", 2, 1, "defined twice"),
  ("fruit.apple = 1\nfruit.apple.smooth = true", 2, 1, "apple is defined already"), ("a b = 1", 1, 3, "expected '=' after the key a"),
  ("a.. = 1", 1, 3, "expected a key"), ("a", 1, 2, "the text ends here; expected '='"), ("\"\"\"a\"\"\" = 1", 1, 1, "no string of several lines"),
  ("a = \"x\ny\"", 1, 7, "the line ends inside the string"), ("a = 'x", 1, 7, "inside the string that begins at 1:5"),
  ("a = \"\\x\"", 1, 6, "unknown escape"),
  ("a = \"\\ud800\"", 1, 6, "no Unicode character"), ("a = \"\\u12g4\"", 1, 10, "hexadecimal"),
  ("a = \"\"\"6 quotes: \"\"\"\"\"\"", 1, 23, "expected the end of the line"),
  ("a = 007", 1, 5, "begin with a zero"), ("a = 1__0", 1, 5, "no number"), ("a = _1", 1, 5, "no number"), ("a = 0xG", 1, 5, "no number"),
  ("a = .7", 1, 5, "no number"),
  ("a = 7.", 1, 5, "no number"), ("a = 3.e+20", 1, 5, "no number"), ("a = +0x1", 1, 5, "no number"), ("a = 9223372036854775808", 1, 5, "64 bits"),
  ("a = 1e999", 1, 5, "no number"),
  ("a = True", 1, 5, "truth values are true and false"), ("a = abc", 1, 5, "strings stand in quotes"),
  ("a = 2021-02-29", 1, 5, "no number, date or time"),
  ("a = 1979-13-01", 1, 5, "no number, date"), ("a = 25:00:00", 1, 5, "no number, date"), ("a = 1979-05-27T07:32", 1, 5, "no number, date"),
  ("a = [1 2]", 1, 8, "expected ',' or ']', found '2'"), ("a = [1,", 1, 8, "inside the array that begins at 1:5"),
  ("a = [,1]", 1, 6, "expected a value"),
  ("[a]\n[a]", 2, 1, "the table a is defined twice"), ("[fruit]\napple = 1\n[fruit.apple]", 3, 1, "defined already, and not as a table"),
  ("[fruit]\napple.color = 1\n[fruit.apple]", 3, 1, "defined twice"), ("[a.b.c]\nz = 1\n[a]\nb.c.t = 2", 4, 1, "the table c is complete"),
  ("[a", 1, 3, "the text ends here"), ("[]", 1, 2, "expected a key"), ("[a]]", 1, 4, "expected the end of the line"), ("[[a]", 1, 5, "expected ']]'"),
  ("a = { b = 1, }", 1, 14, "expected a key"), ("a = { b = 1\n}", 1, 12, "on the same line"), ("a = {b = 1}\na.c = 2", 2, 1, "a is defined already"),
  ("a = {b = 1}\n[a.c]", 2, 1, "no header can add to"), ("a = []\n[[a]]", 2, 1, "not as an array of tables"),
  ("[[a]]\n[a]", 2, 1, "array of tables; add to it with [[a]]"),
  ("[fruit.physical]\n[[fruit]]", 2, 1, "not as an array of tables"), ("a = 1 \u{0}", 1, 7, "control character 0x0"),
  ("# c \u{7F}", 1, 5, "control character 0x7f"),
  ("a = 1\rb = 2", 1, 6, "control character 0xd"), ("é = 1", 1, 1, "expected a key"),
]

@Suite struct TOMLTests {
  @Test(arguments: validTexts)
  func valid(text: String, expected: JSON) throws {
    #expect(try parse(text) == expected)
  }

  @Test(arguments: malformedTexts)
  func malformed(text: String, line: Int, column: Int, problem: String) {
    #expect {
      try parse(text)
    } throws: { error in
      guard case DocumentError.tomlSyntax("t.toml", line, column, let found) = error else {
        Issue.record("\(error)")
        return false
      }
      return found.contains(problem)
    }
  }

  @Test func invalidUTF8() {
    for bytes: [UInt8] in [[0x61, 0x3D, 0x22, 0xFF, 0x22], [0x23, 0xC0, 0x80], [0xFF]] {
      #expect(throws: DocumentError.self) { try TOML.parse(bytes, file: "t.toml") }
    }
  }

  @Test("Depth is limited, in arrays, in inline tables and in dotted keys")
  func depth() throws {
    func nested(_ depth: Int) -> String { "a = " + String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    _ = try parse(nested(JSON.depthLimit))
    #expect(throws: DocumentError.self) { try parse(nested(JSON.depthLimit + 1)) }
    #expect(throws: DocumentError.self) { try parse("a = " + String(repeating: "{a = ", count: 100_000)) }
    #expect(throws: DocumentError.self) { try parse(String(repeating: "a.", count: 100_000) + "a = 1") }
    #expect(throws: DocumentError.self) { try parse("[" + String(repeating: "a.", count: 100_000) + "a]") }
  }

  @Test("The message says that it is TOML, and where")
  func message() {
    #expect { try parse("a = 1\nb = ") } throws: { "\($0)" == "t.toml:2:5: not valid TOML: the text ends here; expected a value" }
  }

  /// A damaged file gives a value or a located error, and never anything else.
  @Test(arguments: 0..<300) func mutations(seed: Int) {
    var generator = SeededGenerator(seed: seed)
    var bytes = Array(
      "[a]\nb.c = [1, -2.5e-3, 0xFF, 1979-05-27T07:32:00Z]\ns = \"a\\u00e9\\\"\" # é\n[[d.e]]\nm = \"\"\"x\\\n y\"\"\"\nl = '''\n'a'''\n[d.f]\nt = {u = true, 'v w' = {}}\n"
        .utf8)
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      switch Int.random(in: 0..<5, using: &generator) {
      case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
      case 1: bytes.remove(at: place)
      case 2: bytes.insert("[]{}=.,#\"'\\\n\re_-0".utf8.randomElement(using: &generator)!, at: place)
      case 3: bytes.removeSubrange(place...)
      default: bytes.insert(contentsOf: bytes[place..<Int.random(in: place...bytes.count, using: &generator)], at: place)
      }
      if bytes.isEmpty { bytes = [0x5B] }
    }
    do {
      _ = try TOML.parse(bytes, file: "t.toml")
    } catch {
      guard case .tomlSyntax("t.toml", let line, let column, let problem) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(line >= 1 && column >= 1 && column <= bytes.count + 1 && !problem.isEmpty)
    }
  }
}
