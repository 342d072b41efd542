// SPDX-License-Identifier: GPL-3.0-or-later
import ChakraFormat
import Documents
import Foundation
import Lowering
import Planner
import Plans
import Report

/// A plan's step as MLCommons Chakra execution traces (Sridharan et al. 2023, "Chakra: Advancing Performance Benchmarking and Co-design using Standardized
/// Execution Traces"), which ASTRA-sim replays: a file for each rank, and the groups of ranks that have collectives together.
package struct ChakraTrace {
  package static let groupsFile = "comm_groups.json"

  private let plan: Plan
  private let step: PredictedStep
  /// What the files' names begin with.
  package let name: String
  private var groups = CommunicatorGroups()

  /// - Throws: `HardwareError`, which a plan that was read does not give rise to.
  package init(_ plan: Plan) throws {
    self.plan = plan
    step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    let letters = plan.decision.graph.name.map { $0.isASCII && ($0.isLetter || $0.isNumber || "-_".contains($0)) ? $0 : "_" }
    name = letters.isEmpty ? "plan" : String(letters)
  }

  package func fileName(ofRank rank: Int) -> String { "\(name).\(rank).et" }

  /// One rank's file. Groups are numbered as ranks are asked for.
  package mutating func file(ofRank rank: Int) throws -> ChakraFile {
    let report = try ProgramReport(plan, rank: rank)
    var nodes = ChakraNodes(report, step.instructionPrices(of: report.program), groups)
    nodes.addAll()
    groups = nodes.groups
    var file = ChakraFile()
    for node in nodes.nodes { file.append(node) }
    return file
  }

  /// As ASTRA-sim's `--comm-group-configuration` has them: by number, the ranks.
  package var groupsJSON: JSON {
    .object(JSON.Object(groups.all.enumerated().map { number, ranks in ("\(number + 1)", .array(ranks.map { .int($0) })) }))
  }

  /// Writes a file for each rank, and the groups, into a folder that is there whole or not at all.
  ///
  /// - Returns: the bytes of all files.
  /// - Throws: `DocumentError.unwritable`.
  package mutating func write(to folder: String) throws -> Int {
    var total = 0
    try atomicWriteFolder(folder) { partial in
      for rank in 0..<plan.decision.ranks {
        let bytes = try file(ofRank: rank).bytes
        total += bytes.count
        try atomicWrite(bytes, to: "\(partial)/\(fileName(ofRank: rank))")
      }
      let bytes = groupsJSON.prettyBytes
      total += bytes.count
      try atomicWrite(bytes, to: "\(partial)/\(Self.groupsFile)")
    }
    return total
  }
}

/// The groups of ranks that have collectives together, numbered from 1: ASTRA-sim's group 0 is that of all ranks, and has no entry.
struct CommunicatorGroups {
  private(set) var all: [[Int]] = []
  private var numbers: [[Int]: Int] = [:]

  mutating func number(of ranks: [Int]) -> Int {
    let ranks = ranks.sorted()
    if let known = numbers[ranks] { return known }
    all.append(ranks)
    numbers[ranks] = all.count
    return all.count
  }
}
