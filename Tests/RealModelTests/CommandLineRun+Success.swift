// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

extension CommandLineRun {
  /// Ends the test, with what was printed, where the run failed.
  func requireSuccess() throws {
    try #require(status == 0, "tpplan \(arguments.joined(separator: " ")):\n\(output)")
  }
}
