// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Testing

/// One run of execution-probe under the launcher.
struct ProbeRun {
  let outcome: Launcher.Outcome
  let output: String
  let diagnostics: [String]

  /// Beside the test bundle.
  static var program: String {
    get throws {
      let bundle = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
      return URL(filePath: bundle).deletingLastPathComponent().appending(path: "execution-probe").path
    }
  }

  init(ranks: Int, _ arguments: [String], environment: [(name: String, value: String)] = []) throws {
    var launcher = Launcher(ranks: ranks, arguments: arguments, environment: environment)
    launcher.forwardsSignals = false
    var lines: [String] = []
    var printed: [UInt8] = []
    outcome = try launcher.run(program: try Self.program, output: { printed += $0 }, diagnostics: { lines.append($0) })
    diagnostics = lines
    output = String(decoding: printed, as: UTF8.self)
  }

  /// What each rank printed.
  var ranks: [[String]] {
    get throws { try JSONDecoder().decode([[String]].self, from: Data(output.utf8)) }
  }
}

/// Everything that starts ranks: one run at a time, or they would wait for each other's cores.
@Suite(.serialized)
enum MPIRuns {}
