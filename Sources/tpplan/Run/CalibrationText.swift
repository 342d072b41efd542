// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import Quantities

/// What a calibration found, as a person and as a program read it.
struct CalibrationText {
  let file: HardwareFile
  let seconds: Double
  let output: String

  private func percent(_ share: Double) -> String { String(format: "%.1f %%", 100 * share) }

  var lines: [String] {
    guard let record = file.calibration else { return [] }
    let (device, level) = (file.devices[0], file.levels[0])
    let e = device.efficiency
    let peak = device.peaks[0].rate.value
    func fit(_ name: String) -> String {
      record.fits.first { $0.name == name }.map {
        "   (\(counted($0.measurements, "measurement")), off by \(percent($0.medianError)) in the median, \(percent($0.worstError)) at worst)"
      } ?? ""
    }
    func rate(_ value: Double) -> String { "\(rounded(value * 1e-9)) GFLOP/s" }
    let memory = device.memoryBandwidth
    var lines = [
      "\(record.machine), \(counted(record.cores, "core")), \(counted(record.ranks, "rank")) at once, \(record.blas), \(record.mpi)",
      "  products       \(rate(peak * e.gemm)), less for extents near \(rounded(e.gemmHalfRows)) x \(rounded(e.gemmHalfDepth)) x \(rounded(e.gemmHalfColumns))"
        + fit("matrix products"),
      "  attention      \(rate(peak * e.attention)) forward, \(rate(peak * e.attentionBackward)) backward" + fit("attention"),
      "  streams        \(memory * e.memory)" + fit("streams"),
      "  exponentials   \(rounded(e.exponentials * 1e-9)) in a nanosecond" + fit("exponentials"),
      "  optimizer      \(memory * e.optimizer)" + fit("optimizer"),
    ]
    if !record.collectives.isEmpty {
      let kinds = CommunicationPattern.allCases.map { "\($0.rawValue) \(level.bandwidth * level.patterns[$0])" }.joined(separator: ", ")
      lines.append("  communication  \(kinds); \(level.startup) a call, \(level.latency) a step" + fit("communication"))
    }
    if let hidden = record.hidden { lines.append("  hidden         \(percent(hidden)) of a message's time, behind a product") }
    lines.append("  process        \(device.processOverhead) beside tensors")
    lines.append(
      "  spread         quartiles of a measurement \(percent(record.spread)) apart; system load \(rounded(record.load)) before, \(Seconds(seconds)) in all"
    )
    lines.append("  hardware       \(output)")
    return lines
  }

  var json: JSON { ["hardware": file.json, "output": .string(output), "seconds": .double(seconds)] }
}
