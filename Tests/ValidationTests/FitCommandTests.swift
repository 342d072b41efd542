// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Hardware
import Testing

@testable import Validation
@testable import tpplan

/// `tpplan fit`: what it writes, and the exit codes that scripts rely on.
@Suite struct FitCommandTests {
  private let folder: URL
  private let hardware = Tables.unfittedHardware

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  private func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

  private func write(_ text: String, _ name: String) throws -> String {
    try Data(text.utf8).write(to: folder.appendingPathComponent(name))
    return path(name)
  }

  private func fit(_ arguments: String...) throws -> (code: Int32, message: String) {
    do {
      let command = try FitCommand.parse(arguments)
      try command.run()
      return (0, "")
    } catch {
      let failure = try #require(error as? Failure ?? Failure(error), "\(error)")
      return (failure.code, failure.message)
    }
  }

  private func rows(_ changes: KeyValuePairs<String, JSON?> = ["iter_s": 0.006]) throws -> String {
    let sizes: [JSON] = [1, 2, 4]
    return Tables.text(
      sizes.enumerated().map { i, size in
        guard
          case .object(var object) = Tables.row(
            "r\(i)", ["layers": 1, "hidden": 1024, "heads": 16, "ffn": 4096, "vocab": 1024, "gpus": 2, "tp": 2, "mbs": size, "gbs": size])
        else { preconditionFailure("rows are objects") }
        for (key, value) in changes { object[key] = value }
        return .object(object)
      })
  }

  @Test("The file is as it was but for the constants, says what they were before, and is read again")
  func written() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let table = try write(try rows(), "rows.json")
    let result = try fit(
      table, hardware, "--constant", "memory", "--constant", "nvlink.startup_us", "-o", path("fitted.json"), "--date", "2026-11-29")
    #expect(result.code == 0, "\(result.message)")
    let (old, new) = (try HardwareFile(readingFrom: hardware), try HardwareFile(readingFrom: path("fitted.json")))
    let memory = old.constantPlaces.first { $0.name == "memory" }!
    let startup = old.constantPlaces.first { $0.name == "nvlink.startup_us" }!
    #expect(new.unfittedValue(memory) == 0.85 && new.unfittedValue(startup) == 39 && new.value(memory) != 0.85)
    let record = try #require(new.fitRecord(memory.owner)?.rows)
    #expect(record.hasPrefix("rows r0, r1, r2; mean error ") && record.hasSuffix("; 2026-11-29"))
    #expect(new.fitRecord(startup.owner)?.rows == record && new.fitRecord(.level("infiniband")) == nil)
    // All else is the same, key by key and in its order.
    func lines(_ path: String) throws -> [Substring] {
      let text = String(decoding: try Document(readingFrom: path).value.prettyBytesInOrder, as: UTF8.self)
      return text.split(separator: "\n").filter { line in
        !["\"memory\"", "startup_us", "\"unfitted\"", "\"fitted_on\""].contains { line.contains($0) }
      }
    }
    #expect(try lines(path("fitted.json")) == lines(hardware))
    // A second fit starts from the same, so that it ends at the same, and keeps what is unfitted.
    #expect(try fit(table, path("fitted.json"), "--constant", "memory", "--constant", "nvlink.startup_us", "-o", path("again.json")).code == 0)
    let again = try HardwareFile(readingFrom: path("again.json"))
    #expect(again.value(memory) == new.value(memory) && again.unfittedValue(memory) == 0.85 && again.value(startup) == new.value(startup))
  }

  @Test("Without attention's own rate a fit of products does not move it")
  func implied() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let text = try String(contentsOfFile: hardware, encoding: .utf8).replacing("\"attention\": 0.08,", with: "")
    let file = try write(text, "dgx.json")
    #expect(try fit(try write(try rows(), "rows.json"), file, "--constant", "gemm", "-o", path("fitted.json"), "--folds", "0").code == 0)
    let fitted = try HardwareFile(readingFrom: path("fitted.json"))
    let (gemm, attention) = (fitted.constantPlaces.first { $0.name == "gemm" }!, fitted.constantPlaces.first { $0.name == "attention" }!)
    #expect(fitted.value(gemm) != 0.868 && fitted.value(attention) == 0.868)
  }

  @Test("Bad input has its exit code, before anything is priced or written")
  func refusals() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let table = try write(try rows(), "rows.json")
    func expect(_ code: Int32, _ part: String, _ arguments: String..., location: SourceLocation = #_sourceLocation) throws {
      var result: (code: Int32, message: String) = (0, "")
      do {
        let command = try FitCommand.parse(arguments)
        try command.run()
      } catch {
        let failure = try #require(error as? Failure ?? Failure(error), "\(error)")
        result = (failure.code, failure.message)
      }
      #expect(result.code == code && result.message.contains(part), "\(result)", sourceLocation: location)
    }
    try expect(65, "the tables are empty", try write(#"{"rows": []}"#, "empty.json"), hardware)
    try expect(65, "3 rows: no measured time", try write(try rows([:]), "untimed.json"), hardware)
    try expect(65, "3 rows: of another cluster: hw dgx-k9", try write(try rows(["hw": "dgx-k9", "iter_s": 1]), "other.json"), hardware)
    try expect(65, "its split is not published in full", try write(try rows(["tp": nil, "dp": nil, "iter_s": 1]), "open.json"), hardware)
    try expect(65, "ran out of memory", try write(try rows(["oom": true, "iter_s": 1]), "failed.json"), hardware)
    try expect(65, "cannot be read", path("gone.json"), hardware)
    try expect(64, "no table", hardware)
    try expect(64, "no hardware file", table)
    try expect(64, "devices of another kind, v100", table, hardware, "\(Tables.package)/hardware/dgx2_v100.json")
    try expect(64, "several kinds of device;", table, "\(Tables.package)/hardware/mixed-a100-v100.json")
    try expect(64, "two hardware files", table, hardware, hardware)
    try expect(64, "there is none of this name; known: gemm,", table, hardware, "--constant", "luck")
    try expect(64, "a row at least", table, hardware, "--rows-at-most", "0")
    try expect(64, "--all-rows", table, hardware, "\(Tables.package)/hardware/dgx_a100.json", "--all-rows")
    try expect(73, "cannot be written", table, hardware, "-o", path("nowhere/hw.json"))
    try expect(73, "it is a folder", table, hardware, "-o", folder.path)
    try expect(73, "no folder of this name", table, hardware, "\(Tables.package)/hardware/dgx_a100.json", "-o", path("nowhere"))
    let model = try expectModel()
    try expect(65, "not a model", model, hardware)
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).allSatisfy { $0.hasSuffix(".json") && $0 != "hw.json" })
  }

  private func expectModel() throws -> String { "\(Tables.package)/models/gpt2.json" }

  @Test("Rows of other names count with --all-rows")
  func allRows() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    let table = try write(try rows(["hw": nil, "iter_s": 0.05]), "rows.json")
    #expect(try fit(table, hardware, "--constant", "memory", "--folds", "0").code == 65)
    #expect(try fit(table, hardware, "--constant", "memory", "--folds", "0", "--all-rows", "--format", "json").code == 0)
  }
}
