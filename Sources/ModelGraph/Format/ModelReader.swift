// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ONNXFormat

/// Reads a model from any file that an importer knows, chosen by what the file says of itself.
package enum ModelReader {
  /// Reads a native model (key `format`), a Hugging Face configuration (key `model_type`) or an ONNX model; of a folder, its `config.json`, else its
  /// `model.onnx`.
  ///
  /// - Returns: the graph, a SHA-256 in hexadecimal, of the parsed document's canonical bytes or of an ONNX model without its weights' data, and the
  ///   extents that a configuration leaves out, with the library's values.
  /// - Throws: `DocumentError`, `ModelError` and `ONNXError`, which name the file.
  package static func read(_ path: String) throws -> (graph: Graph, sha256: String, defaults: [String]) {
    let file = try file(of: path)
    if ONNXFile.isONNX(file) {
      let model = try ONNXModel(readingFrom: file)
      return (model.graph, model.sha256, [])
    }
    let document = try Document(readingFrom: file)
    let (graph, defaults) = try read(document.root)
    return (graph, document.value.sha256, defaults)
  }

  /// The file that a path names: itself, or the one in a folder.
  ///
  /// - Throws: `DocumentError.unreadable`.
  package static func file(of path: String) throws -> String {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue else { return path }
    let files = ["config.json", "model.onnx"].map { path + (path.hasSuffix("/") ? "" : "/") + $0 }
    guard let file = files.first(where: FileManager.default.fileExists(atPath:)) else {
      throw DocumentError.unreadable(file: path, reason: "it is a folder without a config.json or a model.onnx; name a model's file in it")
    }
    return file
  }

  /// The graph that a parsed file, or a model inside another file, describes.
  ///
  /// - Throws: as `read`.
  package static func decode(_ node: Node) throws -> Graph { try read(node).graph }

  private static func read(_ node: Node) throws -> (graph: Graph, defaults: [String]) {
    do {
      let object = try node.object()
      if object.contains("format") { return (try NativeModel.decode(node), []) }
      if object.contains("model_type") { return try HuggingFace.graph(node) }
    } catch ModelError.inconsistent(let place, let problem) {
      throw ModelError.inconsistent(where: "\(node.file): \(place)", problem: problem)
    }
    throw ModelError.unrecognised(file: node.file, path: node.path)
  }

  /// The graph in the native format, to be embedded in a plan.
  package static func encode(_ graph: Graph) -> JSON { NativeModel.encode(graph) }
}
