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
  /// How parameters were updated; empty where the file does not say.
  let settings: [TrainingSetting]
  let files: [File]

  var json: JSON {
    .object(
      JSON.Object([
        ("format", .string(Self.format)), ("model", .string(model)), ("optimizer", .string(optimizer.rawValue)), ("step", .int(step)),
        ("tokens", .int(tokens)), ("settings", .object(JSON.Object(settings.map { ($0.name, .string($0.value)) }))),
        ("files", .array(files.map { .object(JSON.Object([("name", .string($0.name)), ("bytes", .int($0.bytes))])) })),
      ]))
  }
}

/// One of the hyperparameters of a training that another run of it may have otherwise, by its option's name and as that is written.
package struct TrainingSetting: Equatable, Sendable {
  package let name: String
  package let value: String

  fileprivate static let names = Hyperparameters(optimizer: .adamw).settings.map(\.name)
}

extension Hyperparameters {
  /// All but the steps after which the learning rate has fallen, which follow from the run's.
  var settings: [TrainingSetting] {
    [
      ("lr", "\(learningRate.peak)"), ("schedule", learningRate.decay.rawValue), ("warmup", "\(learningRate.warmup)"),
      ("min-lr", "\(learningRate.minimum)"),
      ("clip-norm", clipNorm.map { "\($0)" } ?? "none"), ("weight-decay", "\(weightDecay)"), ("momentum", "\(momentum)"),
    ].map { TrainingSetting(name: $0.0, value: $0.1) }
  }
}

extension TrainingManifest {
  /// What was otherwise in the training that wrote this: each setting as it was, with what it is now.
  package func changes(to hyperparameters: Hyperparameters) -> [(before: TrainingSetting, now: String)] {
    settings.compactMap { before in
      hyperparameters.settings.first { $0.name == before.name && $0.value != before.value }.map { (before, $0.value) }
    }
  }

  /// - Throws: `DocumentError`.
  init(file: String) throws(DocumentError) {
    let object = try Document(readingFrom: file).root.object()
    let format = try object.node("format")
    guard try format.string() == Self.format else { throw format.invalid(expected: "\"\(Self.format)\"") }
    model = try object.string("model")
    optimizer = try object.choice("optimizer", of: OptimizerKind.self)
    step = try object.int("step", .nonNegative)
    tokens = try object.int("tokens", .nonNegative)
    var settings: [TrainingSetting] = []
    if let given = try object.objectIfPresent("settings") {
      for name in TrainingSetting.names {
        if let value = try given.stringIfPresent(name) { settings.append(TrainingSetting(name: name, value: value)) }
      }
      try given.finish()
    }
    self.settings = settings
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
