// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Reads mpirun's stderr line by line: takes out the ranks' reports and mpirun's banners about a rank's end, and keeps what
/// they say; everything else is passed on.
///
/// Open MPI prints each of its messages between two lines of 74 dashes. One that is not understood is passed on whole.
struct RunDiagnostics {
  /// How a rank ended the run, from the best account first.
  enum Failure: Equatable {
    case aborted(rank: Int, code: Int32, reason: String)
    case signalled(rank: Int, signal: String)
    case exited(rank: Int, code: Int32)
    case leftWithoutFinalizing(rank: Int)
  }

  private(set) var endedStatus: Int32?
  /// The last step's line that was not asked for yet.
  private var stepLine: String?
  /// Whether mpirun said that it has too few places for the ranks.
  private(set) var hasTooFewSlots = false
  /// A host to which mpirun lost its connection.
  private(set) var lostHost: String?
  private var reported: Failure?
  private var observed: Failure?
  private var banner: [String]?

  var failure: Failure? { reported ?? observed }

  private static let rule = String(repeating: "-", count: 74)
  /// No message of interest is longer; a rank that prints a rule itself must not have its output held back for long.
  private static let longestBanner = 40

  /// What to pass on of `line`, which has no line break.
  mutating func read(_ line: String) -> [String] {
    if let report = RankReport(line: line) {
      take(report)
      return []
    }
    if line == Self.rule {
      guard let lines = banner else {
        banner = []
        return []
      }
      banner = nil
      return take(lines) ? [] : [Self.rule] + lines + [Self.rule]
    }
    guard banner != nil else { return Self.isNoise(line) ? [] : [line] }
    banner?.append(line)
    return (banner?.count ?? 0) > Self.longestBanner ? end() : []
  }

  /// The line of the step that was read last, once.
  mutating func takeStep() -> String? {
    defer { stepLine = nil }
    return stepLine
  }

  /// What to pass on when the stream ends inside a banner.
  mutating func end() -> [String] {
    defer { banner = nil }
    return banner.map { [Self.rule] + $0 } ?? []
  }

  private mutating func take(_ report: RankReport) {
    switch report {
    case .ended(let status): endedStatus = status
    case .step(let json): stepLine = json
    // Several ranks often fail for one reason: the first is the message.
    case .aborted(let rank, let code, let reason): reported = reported ?? .aborted(rank: rank, code: code, reason: reason)
    }
  }

  /// Whether `lines` is a banner about a rank's end, which is then recorded.
  private mutating func take(_ lines: [String]) -> Bool {
    let text = lines.joined(separator: " ")
    if text.contains("Primary job  terminated normally") { return true }
    if text.contains("There are not enough slots available in the system") {
      hasTooFewSlots = true
      return true
    }
    if let match = text.firstMatch(of: /lost communication with a remote daemon.*Remote daemon: \S+ on node (\S+)/) {
      lostHost = lostHost ?? String(match.1)
      return true
    }
    guard let failure = Self.failure(in: text) else { return false }
    observed = observed ?? failure
    return true
  }

  private static func failure(in text: String) -> Failure? {
    if let match = text.firstMatch(of: /MPI_ABORT was invoked on rank (\d+) .*with errorcode (\d+)/),
      let rank = Int(match.1), let code = Int32(match.2)
    {
      return .aborted(rank: rank, code: code, reason: "called MPI_Abort with code \(code)")
    }
    if let match = text.firstMatch(of: /process rank (\d+) .*exited on signal (\d+ ?(?:\([^)]*\))?)/), let rank = Int(match.1) {
      return .signalled(rank: rank, signal: String(match.2))
    }
    if let match = text.firstMatch(of: /exited with non-zero status.*Process name: \[\[\d+,\d+\],(\d+)\]\s+Exit code:\s+(\d+)/),
      let rank = Int(match.1), let code = Int32(match.2)
    {
      return .exited(rank: rank, code: code)
    }
    if let match = text.firstMatch(of: /mpirun has exited due to process rank (\d+)\b/), let rank = Int(match.1) {
      return .leftWithoutFinalizing(rank: rank)
    }
    return nil
  }

  /// What Open MPI says about its own banners: that there were more, and that an abort left one half said; and what its event library
  /// says of a rank's pipe that closed when the rank was ended.
  private static func isNoise(_ line: String) -> Bool {
    line.contains("has sent help message help-") || line.contains("have sent help message help-")
      || (line.contains("ORTE_ERROR_LOG:") && line.contains("/show_help.c at line"))
      || (line.hasPrefix("[warn] Epoll ") && line.hasSuffix("Bad file descriptor"))
      || line.contains("Set MCA parameter \"orte_base_help_aggregate\"")
  }
}

extension RunDiagnostics.Failure: CustomStringConvertible {
  var description: String {
    switch self {
    case .aborted(let rank, _, let reason): "rank \(rank): \(reason)"
    case .signalled(let rank, let signal):
      "rank \(rank): killed by signal \(signal)"
        + (signal.hasPrefix("9") ? "; if nobody sent it, the machine ran out of memory" : "")
    case .exited(let rank, let code): "rank \(rank): ended with exit code \(code) while the others were running"
    case .leftWithoutFinalizing(let rank): "rank \(rank): ended while the others were running"
    }
  }
}
