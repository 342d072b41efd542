// SPDX-License-Identifier: GPL-3.0-or-later

/// Why a problem could not be built or solved.
package enum SearchError: Error, Equatable, CustomStringConvertible {
  case noObjectiveRows
  case wrongCount(what: String, found: Int, expected: String)
  case unknownNode(Int, count: Int)
  case edgeToItself(node: Int)
  case unknownMemoryRows(Range<Int>, count: Int)
  case costOutOfRange(Int64, what: String)
  case negativeUsage(Int64, node: Int, strategy: Int)
  case sumOutOfRange(what: String)
  case solverFailed(function: String, code: Int)
  case cannotWrite(path: String)

  package var description: String {
    switch self {
    case .noObjectiveRows: "the problem has no objective row; expected at least one offset"
    case .wrongCount(let what, let found, let expected): "\(what): found \(found) values, expected \(expected)"
    case .unknownNode(let node, let count): "node \(node): the problem has \(count) nodes; expected 0..<\(count)"
    case .edgeToItself(let node): "an edge joins node \(node) to itself; add its diagonal to the node's costs instead"
    case .unknownMemoryRows(let rows, let count): "memory rows \(rows): the problem has \(count) limits; expected a range within 0..<\(count)"
    case .costOutOfRange(let cost, let what): "\(what): cost \(cost) is outside -10^18...10^18; use 10^18 for a forbidden entry"
    case .negativeUsage(let usage, let node, let strategy): "node \(node), strategy \(strategy): usage \(usage) is negative; expected 0 or more"
    case .sumOutOfRange(let what): "\(what): the largest magnitudes add up to more than \(Problem.largestSum); use a coarser unit"
    case .solverFailed(let function, let code): "\(function) failed with code \(code) on a valid problem; try again with another time limit"
    case .cannotWrite(let path): "\(path): cannot be written; check that the folder exists and is writable"
    }
  }
}
