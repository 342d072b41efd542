// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import Quantities
import Strategies

/// What a training had come to: parameters and the optimizer's arrays in parts, which ranks of any plan put together as they need them.
///
/// A folder holds a safetensors file of each rank that wrote it, and the manifest. A part's tensor is named after the parameter, the part's ranges
/// in it, and the array: `layer.0.ffn.up.weight[0:512,0:256]`, `layer.0.ffn.up.weight[0:512,0:256].exp_avg`.
package struct TrainingCheckpoint {
  /// One of the arrays that a checkpoint has of a parameter.
  enum Content: Hashable, Sendable {
    case value
    case state(OptimizerState)

    var suffix: String {
      switch self {
      case .value: ""
      case .state(let state): ".\(state.rawValue)"
      }
    }

    static let all: [Content] = [.value] + OptimizerState.allCases.map(Content.state)
  }

  private struct Key: Hashable {
    let parameter: String
    let content: Content
  }

  private struct Part {
    let file: Int
    let entry: SafetensorsEntry
    let region: Region
  }

  package let folder: String
  /// The manifest and the ranks' files.
  package var filePaths: [String] { ["\(folder)/\(TrainingManifest.fileName)"] + files.map(\.file) }
  package let manifest: TrainingManifest
  private let files: [Safetensors]
  private let parts: [Key: [Part]]

  /// - Parameter path: a checkpoint's folder, or one of several checkpoints, of which the last is taken.
  /// - Throws: `cannotRead`, `document`, `malformedWeights`.
  package init(path: String) throws(ExecutionError) {
    folder = try Self.latest(in: path)
    do throws(DocumentError) {
      manifest = try TrainingManifest(file: "\(folder)/\(TrainingManifest.fileName)")
    } catch {
      throw .document(error)
    }
    var files: [Safetensors] = []
    var parts: [Key: [Part]] = [:]
    for (number, file) in manifest.files.enumerated() {
      let path = "\(folder)/\(file.name)"
      let opened = try Safetensors(file: path)
      guard opened.byteCount == file.bytes else {
        throw .malformedWeights(file: path, tensor: nil, problem: "has \(opened.byteCount) bytes, and the manifest says \(file.bytes)")
      }
      for entry in opened.entries {
        guard let (key, region) = Self.parse(entry.name), region.map(\.count) == entry.shape, entry.type == .f32 else {
          throw .malformedWeights(file: path, tensor: entry.name, problem: "is no part of a parameter that a checkpoint can have")
        }
        parts[key, default: []].append(Part(file: number, entry: entry, region: region))
      }
      files.append(opened)
    }
    self.files = files
    self.parts = parts
  }

  /// Where the checkpoint at a path is: the path itself, or the last of those that it holds.
  private static func latest(in path: String) throws(ExecutionError) -> String {
    if CheckpointFolders.isComplete(path) { return withoutTrailingSlashes(path) }
    var status = stat()
    guard stat(path, &status) == 0 else { throw .cannotRead(file: path, reason: String(cString: strerror(errno))) }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw .cannotRead(file: path, reason: "it is a file; name a checkpoint's folder, or one that holds checkpoints")
    }
    let found = CheckpointFolders.complete(in: path)
    guard let last = found.last else {
      throw .cannotRead(file: path, reason: "it holds no complete checkpoint: neither \(TrainingManifest.fileName) nor folders step-N that have one")
    }
    return CheckpointFolders.path(ofStep: last, in: path)
  }

  static func name(of parameter: String, _ content: Content, region: Region) -> String {
    "\(parameter)[\(region.map { "\($0.lowerBound):\($0.upperBound)" }.joined(separator: ","))]\(content.suffix)"
  }

  private static func parse(_ name: String) -> (Key, Region)? {
    for content in Content.all where name.hasSuffix("]" + content.suffix) {
      let body = name.dropLast(content.suffix.count + 1)
      guard let open = body.lastIndex(of: "[") else { return nil }
      var region: Region = []
      for range in body[body.index(after: open)...].split(separator: ",") {
        let bounds = range.split(separator: ":", omittingEmptySubsequences: false)
        guard bounds.count == 2, let low = Int(bounds[0]), let high = Int(bounds[1]), 0 <= low, low <= high else { return nil }
        region.append(low..<high)
      }
      return (Key(parameter: String(body[..<open]), content: content), region)
    }
    return nil
  }

  /// Writes a region of a parameter, or of what the optimizer keeps for it, row-major.
  /// - Throws: `noSuchTensor`; `unusableTensor` where the checkpoint's parts do not make up the region.
  func fill(_ content: Content, of parameter: String, region: Region, into values: UnsafeMutablePointer<Float>) throws(ExecutionError) {
    guard let parts = parts[Key(parameter: parameter, content: content)] else {
      throw .noSuchTensor(file: folder, tensor: parameter + content.suffix)
    }
    var found = 0
    for part in parts {
      guard part.region.count == region.count else {
        throw unusable(parameter, content, "has \(part.region.count) dimensions, and the model's has \(region.count)")
      }
      guard zip(part.region, region).allSatisfy({ $0.overlaps($1) }) else { continue }
      let common = part.region.intersection(region)
      found += common.elementCount
      try files[part.file].withFloats(of: part.entry) { RegionTransfer(common, from: part.region, to: region).copy($0, into: values) }
    }
    // Parts do not overlap, so that as many elements are all of them.
    guard found == region.elementCount else {
      throw unusable(parameter, content, "has \(found) of the \(region.elementCount) elements that the plan needs; is the checkpoint of this model?")
    }
  }

  private func unusable(_ parameter: String, _ content: Content, _ problem: String) -> ExecutionError {
    .unusableTensor(file: folder, tensor: parameter + content.suffix, problem: problem)
  }

  /// - Throws: `unusableCheckpoint` where the optimizer that goes on keeps other arrays than the one that wrote it.
  func checkOptimizer(_ hyperparameters: Hyperparameters) throws(ExecutionError) {
    guard manifest.optimizer == hyperparameters.optimizer else {
      throw .unusableCheckpoint(
        folder: folder,
        problem: "was written by \(manifest.optimizer.rawValue), and the plan is for \(hyperparameters.optimizer.rawValue); search one"
          + " with --optimizer \(manifest.optimizer.rawValue)")
    }
    for state in hyperparameters.state where !parts.keys.contains(where: { $0.content == .state(state) }) {
      throw .unusableCheckpoint(folder: folder, problem: "has no \(state.rawValue), which the optimizer needs; was it written with --momentum 0?")
    }
  }

  /// - Throws: `unusableCheckpoint` where it is of another model: one of another name, or with other parameters.
  package func check(_ graph: Graph) throws(ExecutionError) {
    func failure(_ problem: String) -> ExecutionError { .unusableCheckpoint(folder: folder, problem: problem) }
    if manifest.model != graph.name { throw failure("is of the model \(manifest.model), and the plan's is \(graph.name)") }
    let needed = Dictionary(uniqueKeysWithValues: graph.namedParameters.map { ($0.name, $0.shape) })
    let stored = parts.filter { $0.key.content == .value }.map { (name: $0.key.parameter, shape: Self.shape($0.value)) }.sorted { $0.name < $1.name }
    let names = Set(stored.map(\.name))
    let (surplus, missing) = (stored.map(\.name).filter { needed[$0] == nil }, needed.keys.filter { !names.contains($0) }.sorted())
    if !surplus.isEmpty { throw failure("has \(counted(surplus.count, "tensor")) that the model lacks (\(listed(surplus)))") }
    if !missing.isEmpty { throw failure("lacks \(counted(missing.count, "tensor")) of the model (\(listed(missing)))") }
    if let (name, shape) = stored.first(where: { needed[$0.name] != $0.shape }), let expected = needed[name] {
      throw failure("has the tensor \(name) with the shape \(shape), and the model's has \(expected)")
    }
  }

  /// What the parts of a parameter make up, from the origin on.
  private static func shape(_ parts: [Part]) -> [Int] {
    parts.dropFirst().reduce(parts[0].region.map(\.upperBound)) { zip($0, $1.region).map { max($0, $1.upperBound) } }
  }
}
