// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Documents

private func document(_ text: String) throws -> Document { try Document(file: "f.json", parsing: text.utf8) }

private enum Topology: String, CaseIterable {
  case `switch`
  case mesh
}

@Suite struct NodeTests {
  @Test func readsEveryType() throws {
    let o = try document(
      #"{"format": "tpplan/x/1", "s": "a", "i": 1e3, "d": 2, "b": true, "a": [4, 5], "o": {"k": 1}, "t": "mesh", "null": null}"#
    ).root(format: "tpplan/x/1")
    #expect(try o.string("s") == "a")
    #expect(try o.int("i", .positive) == 1000)
    #expect(try o.double("d", .within(1, 2)) == 2)
    #expect(try o.bool("b"))
    #expect(try o.ints("a") == [4, 5])
    #expect(try o.elements("a").map(\.path) == ["$.a[0]", "$.a[1]"])
    #expect(try o.object("o").int("k") == 1)
    #expect(try o.choice("t", of: Topology.self) == .mesh)
    #expect(try o.intIfPresent("null") == nil)
    #expect(try o.doubleIfPresent("absent") == nil)
    try o.finish()
  }

  @Test func namesThePathOfWhatIsWrong() throws {
    let root = try document(#"{"levels": [{"bandwidth GB": "fast", "n": 0, "x": 1.5, "big": 1e30, "t": "switched", "a": [1, "b"]}]}"#).root
    let level = try root.object().elements("levels")[0].object()
    func message(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "no error"
      } catch {
        return "\(error)"
      }
    }
    #expect(
      message { _ = try level.double("bandwidth GB") } == #"f.json: $.levels[0]["bandwidth GB"]: found the string "fast", expected a number"#)
    #expect(message { _ = try level.int("n", .positive) } == "f.json: $.levels[0].n: found the number 0, expected a whole number above 0")
    #expect(message { _ = try level.int("x") } == "f.json: $.levels[0].x: found the number 1.5, expected a whole number")
    #expect(message { _ = try level.int("big") }.contains("found the number 1e+30, expected a whole number"))
    #expect(message { _ = try level.double("x", .fraction) }.hasSuffix("expected a number above 0 and at most 1"))
    #expect(message { _ = try level.ints("a") } == #"f.json: $.levels[0].a[1]: found the string "b", expected a whole number"#)
    #expect(message { _ = try level.choice("t", of: Topology.self) }.hasSuffix(#"expected one of "switch", "mesh"; did you mean "switch"?"#))
    #expect(message { _ = try level.string("t2") } == #"f.json: $.levels[0]: the key "t2" is missing"#)
  }

  @Test func unknownKeysAreRefusedWithTheNearest() throws {
    let o = try document(#"{"name": "n", "memory_GB": 40, "colour": 1}"#).root.object()
    _ = try o.string("name")
    #expect(throws: DocumentError.missingKey(file: "f.json", path: "$", key: "memory_GiB", misspelt: "memory_GB")) { try o.double("memory_GiB") }
    _ = try o.doubleIfPresent("reserved_GiB")
    let unknown = DocumentError.unknownKey(file: "f.json", path: "$.memory_GB", nearest: "memory_GiB", known: ["name", "memory_GiB", "reserved_GiB"])
    #expect(throws: unknown) { try o.finish() }
    #expect("\(unknown)" == #"f.json: $.memory_GB: unknown key; did you mean "memory_GiB"?"#)
    o.ignore("memory_GB")
    #expect(o.unreadKeys == ["colour"])
    #expect(throws: DocumentError.self) { try o.finish() }
  }

  @Test func aKeyThatTheFormatHasIsNotTakenForAMissingOne() throws {
    let text = #"{"bandwidth_is": "per device", "bandwidth_Gbps": 3}"#
    let o = try document(text).root.object(keys: ["bandwidth_GBps", "bandwidth_is"])
    #expect(throws: DocumentError.missingKey(file: "f.json", path: "$", key: "bandwidth_GBps", misspelt: "bandwidth_Gbps")) {
      try o.double("bandwidth_GBps")
    }
    let valid = try document(#"{"bandwidth_is": "per device"}"#).root.object(keys: ["bandwidth_GBps", "bandwidth_is"])
    #expect(throws: DocumentError.missingKey(file: "f.json", path: "$", key: "bandwidth_GBps", misspelt: nil)) {
      try valid.double("bandwidth_GBps")
    }
  }

  @Test(arguments: [
    (#"{"format": "tpplan/hardware/1"}"#, "f.json is a hardware file; expected a model"),
    (#"{"format": "tpplan/plan/7"}"#, "f.json is a plan; expected a model"),
  ])
  func otherKindsAreRecognised(text: String, message: String) throws {
    let root = try document(text)
    do {
      _ = try root.root(format: "tpplan/model/1")
      Issue.record("read as a model")
    } catch {
      #expect("\(error)" == message)
    }
  }

  @Test func aHuggingFaceConfigurationIsAModel() throws {
    let root = try document(#"{"model_type": "gpt2"}"#)
    #expect(throws: DocumentError.wrongKind(file: "f.json", found: .model, expected: .hardware)) { try root.root(format: "tpplan/hardware/1") }
  }

  @Test func formatIsChecked() throws {
    #expect(throws: DocumentError.wrongFormat(file: "f.json", found: #"the string "tpplan/model/2""#, expected: "tpplan/model/1")) {
      try document(#"{"format": "tpplan/model/2"}"#).root(format: "tpplan/model/1")
    }
    #expect(throws: DocumentError.missingKey(file: "f.json", path: "$", key: "format", misspelt: nil)) {
      try document("{}").root(format: "tpplan/model/1")
    }
    #expect(throws: DocumentError.self) { try document("[]").root(format: "tpplan/model/1") }
  }

  @Test(arguments: [
    ("bandwith_GBps", "bandwidth_GBps"), ("Name", "name"), ("latency-us", "latency_us"), ("latency", "latency_us"), ("joints", "joins"), ("zzz", nil),
    ("", nil),
  ])
  func spelling(word: String, nearest: String?) {
    #expect(nearestSpelling(to: word, among: ["name", "joins", "bandwidth_GBps", "latency_us"]) == nearest)
  }
}
