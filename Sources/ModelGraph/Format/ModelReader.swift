// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// Reads a model from any file that an importer knows, chosen by what the file says of itself.
package enum ModelReader {
  /// Reads a native model (key `format`) or a Hugging Face configuration (key `model_type`); of a directory, its `config.json`.
  ///
  /// - Returns: the graph, the SHA-256 of the parsed document's canonical bytes in hexadecimal, and the extents that a configuration leaves out, with the
  ///   library's values.
  /// - Throws: `DocumentError` and `ModelError`, which name the file.
  package static func read(_ path: String) throws -> (graph: Graph, sha256: String, defaults: [String]) {
    let file = file(of: path)
    if file != path, !FileManager.default.fileExists(atPath: file) {
      throw DocumentError.unreadable(file: path, reason: "it is a folder without a config.json; name a model's file in it")
    }
    let document = try Document(readingFrom: file)
    let (graph, defaults) = try read(document.root)
    return (graph, document.value.sha256, defaults)
  }

  /// The file that is read of a path.
  package static func file(of path: String) -> String {
    var isDirectory: ObjCBool = false
    let isFolder = FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
    return isFolder ? path + (path.hasSuffix("/") ? "" : "/") + "config.json" : path
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
