// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// The environment variables with which a rank should start, because OpenBLAS reads them in its library constructor.
package enum BLASEnvironment {
  static let coreType = "OPENBLAS_CORETYPE"
  static let threadCount = "OPENBLAS_NUM_THREADS"

  /// - Parameters:
  ///   - kernel: the kernel that OpenBLAS picked here, from `openblas_get_corename`; nil where that is not known.
  ///   - threads: BLAS threads per rank.
  ///   - flags: the processor's features, by Linux's names.
  ///   - environment: what is set already; the user's own choice of a kernel stands.
  /// - Returns: names and values that differ from `environment`, by name.
  package static func variables(
    kernel: String?, threads: Int, flags: Set<String> = processorFlags(),
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> [(name: String, value: String)] {
    var variables: [(name: String, value: String)] = []
    if environment[coreType] == nil, let kernel, needsSkylakeX(kernel: kernel, flags: flags) {
      variables.append((coreType, "SkylakeX"))
    }
    if environment[threadCount] != "\(threads)" { variables.append((threadCount, "\(threads)")) }
    return variables
  }

  /// What to say where the user's own choice of a kernel leaves the processor's AVX-512 units idle; nil where it does not.
  package static func remark(
    kernel: String, flags: Set<String> = processorFlags(), environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> String? {
    guard let chosen = environment[coreType], needsSkylakeX(kernel: kernel, flags: flags) else { return nil }
    return "\(coreType)=\(chosen) is set; without it ranks use a kernel with AVX-512, which suits this processor better"
  }

  /// OpenBLAS 0.3.21 falls back to an AVX2 kernel on processors that it does not know, at half the speed where they have
  /// AVX-512 (design §8). Its SkylakeX kernels use exactly these features.
  static func needsSkylakeX(kernel: String, flags: Set<String>) -> Bool {
    let isWide = ["skylakex", "cooperlake", "sapphirerapids"].contains(kernel.lowercased())
    return !isWide && flags.isSuperset(of: ["avx512f", "avx512dq", "avx512bw", "avx512vl"])
  }

  /// The first processor's flags from /proc/cpuinfo; empty where there are none.
  package static func processorFlags(cpuinfo path: String = "/proc/cpuinfo") -> Set<String> {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return [] }
    for line in text.split(separator: "\n") where line.hasPrefix("flags") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      return Set(line[line.index(after: colon)...].split(separator: " ").map(String.init))
    }
    return []
  }
}
