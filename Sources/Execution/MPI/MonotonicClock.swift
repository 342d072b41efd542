// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A clock that only goes forward (CLOCK_MONOTONIC), read in some 30 ns: cheap enough to be read around every instruction of a program.
enum MonotonicClock {
  /// Seconds since some time in the past.
  static var now: Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }
}
