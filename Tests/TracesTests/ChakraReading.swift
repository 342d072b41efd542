// SPDX-License-Identifier: GPL-3.0-or-later
import ChakraFormat
import Plans
import SwiftProtobuf
import Testing
import Traces

/// One rank's file, read again.
struct ReadTrace {
  let metadata: Chakra_GlobalMetadata
  let nodes: [Chakra_Node]

  init(_ bytes: [UInt8]) throws {
    var (place, messages) = (0, [ArraySlice<UInt8>]())
    while place < bytes.count {
      var (length, shift) = (0, 0)
      while true {
        let byte = try #require(place < bytes.count ? bytes[place] : nil)
        place += 1
        length |= Int(byte & 0x7f) << shift
        shift += 7
        if byte & 0x80 == 0 { break }
      }
      try #require(place + length <= bytes.count)
      messages.append(bytes[place..<place + length])
      place += length
    }
    metadata = try Chakra_GlobalMetadata(serializedBytes: Array(try #require(messages.first)))
    nodes = try messages.dropFirst().map { try Chakra_Node(serializedBytes: Array($0)) }
  }

  /// Every rank's, and the groups by number.
  static func all(of plan: Plan) throws -> (ranks: [ReadTrace], groups: [String: [Int]]) {
    var trace = try ChakraTrace(plan)
    let ranks = try (0..<plan.decision.ranks).map { try ReadTrace(trace.file(ofRank: $0).bytes) }
    guard case .object(let groups) = trace.groupsJSON else { return (ranks, [:]) }
    return (
      ranks,
      Dictionary(
        uniqueKeysWithValues: groups.members.map { member in
          guard case .array(let numbers) = member.value else { return (member.key, []) }
          return (member.key, numbers.compactMap { if case .int(let rank) = $0 { rank } else { nil } })
        })
    )
  }
}

extension Chakra_Node {
  private func attribute(_ name: String) -> Chakra_Attribute? { attr.first { $0.name == name } }

  // As the feeder of mlcommons/chakra reads them: a value of another type is 0 there.
  var commType: Int { Int(attribute("comm_type")?.int64Val ?? -1) }
  var commSize: Int { Int(attribute("comm_size")?.int64Val ?? 0) }
  var source: Int { Int(attribute("comm_src")?.int32Val ?? -1) }
  var destination: Int { Int(attribute("comm_dst")?.int32Val ?? -1) }
  var tag: Int { Int(attribute("comm_tag")?.int32Val ?? -1) }
  var group: String { attribute("pg_name")?.stringVal ?? "" }
  var operations: Int { Int(attribute("num_ops")?.int64Val ?? 0) }
  var tensorSize: Int { Int(attribute("tensor_size")?.uint64Val ?? 0) }
}

/// Carries traces out as ASTRA-sim does: of what waits for nothing the lowest number first; a rank has one collective or sent message at a time, and any
/// number of receives.
struct Replay {
  private let traces: [ReadTrace]
  private let groups: [String: [Int]]
  private let obeysControl: Bool
  private var done: [Set<UInt64>]
  /// By rank the collective that waits for the rest of its group.
  private var waiting: [UInt64?]
  private var begun: [Set<UInt64>]
  private var delivered: Set<[Int]> = []

  /// - Parameter obeysControl: whether control dependencies count: an older feeder passes over them.
  init(_ traces: [ReadTrace], _ groups: [String: [Int]], obeysControl: Bool) {
    (self.traces, self.groups, self.obeysControl) = (traces, groups, obeysControl)
    done = traces.map { _ in [] }
    begun = done
    waiting = traces.map { _ in nil }
  }

  /// - Returns: how many nodes could not be carried out.
  mutating func run() -> Int {
    while step() {}
    return zip(traces, done).reduce(0) { $0 + $1.0.nodes.count - $1.1.count }
  }

  private mutating func step() -> Bool {
    var moved = false
    for rank in traces.indices {
      for node in traces[rank].nodes where !done[rank].contains(node.id) && !begun[rank].contains(node.id) {
        guard (node.dataDeps + (obeysControl ? node.ctrlDeps : [])).allSatisfy(done[rank].contains) else { continue }
        switch node.type {
        case .commCollNode:
          guard waiting[rank] == nil else { continue }
          (waiting[rank], moved) = (node.id, true)
          begun[rank].insert(node.id)
        case .commSendNode:
          guard waiting[rank] == nil else { continue }
          delivered.insert([rank, node.destination, node.tag])
          finish(node.id, rank)
          moved = true
        case .commRecvNode:
          guard delivered.contains([node.source, rank, node.tag]) else { continue }
          finish(node.id, rank)
          moved = true
        default:
          finish(node.id, rank)
          moved = true
        }
      }
    }
    return completeCollectives() || moved
  }

  private mutating func finish(_ id: UInt64, _ rank: Int) { done[rank].insert(id) }

  private mutating func completeCollectives() -> Bool {
    var completed = false
    for members in groups.values {
      let own = members.compactMap { rank in waiting[rank].map { traces[rank].nodes[Int($0) - 1] } }
      guard own.count == members.count, let first = own.first, own.allSatisfy({ groups[$0.group] == members }) else { continue }
      // Two collectives of one group that meet are one.
      guard own.allSatisfy({ $0.commType == first.commType && $0.commSize == first.commSize }) else { continue }
      for (rank, node) in zip(members, own) {
        finish(node.id, rank)
        waiting[rank] = nil
      }
      completed = true
    }
    return completed
  }
}
