// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ONNXFormat

/// A model's weights: one safetensors file, or several under an index, as Hugging Face lays them out, or an ONNX model.
package struct Checkpoint {
  /// The path that was given.
  package let path: String
  /// In order of name.
  package let names: [String]
  /// The index, where there is one, and the files with tensors.
  package var filePaths: [String] { (index.map { [$0] } ?? []) + files.map(\.file) }
  /// Whether it is a model's file too, which has constants besides weights, and weights under two names.
  var isModel: Bool { files.contains { $0 is ONNXTensors } }
  private let index: String?
  private let files: [any TensorFile]
  private let fileOf: [String: Int]

  private static let indexName = "model.safetensors.index.json"

  /// - Parameter path: a `.safetensors` file, an index (`.json`), a directory with either: `model.safetensors.index.json`,
  ///   else `model.safetensors`, else its only `.safetensors` file; or an ONNX model.
  /// - Throws: `cannotRead`, `document`, `malformedWeights`.
  package init(path: String) throws(ExecutionError) {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
      throw .cannotRead(file: path, reason: String(cString: strerror(ENOENT)))
    }
    let file = if isDirectory.boolValue { try Self.file(in: path) } else { path }
    if file.hasSuffix(".json") {
      try self.init(path: path, index: file)
    } else {
      let only: any TensorFile = if ONNXFile.isONNX(file) { try ONNXTensors(file: file) } else { try Safetensors(file: file) }
      self.init(path: path, names: only.entries.map(\.name), index: nil, files: [only], fileOf: [:])
    }
  }

  private init(path: String, names: [String], index: String?, files: [any TensorFile], fileOf: [String: Int]) {
    self.path = path
    self.index = index
    self.names = names
    self.files = files
    self.fileOf = fileOf
  }

  private init(path: String, index: String) throws(ExecutionError) {
    func failure(_ tensor: String, _ problem: String) -> ExecutionError { .malformedWeights(file: index, tensor: tensor, problem: problem) }
    let map = try SafetensorsJSON.weightMap(ofIndex: index)
    let folder = (index as NSString).deletingLastPathComponent
    var files: [any TensorFile] = []
    var opened: [String: Int] = [:]
    var fileOf: [String: Int] = [:]
    for (name, shard) in map {
      guard !shard.isEmpty, !shard.contains("/"), shard != "..", shard != "." else {
        throw failure(name, "is said to be in \"\(shard)\", expected the name of a file beside the index")
      }
      if opened[shard] == nil {
        opened[shard] = files.count
        files.append(try Safetensors(file: (folder as NSString).appendingPathComponent(shard)))
      }
      guard let position = opened[shard], files[position].entry(named: name) != nil else {
        throw failure(name, "is said to be in \"\(shard)\", and is not")
      }
      fileOf[name] = position
    }
    self.init(path: path, names: map.map(\.tensor), index: index, files: files, fileOf: fileOf)
  }

  private static func file(in directory: String) throws(ExecutionError) -> String {
    let found: [String]
    do {
      found = try FileManager.default.contentsOfDirectory(atPath: directory).sorted()
    } catch {
      throw .cannotRead(file: directory, reason: "\(error.localizedDescription)")
    }
    let weights = found.filter { $0.hasSuffix(".safetensors") }
    for name in [indexName, "model.safetensors"] where found.contains(name) { return "\(directory)/\(name)" }
    guard weights.count == 1 else {
      let list = weights.joined(separator: ", ")
      let what = weights.isEmpty ? "no .safetensors file" : "\(weights.count) .safetensors files (\(list)) and no \(indexName)"
      throw .cannotRead(file: directory, reason: "it has \(what); expected \(indexName), model.safetensors or one .safetensors file")
    }
    return "\(directory)/\(weights[0])"
  }

  /// - Throws: `noSuchTensor`.
  package func entry(named name: String) throws(ExecutionError) -> SafetensorsEntry {
    guard let entry = file(of: name)?.entry(named: name) else { throw .noSuchTensor(file: path, tensor: name) }
    return entry
  }

  package func contains(_ name: String) -> Bool { file(of: name)?.entry(named: name) != nil }

  /// As `Safetensors.read`.
  package func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Float>) throws(ExecutionError) {
    guard let file = file(of: name) else { throw .noSuchTensor(file: path, tensor: name) }
    try file.read(name, view, into: destination)
  }

  /// As `Safetensors.read`.
  package func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Int32>) throws(ExecutionError) {
    guard let file = file(of: name) else { throw .noSuchTensor(file: path, tensor: name) }
    try file.read(name, view, into: destination)
  }

  private func file(of name: String) -> (any TensorFile)? {
    fileOf.isEmpty && files.count == 1 ? files[0] : fileOf[name].map { files[$0] }
  }
}
