// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels

extension CalibratedHardware.Machine {
  /// This machine, as a rank sees it. MPI has been started.
  ///
  /// - Parameter load: the system's load before the measurements.
  package static func current(load: Double) throws(ExecutionError) -> Self {
    Self(
      name: processorName() ?? "an unknown processor", cores: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))), memoryBytes: memoryBytes(),
      blas: BLAS.configuration().split(separator: " ").prefix(2).joined(separator: " ") + ", kernel \(BLAS.kernelName())",
      mpi: try MPILibrary.version(), date: today(), load: load)
  }

  /// Mean number of runnable processes over the last minute; 0 where the system does not say.
  package static func currentLoad() -> Double {
    var loads = [0.0]
    return getloadavg(&loads, 1) == 1 ? loads[0] : 0
  }

  private static func processorName() -> String? {
    guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("model name") }), let colon = line.firstIndex(of: ":")
    else { return nil }
    return line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
  }

  private static func memoryBytes() -> Int { Int(clamping: ProcessInfo.processInfo.physicalMemory) }

  private static func today() -> String {
    var (now, parts) = (time(nil), tm())
    gmtime_r(&now, &parts)
    return String(format: "%04d-%02d-%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday)
  }
}
