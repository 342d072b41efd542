// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A clock that only goes forward (CLOCK_MONOTONIC), read in some 30 ns: cheap enough to be read around every instruction of a program.
enum MonotonicClock {
  /// Seconds since some time in the past.
  static var now: Double { read(CLOCK_MONOTONIC) }

  /// The processor time of the calling thread, which stands still while others have the core (CLOCK_THREAD_CPUTIME_ID).
  static var threadSeconds: Double { read(CLOCK_THREAD_CPUTIME_ID) }

  /// What says whether two processes read the same clock: the kernel's boot, which all processes of a host share. Nil where the system does not say.
  static var identity: String? { try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8) }

  private static func read(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
  }
}
