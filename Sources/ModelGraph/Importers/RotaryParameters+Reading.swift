// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension RotaryParameters {
  /// How a family of models writes its rotary embedding down.
  struct Keys {
    var base = "rope_theta"
    var defaultBase = 10000.0
    /// The share of a head's features that is rotated, and its value where the file leaves it out.
    var fraction = "partial_rotary_factor"
    var defaultFraction = 1.0
    /// Whether another share than 1 is what the family's models compute.
    var allowsPart = false
  }

  /// What `rope_scaling` or `rope_parameters` says.
  private struct Statement {
    var base: Double?
    var fraction: Double?
    var scaling: Llama3Scaling?
  }

  /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both in files of newer versions of the library.
  ///
  /// - Throws: `ModelError.unsupported` for a type of scaling, or a share of the features, that is not implemented; `DocumentError` where the
  ///   keys disagree.
  init(reading file: inout ConfigurationReader, headSize: Int, keys: Keys = Keys()) throws {
    let statedBase = try file.optional(keys.base)?.double(.positive)
    let old = try file.optional("rope_scaling").map { try Self.statement($0, &file) }
    let new = try file.optional("rope_parameters").map { try Self.statement($0, &file) }
    let statedFraction = try file.optional(keys.fraction)?.double(.positive)
    let base = statedBase ?? new?.base ?? old?.base ?? keys.defaultBase
    let fraction = statedFraction ?? new?.fraction ?? old?.fraction ?? keys.defaultFraction
    for (key, found) in [("rope_parameters", new), ("rope_scaling", old)] {
      if let other = found?.base, other != base {
        throw file.invalid("\(key).rope_theta", found: "\(other)", expected: "\(base), the base that is stated beside it")
      }
      if let other = found?.fraction, other != fraction {
        throw file.invalid("\(key).partial_rotary_factor", found: "\(other)", expected: "\(fraction), the share that is stated beside it")
      }
    }
    if let old, let new, old.scaling != new.scaling {
      throw file.invalid(
        "rope_scaling", found: "a scaling that differs from rope_parameters", expected: "the same scaling, or only one of the two keys")
    }
    let place =
      statedFraction != nil ? keys.fraction : new?.fraction != nil ? "rope_parameters.partial_rotary_factor" : "rope_scaling.partial_rotary_factor"
    if fraction != 1 && !keys.allowsPart { throw file.unsupported(place, found: "\(fraction)", supported: "1") }
    let rotated = Int(Double(headSize) * min(fraction, 2))
    if rotated < 2 || rotated % 2 != 0 || rotated > headSize {
      throw file.invalid(
        statedFraction == nil && new?.fraction == nil && old?.fraction == nil ? keys.fraction : place, found: "\(fraction)",
        expected: "a share that leaves an even number of the \(headSize) features of a head, not \(rotated)")
    }
    self.init(base: base, scaling: (new ?? old)?.scaling, rotated: rotated == headSize ? nil : rotated)
  }

  private static func statement(_ node: Node, _ file: inout ConfigurationReader) throws -> Statement {
    let object = try node.object()
    var statement = Statement()
    statement.base = try object.doubleIfPresent("rope_theta", .positive)
    statement.fraction = try object.doubleIfPresent("partial_rotary_factor", .positive)
    // The key was called `type` before transformers 4.43.
    let (newName, oldName) = (object.nodeIfPresent("rope_type"), object.nodeIfPresent("type"))
    let type = try (newName ?? oldName)?.string()
    switch type {
    case nil, "default":
      // A factor has no effect on this type; without a type, what it should do is unclear, and it is refused as unknown.
      if type != nil { object.ignore("factor") }
    case "llama3":
      let scaling = Llama3Scaling(
        factor: try object.double("factor", .positive), lowFrequencyFactor: try object.double("low_freq_factor", .positive),
        highFrequencyFactor: try object.double("high_freq_factor", .positive),
        originalMaxPositions: try object.int("original_max_position_embeddings", .within(1, ConfigurationReader.largestExtent)))
      if scaling.lowFrequencyFactor >= scaling.highFrequencyFactor {
        throw try object.node("high_freq_factor").invalid(expected: "more than low_freq_factor, \(scaling.lowFrequencyFactor)")
      }
      statement.scaling = scaling
    default:
      throw file.unsupported(newName ?? oldName ?? node, supported: "\"default\", \"llama3\", or no scaling")
    }
    try object.finish()
    return statement
  }
}
