// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// Reads the keys of one `config.json` with the library's defaults, and refuses what would change the numbers and is not implemented.
///
/// A key that is present must have a value: `null` means "the default" only for keys that the library itself defaults to `None`.
package struct ConfigurationReader {
  package static let largestExtent = GraphBuilder.largestExtent
  /// No model may have more blocks.
  package static let mostLayers = 1 << 14

  private let object: ObjectReader
  /// The keys that were asked for, in order, for the message about an unknown one.
  private var known: [String] = []
  /// The extents that the file leaves out, with the library's value: `hidden_size 4096`.
  package private(set) var defaults: [String] = []

  package init(_ node: Node) throws {
    object = try node.object()
  }

  /// The value of a key, also where it is null; nil where it is left out.
  private mutating func node(_ key: String) throws -> Node? {
    if !known.contains(key) { known.append(key) }
    return object.contains(key) ? try object.node(key) : nil
  }

  /// The value of a key; nil where it is left out or null.
  package mutating func optional(_ key: String) -> Node? {
    if !known.contains(key) { known.append(key) }
    return object.nodeIfPresent(key)
  }

  package func contains(_ key: String) -> Bool { object.contains(key) }

  package mutating func extent(_ key: String, default value: Int, atMost limit: Int = largestExtent) throws -> Int {
    if let node = try node(key) { return try node.int(.within(1, limit)) }
    let text = "\(key) \(value)"
    if !defaults.contains(text) { defaults.append(text) }
    return value
  }

  /// An extent whose key may be null.
  package mutating func optionalExtent(_ key: String) throws -> Int? {
    try optional(key)?.int(.within(1, Self.largestExtent))
  }

  package mutating func bool(_ key: String, default value: Bool) throws -> Bool { try node(key)?.bool() ?? value }

  package mutating func positive(_ key: String, default value: Double) throws -> Double { try node(key)?.double(.positive) ?? value }

  /// A dropout probability. A value of 1 would drop everything.
  package mutating func probability(_ key: String, default value: Double) throws -> Double {
    guard let node = try node(key) else { return value }
    let found = try node.double()
    guard found >= 0 && found < 1 else { throw node.invalid(expected: "a probability from 0 to below 1") }
    return found
  }

  /// An activation by the library's name for it (`transformers.activations.ACT2FN`).
  package mutating func activation(_ key: String, default value: ActivationFunction) throws -> ActivationFunction {
    guard let node = try node(key) else { return value }
    let found = try node.string()
    guard let function = Self.activations.first(where: { $0.name == found })?.function else {
      throw unsupported(node, supported: Self.activations.map(\.name).joined(separator: ", "))
    }
    return function
  }

  private static let activations: [(name: String, function: ActivationFunction)] = [
    ("gelu", .gelu), ("gelu_python", .gelu), ("gelu_new", .geluTanh), ("gelu_pytorch_tanh", .geluTanh), ("gelu_fast", .geluTanh),
    ("quick_gelu", .quickGelu), ("silu", .silu), ("swish", .silu), ("relu", .relu), ("relu2", .squaredRelu), ("tanh", .tanh),
  ]

  /// Refuses any value of a key but one; the key may be left out or null.
  package mutating func require(_ key: String, _ value: JSON) throws {
    if let node = optional(key), node.value != value { throw unsupported(node, supported: value.summary) }
  }

  /// The error that a key's value would change the numbers and is not implemented.
  package func unsupported(_ node: Node, supported: String) -> ModelError {
    .unsupported(file: node.file, path: node.path, found: node.value.summary, supported: supported)
  }

  /// The error that a key, which may be left out, does not fit the others.
  package func invalid(_ key: String, found: String, expected: String) -> DocumentError {
    .invalid(file: object.node.file, path: path(key), found: object.contains(key) ? found : found + " (the default)", expected: expected)
  }

  /// The error that a key's value, which may be the default, would change the numbers and is not implemented.
  package func unsupported(_ key: String, found: String, supported: String) -> ModelError {
    .unsupported(
      file: object.node.file, path: path(key), found: object.contains(key) ? found : found + " (the default)", supported: supported)
  }

  private func path(_ key: String) -> String { "\(object.node.path).\(key)" }

  /// Features per head, where the heads share the hidden dimension.
  package func headSize(hidden: Int, hiddenKey: String, heads: Int, headsKey: String) throws -> Int {
    if hidden % heads != 0 { throw invalid(headsKey, found: "\(heads)", expected: "a divisor of \(hiddenKey), \(hidden)") }
    return hidden / heads
  }

  /// The head by the class that `architectures` names; `fallback` where the file names none.
  ///
  /// - Throws: `ModelError.unsupported` for another class, listing those that are known, and for more than one.
  package mutating func head<Head>(_ heads: [(className: String, head: Head)], default fallback: Head) throws -> Head {
    guard let node = optional("architectures") else { return fallback }
    let names = try node.elements()
    guard let first = names.first else { return fallback }
    let list = "one of " + heads.map(\.className).joined(separator: ", ")
    if names.count > 1 { throw unsupported(node, supported: list) }
    let found = try first.string()
    guard let head = heads.first(where: { $0.className == found })?.head else { throw unsupported(first, supported: list) }
    return head
  }

  /// The number of classes of a classifier: the entries of `id2label`, else `num_labels`, else 2.
  package mutating func classes() throws -> Int {
    let named = try optional("id2label")?.members().count
    let counted = try optionalExtent("num_labels")
    if let named, let counted, named != counted {
      throw invalid("num_labels", found: "\(counted)", expected: "\(named), the entries of id2label")
    }
    let count = named ?? counted ?? 2
    // The library trains one class, and several independent ones, with another loss than softmax cross-entropy.
    if count < 2 {
      throw unsupported(named == nil ? "num_labels" : "id2label", found: "\(count) class", supported: "at least 2 (softmax cross-entropy)")
    }
    try require("problem_type", "single_label_classification")
    return count
  }

  /// The model's name: `name`, else the library's `_name_or_path`, else the model type.
  package mutating func name(default modelType: String) throws -> String {
    for key in ["name", "_name_or_path"] {
      if let found = try optional(key)?.string(), !found.isEmpty { return found }
    }
    return modelType
  }

  /// `"workload": {"batch": …, "sequence": …}`, a key of ours.
  ///
  /// - Parameter maximumSequence: the most positions that the model has; nil where the workload does not choose the sequence.
  package mutating func workload(maximumSequence: Int?) throws -> Workload {
    guard let node = optional("workload") else { return Workload() }
    let workload = try Workload(reading: node)
    if let sequence = workload.sequence, sequence > maximumSequence ?? 0 {
      throw DocumentError.invalid(
        file: node.file, path: node.path + ".sequence", found: "\(sequence)",
        expected: maximumSequence.map { "at most \($0), the model's positions" } ?? "no such key: the model's images fix the sequence")
    }
    return workload
  }

  /// To be called when everything was read: a key that is left over and not known to be harmless is an error.
  ///
  /// - Parameter harmless: keys of this architecture that do not change the model's numbers, besides those of every architecture.
  /// - Throws: `DocumentError.unknownKey`; `ModelError.unsupported` for keys of every architecture that change the numbers.
  package mutating func finish(harmless: [String]) throws {
    if let node = optional("quantization_config") { throw unsupported(node, supported: "null (weights as they are)") }
    if let node = optional("pruned_heads"), try !node.members().isEmpty { throw unsupported(node, supported: "an empty object") }
    try require("is_encoder_decoder", false)
    try require("add_cross_attention", false)
    let accepted = Set(harmless).union(Self.harmlessKeys)
    _ = optional("model_type")
    for key in object.unreadKeys where !accepted.contains(key) {
      throw DocumentError.unknownKey(
        file: object.node.file, path: path(key), nearest: nearestSpelling(to: key, among: known + accepted.sorted()), known: known)
    }
  }
}
