// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

@testable import Documents

@Suite struct JSONWriterTests {
  @Test func canonicalText() {
    let value: JSON = ["b": [1, 2.5, 300.0], "a": ["é": "q\"\\\n\t\u{1}", "Z": .null], "aa": true, "": -0.0]
    #expect(value.canonicalText == #"{"":0,"a":{"Z":null,"é":"q\"\\\n\t\u0001"},"aa":true,"b":[1,2.5,300]}"#)
  }

  @Test func orderAndSpellingDoNotChangeTheHash() throws {
    let one = try JSON(parsing: #"{"x": 300, "y": [1e2, 0.1]}"#.utf8, file: "")
    let other = try JSON(parsing: #"{ "y" : [100, 0.10] , "x" : 3.0e2 }"#.utf8, file: "")
    #expect(one.sha256 == other.sha256)
    #expect(one.sha256 != (["x": 300, "y": [100, 0.2]] as JSON).sha256)
  }

  @Test func prettyText() {
    let value: JSON = [
      "name": "n", "shape": [1, 2, 3], "empty": [:], "none": [], "levels": [["joins": 4, "name": "nvlink"], ["joins": 82, "name": "ib"]],
      "long": .array(Array(repeating: 1_000_000_000, count: 10)),
    ]
    #expect(
      value.prettyText == """
        {
          "empty": {},
          "levels": [
            {"joins": 4, "name": "nvlink"},
            {"joins": 82, "name": "ib"}
          ],
          "long": [
            \(Array(repeating: "1000000000", count: 10).joined(separator: ",\n    "))
          ],
          "name": "n",
          "none": [],
          "shape": [1, 2, 3]
        }

        """)
  }

  @Test func prettyAndCanonicalReadTheSame() throws {
    let value: JSON = ["a": [["b": [1, 2, [:]]]], "c": ["d": 1e-7, "e": 1e300, "f": 123456789.125]]
    #expect(try JSON(parsing: value.prettyBytes, file: "") == JSON(parsing: value.canonicalBytes, file: ""))
  }

  @Test(arguments: 0..<10) func numbersRoundTrip(seed: Int) throws {
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let value = Double(bitPattern: generator.next())
      guard value.isFinite else { continue }
      let read = try JSON(parsing: JSON.double(value).canonicalBytes, file: "")
      #expect(try Node(file: "", path: "$", value: read).double() == value)
    }
  }

  @Test func objectsKeepOrderAndEdit() {
    var object = JSON.Object((0..<20).map { ("k\($0)", JSON.int($0)) })
    object["k3"] = nil
    object["k5"] = "five"
    object["new"] = true
    #expect(object.members.map(\.key) == (0..<20).filter { $0 != 3 }.map { "k\($0)" } + ["new"])
    #expect(object["k3"] == nil && object["k5"] == "five" && object["k19"] == 19)
    #expect(!object.append("k7", 0) && object["k7"] == 7)
  }
}
