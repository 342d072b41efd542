// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Strategies

/// What a training's checkpoint says of itself; the file that makes it complete.
package struct TrainingManifest: Equatable, Sendable {
  /// One rank's file.
  struct File: Equatable, Sendable {
    let name: String
    let bytes: Int
  }

  static let format = "tpplan/checkpoint/1"
  static let fileName = "manifest.json"

  /// The model's name.
  package let model: String
  package let optimizer: OptimizerKind
  /// Steps that were done.
  package let step: Int
  /// Tokens that were taken from the token file.
  package let tokens: Int
  let files: [File]

  var json: JSON {
    .object(
      JSON.Object([
        ("format", .string(Self.format)), ("model", .string(model)), ("optimizer", .string(optimizer.rawValue)), ("step", .int(step)),
        ("tokens", .int(tokens)),
        ("files", .array(files.map { .object(JSON.Object([("name", .string($0.name)), ("bytes", .int($0.bytes))])) })),
      ]))
  }
}

extension TrainingManifest {
  /// - Throws: `DocumentError`.
  init(file: String) throws(DocumentError) {
    let object = try Document(readingFrom: file).root.object()
    let format = try object.node("format")
    guard try format.string() == Self.format else { throw format.invalid(expected: "\"\(Self.format)\"") }
    model = try object.string("model")
    optimizer = try object.choice("optimizer", of: OptimizerKind.self)
    step = try object.int("step", .nonNegative)
    tokens = try object.int("tokens", .nonNegative)
    var files: [File] = []
    for element in try object.elements("files") {
      let entry = try element.object()
      let name = try entry.node("name")
      guard case let text = try name.string(), !text.isEmpty, !text.contains("/"), text != "..", text != "." else {
        throw name.invalid(expected: "the name of a file beside the manifest")
      }
      files.append(File(name: text, bytes: try entry.int("bytes", .nonNegative)))
      try entry.finish()
    }
    self.files = files
    try object.finish()
  }
}
