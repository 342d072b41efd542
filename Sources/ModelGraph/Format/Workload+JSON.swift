// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension Workload {
  /// Keys `batch` and `sequence`, both optional.
  ///
  /// - Throws: `DocumentError` for a value that is no whole number above 0, and for another key.
  init(reading node: Node) throws {
    let object = try node.object()
    let limit = Bound<Int>.within(1, ConfigurationReader.largestExtent)
    self.init(batch: try object.intIfPresent("batch", limit), sequence: try object.intIfPresent("sequence", limit))
    try object.finish()
  }

  /// The object that `init(reading:)` reads; nil where nothing is stated.
  var json: JSON? {
    var object = JSON.Object()
    object["batch"] = batch.map { .int($0) }
    object["sequence"] = sequence.map { .int($0) }
    return object.members.isEmpty ? nil : .object(object)
  }
}
