// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ONNXFormat

/// A model that an ONNX file describes.
///
/// 1. `ONNXEvaluation` computes what does not need the model's data: shapes, positions, masks.
/// 2. `ONNXRecognition` finds the graph's operators in what is left, by a table of patterns.
/// 3. `ONNXNetwork` settles the axes, `ONNXSegments` finds the layers that repeat, and `ONNXGraphBuilder` writes the graph.
///
/// Extents that the file leaves open get numbers for this. The model is looked at with two choices of them, and must be the same.
package struct ONNXModel {
  package let path: String
  package let graph: Graph
  /// Of the file without its weights' data.
  package let sha256: String
  /// The tensors of the file, by their own names and by those that the graph has for them.
  private let tensors: [String: ONNXTensor]

  /// The longest sequence with which masks are looked at.
  private static let longestProbe = 1024

  /// - Throws: `ModelError.unmapped` for a node or a pattern that has no operator in the graph, by name; `ModelError.inconsistent`;
  ///   `ONNXError` where the file breaks the format.
  package init(readingFrom path: String) throws {
    let file = try ONNXFile(readingFrom: path)
    let name = ((path as NSString).lastPathComponent as NSString).deletingPathExtension
    let first = try Self.read(file, name, ONNXProbe(batch: 2, sequence: 4, seed: 1))
    if first.leavesExtentsOpen {
      let longest = min(first.graph.maximumSequence ?? 67, Self.longestProbe)
      let second = try Self.read(file, name, ONNXProbe(batch: 3, sequence: longest, seed: 2))
      guard first.graph == second.graph else {
        throw ModelError.unmapped(
          file: path, place: "graph \"\(file.model.graph.name)\"",
          problem: "it is another network for 2 samples of 4 positions than for 3 of \(longest)",
          expected: "one that is the same for every batch and sequence; export it with these extents fixed")
      }
    }
    (self.path, graph, sha256, tensors) = (path, first.graph, file.sha256, first.tensors)
  }

  /// The tensor of a name in the graph, with its copy's number, or in the file.
  package func tensor(named name: String) -> ONNXTensor? { tensors[name] }

  /// In order.
  package var tensorNames: [String] { tensors.keys.sorted() }

  private static func read(
    _ file: ONNXFile, _ name: String, _ probe: ONNXProbe
  ) throws -> (graph: Graph, tensors: [String: ONNXTensor], leavesExtentsOpen: Bool) {
    let evaluation = try ONNXEvaluation(file, probe: probe)
    let network = try ONNXNetwork(ONNXRecognition(evaluation))
    var builder = ONNXGraphBuilder(network, name: name)
    do {
      let graph = try builder.graph()
      var tensors: [String: ONNXTensor] = [:]
      for tensor in file.initializers { tensors[tensor.name] = tensor }
      for (name, number) in builder.weights { tensors[name] = network.recognition.stored[number] }
      let isOpen = evaluation.fixedBatch == nil || (evaluation.fixedSequence == nil && !evaluation.inputs.isEmpty)
      return (graph, tensors, isOpen)
    } catch ModelError.inconsistent(let place, let problem) {
      throw ModelError.inconsistent(where: "\(file.path): \(place)", problem: problem)
    }
  }
}

extension ONNXTensor {
  /// Whether a part of one tensor and a part of another are the same numbers; false where they are not both of 32 bits.
  func equals(_ view: StridedView, _ other: ONNXTensor, _ otherView: StridedView) -> Bool {
    guard element == .float32, other.element == .float32, view.shape == otherView.shape, view.shape.count == 2 else { return false }
    return withBytes { a in
      other.withBytes { b in
        for row in 0..<view.shape[0] {
          for column in 0..<view.shape[1] {
            let x = a.loadUnaligned(fromByteOffset: 4 * (view.offset + row * view.strides[0] + column * view.strides[1]), as: UInt32.self)
            let y = b.loadUnaligned(
              fromByteOffset: 4 * (otherView.offset + row * otherView.strides[0] + column * otherView.strides[1]), as: UInt32.self)
            if x != y { return false }
          }
        }
        return true
      }
    }
  }
}
