// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph
import Strategies

/// Where a run's parameters come from. Each rank makes or reads only its own shards.
package enum ParameterValues {
  /// Deterministic values by seed and checkpoint name (`ValueGenerator`).
  case generated(seed: UInt64)
  /// safetensors files, under the names that Hugging Face gives the parameters.
  case checkpoint(Checkpoint)
  /// What a training had come to.
  case resumed(TrainingCheckpoint)

  /// Steps of the training that came before this run.
  package var stepsDone: Int { if case .resumed(let checkpoint) = self { checkpoint.manifest.step } else { 0 } }

  /// Tokens that the training has taken from its file.
  package var tokensDone: Int { if case .resumed(let checkpoint) = self { checkpoint.manifest.tokens } else { 0 } }

  /// What is read.
  package var files: [String] {
    switch self {
    case .generated: []
    case .checkpoint(let checkpoint): checkpoint.filePaths
    case .resumed(let checkpoint): checkpoint.filePaths
    }
  }

  /// Writes a region of a parameter, row-major.
  ///
  /// - Parameters:
  ///   - tensorName: the parameter's own name in the model, with its copy's number.
  ///   - copy: which copy of a repeated segment, for `{i}` in the name.
  ///   - region: in the parameter's own dimensions.
  /// - Throws: `noSuchTensor`, `unusableTensor` where the stored tensor has another shape or is not floating-point; what reading a training's
  ///   checkpoint throws.
  func fill(
    _ source: ParameterSource, named tensorName: String, copy: Int, region: Region, into values: UnsafeMutablePointer<Float>
  ) throws(ExecutionError) {
    if case .resumed(let checkpoint) = self { return try checkpoint.fill(.value, of: tensorName, region: region, into: values) }
    if source.isStacked {
      var place = values
      for index in region[0] {
        let element = [0..<1] + region.dropFirst()
        try fill(source.element(index), named: tensorName, copy: copy, region: element, into: place)
        place += element.elementCount
      }
      return
    }
    let name = Graph.name(source.checkpointName, copy: copy)
    let offset = zip(source.strides, region).reduce(source.offset) { $0 + $1.0 * $1.1.lowerBound }
    let extents = region.map(\.count)
    switch self {
    case .generated(let seed):
      ValueGenerator(seed: seed).fill(
        values, name: name, rule: source.isNormWeight ? .normWeight : .weight, offset: offset, strides: source.strides, extents: extents)
    case .checkpoint(let checkpoint):
      let stored = Self.storedName(of: name, in: checkpoint)
      let entry = try checkpoint.entry(named: stored)
      guard entry.shape == source.checkpointShape else {
        throw .unusableTensor(
          file: checkpoint.path, tensor: stored, problem: "has shape \(entry.shape), and the model needs \(source.checkpointShape)")
      }
      try checkpoint.read(stored, AffineView(offset: offset, extents: extents, strides: source.strides), into: values)
    case .resumed: preconditionFailure("read above, by the model's own names")
    }
  }

  /// The name under which a checkpoint holds a tensor: one that was saved without the model's head lacks the prefix of the base model, and
  /// one that was saved with a head has it.
  static func storedName(of name: String, in checkpoint: Checkpoint) -> String {
    if checkpoint.contains(name) { return name }
    let shortened = name.split(separator: ".", maxSplits: 1).dropFirst().joined(separator: ".")
    let candidates = [shortened] + ["transformer.", "model.", "gpt_neox.", "bert.", "vit."].map { $0 + name }
    return candidates.first(where: checkpoint.contains) ?? name
  }
}
