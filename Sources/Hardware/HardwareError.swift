// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

/// A hardware description that contradicts itself, or a request that it cannot serve.
package enum HardwareError: Error, Hashable, Sendable {
  /// A group names a device kind that the file does not define.
  case unknownDevice(file: String, path: String, name: String, known: [String])
  /// Two device kinds or levels have one name, or the list is empty.
  case badList(file: String, path: String, problem: String)
  /// Counts that do not fit together; `problem` gives the numbers.
  case inconsistent(file: String, path: String, problem: String)
  /// The cluster has fewer devices than were asked for.
  case tooManyDevices(cluster: String, requested: Int, available: Int)
  /// The number of devices is open (`"any"`) and none was asked for.
  case deviceCountNeeded(cluster: String)
  /// The device has no peak rate for a data type.
  case noPeak(device: String, precision: Precision, known: [Precision])
  /// The file has no number of this name.
  case noSuchNumber(file: String, name: String, known: [String])

  /// The process exit status: 64 (usage) for a request that cannot be served, 65 for a bad file, as in sysexits(3).
  package var exitCode: Int32 {
    switch self {
    case .tooManyDevices, .deviceCountNeeded, .noPeak, .noSuchNumber: 64
    case .unknownDevice, .badList, .inconsistent: 65
    }
  }
}

extension HardwareError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unknownDevice(let file, let path, let name, let known):
      "\(file): \(path): the device \"\(name)\" is not defined; defined: \(known.joined(separator: ", "))"
    case .badList(let file, let path, let problem), .inconsistent(let file, let path, let problem):
      "\(file): \(path): \(problem)"
    case .tooManyDevices(let cluster, let requested, let available):
      "\(counted(requested, "device")) asked for, but the cluster \"\(cluster)\" has \(available); ask for fewer or name another hardware file"
    case .deviceCountNeeded(let cluster):
      "the cluster \"\(cluster)\" has any number of devices; say how many with --devices"
    case .noPeak(let device, let precision, let known):
      "the device \"\(device)\" has no peak rate for \(precision.rawValue), only for \(known.map(\.rawValue).joined(separator: ", "));"
        + " choose one with --dtype or add it to peak_TFLOPS"
    case .noSuchNumber(let file, let name, let known):
      "\(file) has no number \"\(name)\"; "
        + (nearestSpelling(to: name, among: known).map { "did you mean \"\($0)\"?" } ?? "it has \(known.joined(separator: ", "))")
    }
  }
}
