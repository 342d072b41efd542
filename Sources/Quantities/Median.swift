// SPDX-License-Identifier: GPL-3.0-or-later

extension Collection<Double> {
  /// The middle value, or the mean of the two in the middle; nil where there are none.
  package var median: Double? {
    let sorted = sorted()
    return sorted.isEmpty ? nil : (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }
}
