// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Hardware
import Plans
import TestSupport
import Testing

@testable import Execution
@testable import tpplan

/// `tpplan calibrate` as a person starts it.
extension MPIRuns {
  @Suite struct CalibrateCommandTests {
    private func tpplan(_ arguments: String...) throws -> CommandLineRun { try CommandLineRun(arguments) }

    @Test("A quick calibration of one rank writes a file that estimate and search take")
    func quick() throws {
      let folder = FileManager.default.temporaryDirectory.appending(path: "tpplan-\(UUID().uuidString)")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(at: folder) }
      let hardware = folder.appending(path: "hw.json").path
      let calibrated = try tpplan("calibrate", "--ranks", "1", "--quick", "-o", hardware)
      try #require(calibrated.status == 0, "\(calibrated.output)")
      #expect(calibrated.output.contains("1 rank at once") && !calibrated.output.contains("\u{1e}"), "\(calibrated.output)")

      let file = try HardwareFile(readingFrom: hardware)
      let record = try #require(file.calibration)
      #expect(record.ranks == 1 && record.isQuick && record.collectives.isEmpty && record.blas.contains("kernel"))
      let device = file.devices[0]
      #expect(device.processOverhead.value > 1_048_576 && device.efficiency.exponentials.isFinite)

      let model = "Tests/Fixtures/torch/gpt2"
      let estimate = try tpplan("estimate", model, hardware, "--tp", "1", "--pp", "1", "--dp", "1", "--batch", "2", "--seq", "16")
      #expect(estimate.status == 0 && estimate.output.contains("on 1 device of local"), "\(estimate.output)")
      let plan = folder.appending(path: "plan.json").path
      let search = try tpplan("search", model, hardware, "--devices", "2", "--batch", "2", "--seq", "16", "-o", plan)
      #expect(search.status == 0, "\(search.output)")
      #expect(try PlanFile.read(plan).hardware == file)

      // A run on it says where its time went, and what a process was expected to have.
      let single = try tpplan("search", model, hardware, "--devices", "1", "--batch", "2", "--seq", "16", "-o", plan)
      #expect(single.status == 0, "\(single.output)")
      let run = try tpplan("run", plan, "--format", "json")
      let json = try JSON(parsing: Array(run.output.utf8), file: "run")
      guard case .array(let stages)? = json["parts"], case .array(let ranks)? = stages[0]["measured"], case .object(let parts) = ranks[0],
        case .array(let steps)? = json["step_seconds"]
      else { throw Unreadable(text: run.output) }
      let seconds = try parts.members.filter { $0.key != "collectives_seconds" }.map { try number($0.value) }
      // The parts are cut out of the step.
      #expect(try seconds.reduce(0, +) <= number(steps[0]) && seconds.contains { $0 > 0 })
      #expect(try number(json["step_core_share"].flatMap { if case .array(let all) = $0 { all[0] } else { nil } }) <= 1)
      guard case .array(let resident)? = json["predicted_rss_bytes"] else { throw Unreadable(text: run.output) }
      #expect(try number(resident[0]) > device.processOverhead.value)
    }

    private struct Unreadable: Error {
      let text: String
    }

    private func number(_ json: JSON?) throws -> Double {
      switch json {
      case .int(let value): return Double(value)
      case .double(let value): return value
      default: throw Unreadable(text: "\(String(describing: json)) is no number")
      }
    }

    @Test("Usage errors are told before anything is measured")
    func usage() throws {
      func code(_ arguments: String...) throws -> Int32 {
        do {
          try CalibrateCommand.parse(arguments).run()
          return 0
        } catch {
          return (error as? Failure ?? Failure(error))?.code ?? CalibrateCommand.exitCode(for: error).rawValue
        }
      }
      #expect(try code("--ranks", "0", "-o", "-") == 64 && code("--ranks", "-3", "-o", "-") == 64)
      #expect(try code("-o", "/no/such/folder/hw.json") == 73)
      #expect(try code() == 64 && code("--ranks", "two", "-o", "-") == 64)
    }
  }
}

/// Lines by which rank 0 says how far it is.
@Suite struct CalibrationProgressTests {
  @Test func comesBackFromItsLine() throws {
    let progress = CalibrationProgress(part: 0.25)
    #expect(CalibrationProgress(line: progress.line) == progress)
    #expect(CalibrationProgress(line: "measured 0.25") == nil && CalibrationProgress(line: "\u{1e}tpplan ended 0") == nil)
    // The launcher passes it on.
    var reader = RunDiagnostics()
    #expect(reader.read(progress.line) == [progress.line])
  }
}
