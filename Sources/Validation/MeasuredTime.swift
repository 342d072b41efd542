// SPDX-License-Identifier: GPL-3.0-or-later

/// The time that a row's prediction is compared with, and where it is from.
package struct MeasuredTime: Hashable, Sendable {
  package enum Source: String, Hashable, Sendable, CaseIterable {
    case published = "iter_s"
    case derived = "x_derived_iter_s"
    /// Narayanan et al. 2021, eq. 3: 96·BsLh²·(1 + s/6h + V/16Lh), which counts everything computed again.
    case hardwareRate = "tflops_gpu: 96 BsLh² (1 + s/6h + V/16Lh)"
    /// Korthikanti et al. 2022, eq. 7: 72·BsLh²·(1 + s/6h + V/12Lh).
    case modelRate = "tflops_gpu: 72 BsLh² (1 + s/6h + V/12Lh)"
  }

  package let seconds: Double
  package let source: Source

  /// - Returns: nil where the row has neither a time nor a rate whose formula is known, which is that of GPT's layers.
  init?(_ row: TableRow, _ published: PublishedFigures, style: ModelStyle?) {
    if let seconds = published.seconds {
      (self.seconds, source) = (seconds, .published)
    } else if let seconds = published.derivedSeconds {
      (self.seconds, source) = (seconds, .derived)
    } else {
      guard style == .gpt, row.experts == nil, let rate = published.teraflops, let kind = published.teraflopsKind,
        let batch = row.batch, let s = row.sequence, let layers = row.layers, let h = row.hidden, let vocabulary = row.vocabulary,
        let devices = row.devices
      else { return nil }
      let isHardware = kind.hasPrefix("hardware")
      guard isHardware || kind.hasPrefix("model") else { return nil }
      let (factor, depth) = isHardware ? (96.0, 16.0) : (72.0, 12.0)
      let (length, width, count) = (Double(s), Double(h), Double(layers))
      let work = factor * Double(batch) * length * count * width * width * (1 + length / (6 * width) + Double(vocabulary) / (depth * count * width))
      (seconds, source) = (work / (Double(devices) * rate * 1e12), isHardware ? .hardwareRate : .modelRate)
    }
  }
}
