// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import Synchronization

/// The folder of hardware files, one for each key `hw` of tables, and the clusters taken from it.
package final class HardwareShelf: Sendable {
  package let folder: String

  private struct Key: Hashable {
    let name: String
    let devices: Int
    let devicesPerNode: Int
  }

  private struct State {
    var files: [String: Result<HardwareFile?, any Error>] = [:]
    var clusters: [Key: Cluster] = [:]
  }

  private let state = Mutex(State())

  package init(folder: String) { self.folder = folder }

  /// A shelf of files that are held, and no others.
  ///
  /// - Precondition: the names differ.
  package init(_ files: [(name: String, file: HardwareFile)]) {
    folder = "(given)"
    state.withLock { $0.files = Dictionary(uniqueKeysWithValues: files.map { ($0.name, .success($0.file)) }) }
  }

  /// The files that were asked for so far, by the names that rows call them, in order.
  package var used: [(name: String, file: HardwareFile)] {
    state.withLock { state in
      state.files.compactMap { name, result in (try? result.get()).map { (name, $0) } }.sorted { $0.0 < $1.0 }
    }
  }

  /// The cluster of a row.
  ///
  /// - Parameters:
  ///   - devicesPerNode: where a node has fewer than the file says; nil: as many.
  /// - Throws: `SkippedRow` where there is no file of the name, or it has too few devices; the file's own errors.
  func cluster(_ name: String, devices: Int, devicesPerNode: Int?) throws -> Cluster {
    let file = try file(name)
    let own = file.groups.count == 1 ? file.groups[0].devicesPerNode ?? devices : devices
    // Of a row on part of one node, the table gives that part.
    let perNode = devicesPerNode.map { devices > $0 ? min($0, own) : own } ?? own
    let key = Key(name: name, devices: devices, devicesPerNode: perNode)
    if let known = state.withLock({ $0.clusters[key] }) { return known }
    do {
      let cluster = try (perNode < own ? file.withNodes(of: perNode) : file).cluster(devices: devices)
      state.withLock { $0.clusters[key] = cluster }
      return cluster
    } catch let error as HardwareError where error.exitCode == 64 {
      throw SkippedRow("\(error)")
    }
  }

  private func file(_ name: String) throws -> HardwareFile {
    let path = "\(folder)/\(name).json"
    let found = state.withLock { state in
      if let known = state.files[name] { return known }
      // A name is a file's, never a way out of the folder.
      let isPlain = !name.isEmpty && !name.contains("/") && !name.hasPrefix(".")
      let read = Result { isPlain && FileManager.default.fileExists(atPath: path) ? try HardwareFile(readingFrom: path) : nil }
      state.files[name] = read
      return read
    }
    guard let file = try found.get() else { throw SkippedRow("no hardware file of this name: \(path)") }
    return file
  }
}

extension HardwareFile {
  /// The same devices on nodes of fewer.
  fileprivate func withNodes(of count: Int) throws -> HardwareFile {
    let group = Group(device: groups[0].device, devicesPerNode: count, nodes: nil)
    let inner = levels[0]
    let narrow = Level(
      name: inner.name, joins: inner.joins.map { min($0, count) }, bandwidth: inner.bandwidth, bandwidthIs: inner.bandwidthIs,
      topology: inner.topology,
      latency: inner.latency, startup: inner.startup, efficiency: inner.efficiency, patterns: inner.patterns, source: inner.source, fit: inner.fit)
    return try HardwareFile(name: name, source: source, devices: devices, groups: [group], levels: [narrow] + levels.dropFirst())
  }
}
