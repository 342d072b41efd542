// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// One level of the interconnect: what joins devices into a node, nodes into a cluster, and so on outwards.
package struct Level: Hashable, Sendable {
  package let name: String
  /// How many units of the level below it joins (the innermost: devices); nil: any number.
  package let joins: Int?
  /// The nominal rate in one direction, of what `bandwidthIs` says.
  package let bandwidth: Bandwidth
  package let bandwidthIs: BandwidthOwner
  package let topology: Topology
  /// α: the time of one message step, without its bytes.
  package let latency: Seconds
  /// Paid once per collective or transfer, however many steps it has.
  package let startup: Seconds
  /// The fraction of the nominal rate that large messages reach.
  package let efficiency: Double
  /// Of that, what each kind of communication reaches.
  package let patterns: PatternEfficiency
  package let source: String?
  /// Which of its constants were fitted, on what, and what they are without.
  package let fit: FitRecord?

  package init(
    name: String, joins: Int?, bandwidth: Bandwidth, bandwidthIs: BandwidthOwner, topology: Topology = .switch, latency: Seconds,
    startup: Seconds = .zero, efficiency: Double = 1, patterns: PatternEfficiency = .even, source: String?,
    fit: FitRecord? = nil
  ) {
    self.name = name
    self.joins = joins
    self.bandwidth = bandwidth
    self.bandwidthIs = bandwidthIs
    self.topology = topology
    self.latency = latency
    self.startup = startup
    self.efficiency = efficiency
    self.patterns = patterns
    self.source = source
    self.fit = fit
  }

  /// Whose the bandwidth is.
  package enum BandwidthOwner: String, CaseIterable, Sendable {
    /// Each device has a port of its own.
    case device = "per device, one direction"
    /// The devices of a node that send at the same time share it.
    case node = "per node, one direction"
  }

  package enum Topology: String, CaseIterable, Sendable {
    /// Any unit reaches any other at the full rate.
    case `switch`
    /// The rate is divided over direct links to each other unit: a group of g among n units uses (g − 1) / (n − 1) of it.
    case mesh
  }

  /// The achievable rate when `members` of the joined units talk among themselves, before any sharing within a node.
  func bandwidth(amongst members: Int) -> Bandwidth {
    guard topology == .mesh, let joins, joins > 1 else { return bandwidth * efficiency }
    return bandwidth * efficiency * (Double(min(members, joins) - 1) / Double(joins - 1))
  }
}
