// SPDX-License-Identifier: GPL-3.0-or-later

/// What is wrong with an ONNX file as a file.
package enum ONNXError: Error, Equatable, Sendable, CustomStringConvertible {
  /// It, or a file of external data, cannot be read.
  case unreadable(file: String, reason: String)
  /// It breaks the format. `place` names the tensor or the message.
  case malformed(file: String, place: String, problem: String)

  package var description: String {
    switch self {
    case .unreadable(let file, let reason): "\(file): cannot be read: \(reason)"
    case .malformed(let file, let place, let problem): "\(file): \(place): \(problem)"
    }
  }
}
