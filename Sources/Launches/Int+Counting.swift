// SPDX-License-Identifier: GPL-3.0-or-later

extension Int {
  /// The product of counts, of which a launch may say any; the largest number where it is larger.
  func times(_ other: Int) -> Int {
    let (product, overflows) = multipliedReportingOverflow(by: other)
    return overflows ? .max : product
  }
}
