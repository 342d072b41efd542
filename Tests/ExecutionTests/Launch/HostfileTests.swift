// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Execution

struct HostfileTests {
  private func read<Value>(_ text: String, _ body: (String) throws -> Value) throws -> Value {
    let file = FileManager.default.temporaryDirectory.appending(path: "hosts-\(UUID().uuidString)")
    try Data(text.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    return try body(file.path)
  }

  /// What Open MPI 4.1 makes of each file, tried with mpirun.
  @Test(
    "oracle: slots are counted as Open MPI counts them",
    arguments: [
      ("a slots=3\n", 3), ("# c\n\na slots = 3 # x\nb max_slots=4", 7), ("a cpu=2\nb count=1\n// c\n", 3), ("root@a slots=2", 2),
      ("a\na\na\n", 3), ("a slots=1\na\n", 2), ("a slots=2 max_slots=4\n", 2), ("a\n", nil), ("a slots=2\nb\n", nil), ("a slots=2\n^b\n", nil),
      ("root@10.0.0.1 slots=2\nfe80::1%eth0 slots=1", 3),
    ] as [(String, Int?)])
  func slots(text: String, slots: Int?) throws {
    #expect(try read(text) { try Hostfile(path: $0).slots } == slots)
  }

  @Test(
    "golden: a file on which nothing can run is refused with what to do",
    arguments: [
      ("", ": names no host; expected a line \"HOST slots=N\" for each host"), ("# a slots=2\n", ": names no host"),
      ("a slots=2\nb:2\n", ":2: found \"b:2\"; Open MPI reads the number of slots as \"b slots=2\""),
      ("a slots=two\n", ":1: found \"slots=two\", expected a number of slots from 1 on"), ("a slots=0\n", ":1: found \"slots=0\""),
      ("a slots=2\na slots=1\n", ":2: the slots of a are given a second time"),
      ("{\"a\":1}\n", ":1: found \"{\"a\":1}\", expected a host's name or address; a line is \"HOST slots=N\""),
      ("a slots=2 max_slots=1\n", ":1: a has 2 slots, and at most 1 of them"),
    ])
  func refused(text: String, message: String) throws {
    try read(text) { file in
      let error = #expect(throws: ExecutionError.self) { try Hostfile(path: file) }
      #expect(error?.description.hasPrefix(file + message) == true, "\(error?.description ?? "no error")")
    }
  }

  @Test("golden: a file with too few slots is refused with both numbers before mpirun is looked for")
  func tooFew() throws {
    try read("a slots=2\nb slots=1\n") { file in
      #expect(throws: ExecutionError.tooFewSlots(hostfile: file, slots: 3, ranks: 4)) {
        try Launcher(ranks: 4, hostfile: file, arguments: []).checkHostfile()
      }
      try Launcher(ranks: 3, hostfile: file, arguments: []).checkHostfile()
    }
    let text = ExecutionError.tooFewSlots(hostfile: "hosts", slots: 3, ranks: 4).description
    #expect(text.hasPrefix("hosts: has 3 slots, and the plan needs 4, one for each of its ranks;"))
    let missing = #expect(throws: ExecutionError.self) { try Launcher(ranks: 1, hostfile: "/nonexistent", arguments: []).checkHostfile() }
    #expect(missing?.description == "/nonexistent: cannot be read: No such file or directory")
  }

  @Test("oracle: the ranks on a host are those that its slots get when hosts are filled in order")
  func placement() throws {
    func place(_ text: String, _ names: Set<String>) throws -> Range<Int> {
      try read(text) { try Hostfile(path: $0).ranks(ofAll: 6, onHostNamed: names, cores: 4) }
    }
    #expect(try place("a slots=4\nb slots=4\n", ["a"]) == 0..<4)
    #expect(try place("a slots=4\nb slots=4\n", ["x", "b"]) == 4..<6)
    #expect(try place("a slots=8\nb slots=4\n", ["b"]) == 6..<6)
    #expect(try place("a\nb slots=4\n", ["a"]) == 0..<4)
    #expect(try place("a slots=6\n", ["b"]).isEmpty)
  }

  @Test("golden: mpirun's message about too few slots is taken for what it is")
  func diagnosed() {
    let rule = String(repeating: "-", count: 74)
    var diagnostics = RunDiagnostics()
    let banner = [
      rule, "There are not enough slots available in the system to satisfy the 3", "slots that were requested by the application:", "",
      "  tpplan", "", "Either request fewer slots for your application, or make more slots", "available for use.", rule,
    ]
    #expect(banner.flatMap { diagnostics.read($0) } == [] && diagnostics.hasTooFewSlots)
    #expect(Launcher.Outcome.tooFewSlots(ranks: 3).exitCode == 65)
  }
}
