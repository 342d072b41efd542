// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing

/// A `tpplan run` of a small model that trains while the test looks on, and all that it starts: known by a variable in their environment.
final class TrainingProcess {
  let process = Process()
  private let mark = UUID().uuidString
  private let errors: String
  /// Where the programs' temporary files go.
  let temporary: String

  /// What the requirement says is 10 s; machines that build something meanwhile need more.
  static let bound = 30.0

  private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../..").standardized.path

  private static var program: String {
    get throws { URL(filePath: try ProbeRun.program).deletingLastPathComponent().appending(path: "tpplan").path }
  }

  /// Writes a plan for the tiny GPT-2, on as many ranks as its degrees say.
  static func plan(_ degrees: [String], in folder: TrainingFolder) throws -> String {
    let path = "\(folder.path)/plan\(degrees.joined()).json"
    if FileManager.default.fileExists(atPath: path) { return path }
    let process = Process()
    process.executableURL = URL(filePath: try program)
    process.arguments =
      ["estimate", "\(root)/Tests/Fixtures/torch/gpt2", "\(root)/hardware/local.json", "--batch", "4", "--seq", "8"] + degrees + ["-o", path]
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return path
  }

  /// - Parameter memory: the address space that every process may have, in KiB.
  init(_ degrees: [String], _ arguments: [String], in folder: TrainingFolder, memory: Int? = nil) throws {
    errors = "\(folder.path)/errors-\(mark)"
    temporary = "\(folder.path)/temporary-\(mark)"
    try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: true)
    let plan = try Self.plan(degrees, in: folder)
    let limit = memory.map { "ulimit -v \($0); " } ?? ""
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", "\(limit)exec \"$@\"", "sh", try Self.program, "run", plan, "--tokens", "\(folder.path)/tokens"] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(["TPPLAN_TEST": mark, "TMPDIR": temporary]) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try Data().write(to: URL(filePath: errors))
    process.standardError = try FileHandle(forWritingTo: URL(filePath: errors))
    try process.run()
  }

  var diagnostics: String { (try? String(contentsOfFile: errors, encoding: .utf8)) ?? "" }

  /// By step.
  var losses: [Int: Double] {
    var found: [Int: Double] = [:]
    for line in diagnostics.split(separator: "\n") {
      guard let object = (try? JSONSerialization.jsonObject(with: Data(line.utf8))) as? [String: Any], let step = object["step"] as? Int
      else { continue }
      found[step] = object["loss"] as? Double
    }
    return found
  }

  /// What this run has started and is there, by process id its variables.
  private var processes: [pid_t: [String]] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    var found: [pid_t: [String]] = [:]
    for name in names {
      guard let pid = pid_t(name), let data = FileManager.default.contents(atPath: "/proc/\(name)/environ") else { continue }
      let variables = data.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      if variables.contains("TPPLAN_TEST=\(mark)") { found[pid] = variables }
    }
    return found
  }

  func processes(named name: String) -> [pid_t] {
    processes.keys.filter { (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\($0)/exe"))?.hasSuffix("/\(name)") ?? false }.sorted()
  }

  /// The process of a rank.
  func rank(_ rank: Int) -> pid_t? { processes.first { $0.value.contains("OMPI_COMM_WORLD_RANK=\(rank)") }?.key }

  /// Waits until something holds; false where the run ends before, or a minute goes by.
  func waits(for condition: () -> Bool) -> Bool {
    let end = ContinuousClock.now + .seconds(60)
    while process.isRunning, ContinuousClock.now < end {
      if condition() { return true }
      usleep(2000)
    }
    return false
  }

  /// Waits for the end of all processes; expects that it comes in time and that nothing is left.
  func expectCleanEnd() {
    let end = ContinuousClock.now + .seconds(Self.bound)
    while process.isRunning || !processes.isEmpty, ContinuousClock.now < end { usleep(20_000) }
    #expect(!process.isRunning && processes.isEmpty, "processes stay: \(processes.keys.sorted()); \(diagnostics)")
    for pid in processes.keys { kill(pid, SIGKILL) }
    process.waitUntilExit()
    #expect((try? FileManager.default.contentsOfDirectory(atPath: temporary)) == [])
  }
}

/// The names of the folders in a checkpoint's folder.
func checkpoints(in folder: String) -> (complete: [String], partial: [String]) {
  let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted().filter { $0.hasPrefix("step-") }
  return (names.filter { !$0.hasSuffix(".partial") }, names.filter { $0.hasSuffix(".partial") })
}
