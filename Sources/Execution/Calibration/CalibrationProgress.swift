// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// How far a calibration is, as rank 0 tells the process that started it: a line on stderr, which is taken out of the stream there.
package struct CalibrationProgress: Equatable, Sendable {
  private static let mark = "\u{1e}tpplan measured "

  /// From 0 to 1.
  package let part: Double

  package init(part: Double) { self.part = part }

  /// Nil where a line is something else.
  package init?(line: some StringProtocol) {
    guard line.hasPrefix(Self.mark), let part = Double(line.dropFirst(Self.mark.count)) else { return nil }
    self.part = part
  }

  var line: String { Self.mark + "\(part)" }

  /// Tells the process that started this one, if it listens.
  package func write() {
    if RankReport.isRead { StandardError.write("\(line)\n") }
  }
}
