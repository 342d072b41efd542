// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import Quantities

/// A hardware file from measurements: one device kind, a processor core with the memory of one rank, and one level, what joins the ranks.
package enum CalibratedHardware {
  /// What is known of the machine beside times.
  package struct Machine: Equatable, Sendable {
    package var name: String
    package var cores: Int
    package var memoryBytes: Int
    package var blas: String
    package var mpi: String
    package var date: String
    package var load: Double

    package init(name: String, cores: Int, memoryBytes: Int, blas: String, mpi: String, date: String, load: Double) {
      (self.name, self.cores, self.memoryBytes, self.blas, self.mpi) = (name, cores, memoryBytes, blas, mpi)
      (self.date, self.load) = (date, load)
    }
  }

  /// - Throws: `HardwareError`, where measurements leave no lawful file.
  package static func file(
    _ measured: CalibrationMeasurements, ranks: Int, isQuick: Bool, on machine: Machine
  ) throws(HardwareError) -> HardwareFile {
    let busy = ranks == 1 ? "one rank" : "\(ranks) ranks at once"
    let compute = ComputeFit(
      measured, source: "fitted to kernels of the executor, timed by tpplan calibrate on \(busy), with operands out of memory")
    let communication = CommunicationFit(measured.communication)
    let overhead = Bytes(measured.processBytes)
    let memory = Bytes(machine.memoryBytes / max(ranks, 1))
    let device = DeviceKind(
      name: "cpu-core",
      source:
        "one core of \(machine.name): tpplan calibrate on \(busy); memory: the machine's, shared out among them; reserved: what a process takes",
      peaks: [.init(precision: .fp32, rate: compute.peak)], memory: mebibytes(max(memory, overhead * 2), .down), reservedMemory: mebibytes(overhead),
      memoryBandwidth: compute.bandwidth, defaultPrecision: .fp32, launchOverhead: compute.launch, processOverhead: mebibytes(overhead),
      efficiency: compute.efficiency)
    let level: Level
    if let communication {
      level = Level(
        name: "shared memory", joins: nil, bandwidth: communication.bandwidth, bandwidthIs: .device, latency: communication.latency,
        startup: communication.startup, patterns: communication.patterns, source: "fitted to collectives and messages of the executor on \(busy)")
    } else {
      // A message is read and written twice, by either rank.
      level = Level(
        name: "shared memory", joins: nil, bandwidth: Bandwidth(rounded4(compute.bandwidth.value / 4)), bandwidthIs: .device,
        latency: .microseconds(1), source: "assumed, since one rank alone was measured: a quarter of the memory's rate, and 1 us")
    }
    let spread = measured.spreads.median ?? 0
    let record = CalibrationRecord(
      machine: machine.name, cores: machine.cores, blas: machine.blas, mpi: machine.mpi, date: machine.date, ranks: ranks, isQuick: isQuick,
      load: rounded4(machine.load), spread: rounded4(spread), hidden: measured.hidden.map(rounded4),
      fits: compute.errors + (communication?.errors ?? []), collectives: communication?.collectives ?? [])
    return try HardwareFile(
      name: "local", source: "this machine, measured by tpplan calibrate on \(machine.date)", devices: [device],
      groups: [.init(device: 0, devicesPerNode: nil, nodes: 1)], levels: [level], calibration: record)
  }

  /// Whole ones.
  private static func mebibytes(_ bytes: Bytes, _ rule: FloatingPointRoundingRule = .up) -> Bytes {
    Bytes((bytes.value / 1_048_576).rounded(rule) * 1_048_576)
  }
}
