// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing
import Traces

/// The trace's file.
@Suite struct TraceTests {
  private func trace() -> Trace {
    var trace = Trace(processes: ["measured", "predicted"])
    let (first, second) = (trace.addTrack(process: 1, named: "rank 0"), trace.addTrack(process: 1, named: "rank \"1\""))
    let other = trace.addTrack(process: 2, named: "rank 0")
    // In no order; a pass after what lies in it.
    trace.add(.init(name: "b", categories: "forward,kernel", track: first, start: 1500, end: 2001))
    trace.add(.init(name: "a", categories: "forward,kernel", track: first, start: 250, end: 1500, arguments: JSON.Object([("bytes", .int(4))])))
    trace.add(.init(name: "forward m0", categories: "pass", track: first, start: 250, end: 2001))
    trace.add(.init(kind: .async(7), name: "in flight", categories: "in flight", track: second, start: 100, end: 3000))
    trace.add(.init(name: "late", categories: "other stages,wait", track: other, start: 0, end: -5))
    trace.remarks["model"] = "mlp"
    return trace
  }

  @Test("golden: a trace's file is JSON that programs read, with names of processes and tracks first, then events by time")
  func file() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "trace-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try trace().write(to: path)
    let data = try Data(contentsOf: URL(filePath: path))
    // Both a lenient reader and the project's own take it.
    let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    _ = try Document(file: path, parsing: [UInt8](data))
    #expect(object["displayTimeUnit"] as? String == "ms" && (object["otherData"] as? [String: String]) == ["model": "mlp"])
    let events = try #require(object["traceEvents"] as? [[String: Any]])
    let names = events.filter { $0["ph"] as? String == "M" }
    #expect(names.count == 10 && events.prefix(10).allSatisfy { $0["ph"] as? String == "M" })
    func tracks(_ process: Int) -> [String] {
      names.filter { $0["name"] as? String == "thread_name" && $0["pid"] as? Int == process }.compactMap {
        ($0["args"] as? [String: Any])?["name"] as? String
      }
    }
    #expect(tracks(1) == ["rank 0", "rank \"1\""] && tracks(2) == ["rank 0"])
    let timed = events.dropFirst(10)
    let told = timed.map { "\($0["ph"] ?? "") \($0["name"] ?? "") \($0["ts"] ?? "") \($0["dur"] ?? "-") \($0["pid"] ?? "").\($0["tid"] ?? "")" }
    #expect(
      told == [
        "X late 0 0 2.0", "b in flight 0.1 - 1.1", "X forward m0 0.25 1.751 1.0", "X a 0.25 1.25 1.0", "X b 1.5 0.501 1.0", "e in flight 3 - 1.1",
      ])
    #expect(timed.filter { $0["id"] as? Int == 7 }.count == 2)
  }

  @Test("where nothing can be written, that is said, beforehand too")
  func unwritable() throws {
    #expect(throws: DocumentError.self) { try trace().write(to: "/nonexistent/folder/trace.json") }
    #expect(throws: DocumentError.self) { try checkWritable("/nonexistent/folder/trace.json") }
    #expect(throws: DocumentError.self) { try checkWritable("/proc/self/trace.json") }
    try checkWritable("/dev/null")
  }
}
