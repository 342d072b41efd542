// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// One line on stderr by which a rank tells the launcher how it ended.
///
/// mpirun carries stderr from every host, and its own account of a failure has no reason in it. The line begins with a
/// control character that no message begins with, and the launcher takes it out of the stream.
enum RankReport: Equatable {
  /// The run ended in order with this exit code; written by rank 0 after MPI_Finalize.
  case ended(status: Int32)
  case aborted(rank: Int, code: Int32, reason: String)
  /// A step was done; one line of JSON, written by rank 0.
  case step(json: String)

  /// The launcher sets this for its ranks. Without it (a bare mpirun) a report is a plain message.
  static let variable = "TPPLAN_LAUNCHED"
  static var isRead: Bool { ProcessInfo.processInfo.environment[variable] != nil }

  private static let mark = "\u{1e}tpplan"
  /// A write of at most PIPE_BUF bytes is not torn by another rank's.
  private static let longestReason = 3500

  var line: String {
    switch self {
    case .ended(let status): "\(Self.mark) ended \(status)"
    case .aborted(let rank, let code, let reason):
      "\(Self.mark) aborted \(rank) \(code) \(Self.oneLine(reason))"
    case .step(let json): "\(Self.mark) step \(json)"
    }
  }

  /// Nil where `line` is not a report.
  init?(line: some StringProtocol) {
    if line.hasPrefix("\(Self.mark) step ") {
      self = .step(json: String(line.dropFirst("\(Self.mark) step ".count)))
      return
    }
    let words = line.split(separator: " ", maxSplits: 4, omittingEmptySubsequences: false)
    guard words.count >= 3, words[0] == Self.mark else { return nil }
    switch (words[1], words.count) {
    case ("ended", 3):
      guard let status = Int32(words[2]) else { return nil }
      self = .ended(status: status)
    case ("aborted", 5):
      guard let rank = Int(words[2]), let code = Int32(words[3]) else { return nil }
      self = .aborted(rank: rank, code: code, reason: words[4].replacingOccurrences(of: "\u{1f}", with: "\n"))
    default: return nil
    }
  }

  func write() {
    switch self {
    case _ where Self.isRead: StandardError.write("\(line)\n")
    case .aborted(let rank, _, let reason): StandardError.write("rank \(rank): \(reason)\n")
    case .step(let json): StandardError.write("\(json)\n")
    case .ended: break
    }
  }

  private static func oneLine(_ reason: String) -> String {
    let cut = reason.utf8.count > longestReason ? String(decoding: reason.utf8.prefix(longestReason), as: UTF8.self) + " …" : reason
    return cut.replacingOccurrences(of: "\n", with: "\u{1f}")
  }
}
