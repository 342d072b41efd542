// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A checkpoint that was written, as it is told while the ranks go on.
package struct CheckpointReport: Equatable, Sendable {
  package let path: String
  /// Steps that were done.
  package let step: Int
  /// What writing it took.
  package let seconds: Double

  var json: JSON { .object(JSON.Object([("checkpoint", .string(path)), ("step", .int(step)), ("seconds", .double(seconds))])) }
}

extension CheckpointReport {
  /// - Returns: nil where the line is none that a rank writes.
  package init?(json line: String) {
    guard let root = try? Document(file: "checkpoint", parsing: Array(line.utf8)).root, let object = try? root.object(),
      let path = try? object.string("checkpoint"), let step = try? object.int("step"), let seconds = try? object.double("seconds")
    else { return nil }
    self.init(path: path, step: step, seconds: seconds)
  }
}
