// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Quantities
import Strategies

/// One setting of a launch, written otherwise.
package struct LaunchEdit: Hashable, Sendable {
  /// `--tensor-model-parallel-size`, `zero_optimization.stage`.
  package let setting: String
  /// Nil: the setting is left out. An option without a value is true.
  package let value: JSON?
  /// Whether the launch's format has no such setting: it is said elsewhere, and named as an option of `tpplan estimate`.
  package let isBeyond: Bool
  /// What the launch calls the setting, which may be an older name.
  let name: String

  init(_ setting: String, _ value: JSON?, isBeyond: Bool = false, name: String? = nil) {
    (self.setting, self.value, self.isBeyond, self.name) = (setting, value, isBeyond, name ?? setting)
  }
}

/// What a launch was read from: it can be read again with some settings written otherwise.
package struct LaunchSource: Sendable {
  /// Whether a setting stands in it.
  package let contains: @Sendable (String) -> Bool
  /// Settings that stand in it under older names, with these.
  var olderNames: [String: String] = [:]
  /// The launch with edits, none of which is beyond its format, on a number of devices.
  package let edited: @Sendable (_ edits: [LaunchEdit], _ devices: Int) throws -> Launch
}

/// The edits that make a launch of some degrees one of others, in the settings of its format.
struct LaunchEdits {
  let format: LaunchFormat
  let old: MegatronDegrees
  let new: MegatronDegrees
  let oldSoftware: Software
  let newSoftware: Software
  let job: Job
  let source: LaunchSource?
  private(set) var edits: [LaunchEdit] = []

  /// What of a job decides how degrees are written.
  struct Job {
    /// Sequences of a step, which no edit changes.
    var batch = 1
    /// Whether the launch says them, or they are given apart.
    var statesBatch = true
    /// Of the model.
    var layers = 1
    /// Whether chunks are said by how many layers each has.
    var countsLayersOfChunks = false
  }

  init(
    _ format: LaunchFormat, from old: MegatronDegrees, to new: MegatronDegrees, software: (old: Software, new: Software) = (Software(), Software()),
    job: Job = Job(), source: LaunchSource? = nil
  ) {
    (self.format, self.old, self.new, self.job, self.source) = (format, old, new, job, source)
    (oldSoftware, newSoftware) = software
    switch format {
    case .megatron: writeMegatron()
    case .deepspeed: writeDeepSpeed()
    case .torchtitan: writeTorchtitan()
    case .huggingFace: writeStyles()
    case .torch: writeOptions()
    }
  }

  /// Whether a setting stands in the launch.
  func has(_ setting: String) -> Bool { source?.contains(setting) ?? false }

  mutating func set(_ setting: String, _ value: JSON) { edits.append(LaunchEdit(setting, value, name: source?.olderNames[setting])) }

  /// Leaves settings out, where they stand.
  mutating func drop(_ settings: String...) {
    for setting in settings where has(setting) { edits.append(LaunchEdit(setting, nil, name: source?.olderNames[setting])) }
  }

  /// A change that the format cannot say.
  mutating func beyond(_ option: String, _ value: JSON?) { edits.append(LaunchEdit(option, value, isBeyond: true)) }

  /// A degree, which is left out where it is 1.
  mutating func set(degree: KeyPath<MegatronDegrees, Int>, _ setting: String) {
    guard new[keyPath: degree] != old[keyPath: degree] else { return }
    if new[keyPath: degree] == 1, has(setting) { drop(setting) } else { set(setting, .int(new[keyPath: degree])) }
  }

  /// `--tensor-model-parallel-size 4 without --sequence-parallel and --tp-comm-overlap on 16 devices`.
  var text: String {
    var words = edits.compactMap { $0.text(format) }
    let dropped = edits.filter { $0.value == nil }.map(\.name)
    if !dropped.isEmpty { words.append("without \(dropped.joined(separator: " and "))") }
    if new.devices != old.devices { words.append("on \(counted(new.devices, "device"))") }
    return words.joined(separator: format == .megatron || format == .torch ? " " : ", ")
  }

  // MARK: - Formats without settings of their own

  /// A plan of styles says over how many devices modules are split; the replicas are what is left.
  private mutating func writeStyles() {
    if new.tensor != old.tensor { set("tp_size", .int(new.tensor)) }
    writeOptions(isStyled: true)
  }

  /// Options of `tpplan estimate`.
  private mutating func writeOptions(isStyled: Bool = false) {
    func options(_ degrees: MegatronDegrees, _ software: Software) -> [(String, JSON?)] {
      let own: [(String, JSON?)] = isStyled ? [] : [("--tp", .int(degrees.tensor)), ("--dp", .int(degrees.data))]
      return own + [
        ("--pp", .int(degrees.pipeline)), ("--cp", .int(degrees.context)), ("--ep", .int(degrees.expert)),
        ("--sp", degrees.isSequenceParallel ? .bool(true) : nil), ("--zero", .int(degrees.zero.rawValue)),
        ("--recompute", .string(degrees.recompute.rawValue)), ("--recompute-layers", degrees.recomputedLayers.map { .int($0) }),
        ("--vpp", .int(degrees.chunks)), ("--micro-batch", degrees.microBatchSize.map { .int($0) }),
        ("--stages", degrees.stageLayers.map { .string($0.map(String.init).joined(separator: ",")) }),
        ("--overlap", .string(software.overlap.rawValue)), ("--attention", .string(software.attention.rawValue)),
        ("--cross-entropy", .string(software.crossEntropy.rawValue)),
      ]
    }
    for (new, old) in zip(options(new, newSoftware), options(old, oldSoftware)) where new.1 != old.1 { beyond(new.0, new.1) }
  }

  /// What no setting of a format says of kernels.
  mutating func writeKernels(attention: Bool = true, crossEntropy: Bool = true) {
    if attention, newSoftware.attention != oldSoftware.attention { beyond("--attention", .string(newSoftware.attention.rawValue)) }
    if crossEntropy, newSoftware.crossEntropy != oldSoftware.crossEntropy {
      beyond("--cross-entropy", .string(newSoftware.crossEntropy.rawValue))
    }
  }
}

extension LaunchEdit {
  /// As it is written in a format; nil where it is left out.
  func text(_ format: LaunchFormat) -> String? {
    guard let value else { return nil }
    if isBeyond || format == .megatron { return ([name] + Self.words(value)).joined(separator: " ") }
    return format == .torchtitan ? "\(name) = \(value.canonicalText)" : "\(name): \(value.canonicalText)"
  }

  /// The words of an option's value, in quotes where a shell would read them otherwise.
  private static func words(_ value: JSON) -> [String] {
    switch value {
    case .bool(true): []
    case .array(let elements): elements.flatMap(words)
    case .string(let text): [text.contains { "|*&;() ".contains($0) } ? "\"\(text)\"" : text]
    default: [value.canonicalText]
    }
  }

  /// The words of the value of an option, as a program gets them.
  var arguments: [String] {
    switch value {
    case .bool, nil: []
    case .array(let elements)?: elements.flatMap { LaunchEdit(setting, $0).arguments }
    case .string(let text)?: [text]
    case let other?: [other.canonicalText]
    }
  }
}
