// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import Launches
import ModelGraph
import ONNXFormat
import Planner
import Plans
import Search
import ShardingProblems

/// How a command ends when it does not end well: the exit code that scripts can rely on, and what to say.
struct Failure: Error {
  static let verificationFailed: Int32 = 1
  static let nothingFits: Int32 = 2
  static let timeLimit: Int32 = 3
  static let usage: Int32 = 64
  static let badInput: Int32 = 65
  static let `internal`: Int32 = 70
  static let cannotWrite: Int32 = 73
  static let interrupted: Int32 = 130

  let code: Int32
  let message: String

  init(code: Int32, _ message: String) {
    self.code = code
    self.message = message
  }

  /// - Returns: nil for an error that the argument parser reports itself.
  init?(_ error: any Error) {
    switch error {
    case let error as UsageError: self.init(code: Self.usage, error.description)
    case let error as PlannerError:
      if case .usage(let text) = error { self.init(code: Self.usage, text) } else { self.init(code: Self.internal, error.description) }
    case let error as DocumentError: self.init(code: error.exitCode, error.description)
    case let error as HardwareError: self.init(code: error.exitCode, error.description)
    case let error as ModelError: self.init(code: Self.badInput, error.description)
    case let error as ONNXError: self.init(code: Self.badInput, error.description)
    case let error as PlanError: self.init(code: Self.badInput, error.description)
    case let error as LaunchError: self.init(code: Self.badInput, error.description)
    case let error as ShardingProblemError: self.init(code: error.exitCode, error.description)
    case let error as SearchError: self.init(code: Self.internal, "internal error: \(error)")
    case let error as any FailureReason: self.init(code: error.failureCode, error.description)
    default: return nil
    }
  }

  /// What an export's target cannot express of a plan.
  init(_ error: Inexpressible, target: String) { self.init(code: Self.badInput, "\(target) cannot express this plan: \(error)") }

  /// Says on standard error what went wrong.
  func report() { note("tpplan: \(message)") }
}

/// An error of a part that not every build has.
protocol FailureReason: Error, CustomStringConvertible {
  /// The exit code that it ends a command with.
  var failureCode: Int32 { get }
}
