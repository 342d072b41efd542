// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import SwiftProtobuf

/// An ONNX model as its file has it: the graph of nodes, and the initializers, whose data stays in the file until it is read.
package struct ONNXFile: Sendable {
  package let path: String
  package let model: Onnx_ModelProto
  /// In the file's order.
  package let initializers: [ONNXTensor]
  /// Of the model without the large data of its initializers, in hexadecimal.
  package let sha256: String
  private let files: Files

  /// Whether a file's first bytes are those of an ONNX model: exporters write `ir_version`, field 1 of a ModelProto, first.
  package static func isONNX(_ path: String) -> Bool {
    if path.hasSuffix(".onnx") { return true }
    guard let handle = FileHandle(forReadingAtPath: path) else { return false }
    defer { try? handle.close() }
    return (try? handle.read(upToCount: 1))?.first == 0x08
  }

  /// - Throws: `ONNXError`.
  package init(readingFrom path: String) throws(ONNXError) {
    func failure(_ problem: String) -> ONNXError { .malformed(file: path, place: "ModelProto", problem: problem) }
    files = Files(path: path, mapped: try Files.map(path))
    self.path = path
    let skeleton: ONNXSkeleton
    do {
      skeleton = try ONNXSkeleton(files.mapped.bytes)
    } catch {
      throw failure("it is no ONNX model: at byte \(error.offset) \(error.problem)")
    }
    do {
      model = try Onnx_ModelProto(serializedBytes: skeleton.bytes)
    } catch {
      throw failure("it is no ONNX model: \(error)")
    }
    guard model.hasGraph, !model.graph.node.isEmpty else { throw failure("it has no graph with nodes; is it an ONNX model?") }
    sha256 = SHA256.hexadecimal(of: skeleton.bytes)
    var (tensors, names) = ([ONNXTensor](), Set<String>())
    for (proto, data) in zip(model.graph.initializer, skeleton.data) {
      let place = "initializer \"\(proto.name)\""
      guard names.insert(proto.name).inserted else { throw .malformed(file: path, place: place, problem: "two initializers have this name") }
      tensors.append(try ONNXTensor(proto, named: proto.name, place: place, skipped: data, in: files))
    }
    initializers = tensors
  }

  /// The tensor that an attribute of a node holds.
  ///
  /// - Throws: `ONNXError`.
  package func tensor(_ proto: Onnx_TensorProto, named name: String, place: String) throws(ONNXError) -> ONNXTensor {
    try ONNXTensor(proto, named: name, place: place, skipped: nil, in: files)
  }

  /// The model's file, and those beside it that hold external data.
  final class Files: @unchecked Sendable {
    let path: String
    let mapped: MappedFile
    private let lock = NSLock()
    private var external: [String: MappedFile] = [:]

    init(path: String, mapped: MappedFile) { (self.path, self.mapped) = (path, mapped) }

    static func map(_ path: String) throws(ONNXError) -> MappedFile {
      do {
        return try MappedFile(path: path)
      } catch {
        if case .unreadable(let file, let reason) = error { throw .unreadable(file: file, reason: reason) }
        throw .unreadable(file: path, reason: error.description)
      }
    }

    /// Where a tensor's external data lies: keys `location`, `offset` (0) and `length` (what the tensor takes).
    ///
    /// - Throws: `ONNXError`.
    func external(_ proto: Onnx_TensorProto, byteCount: Int, place: String) throws(ONNXError) -> (MappedFile, Range<Int>) {
      func failure(_ problem: String) -> ONNXError { .malformed(file: path, place: place, problem: "external data: \(problem)") }
      func entry(_ key: String) -> String? { proto.externalData.last { $0.key == key }?.value }
      func number(_ key: String, _ otherwise: Int) throws(ONNXError) -> Int {
        guard let text = entry(key) else { return otherwise }
        guard let value = Int(text), value >= 0 else { throw failure("its \(key) is \"\(text)\", expected a number of bytes") }
        return value
      }
      guard let location = entry("location"), !location.isEmpty else { throw failure("no location is given, expected a file beside the model") }
      let parts = location.split(separator: "/", omittingEmptySubsequences: false)
      guard !location.hasPrefix("/"), !parts.contains("..") else {
        throw failure("its location is \"\(location)\", expected a file in the model's folder")
      }
      let (offset, length) = (try number("offset", 0), try number("length", byteCount))
      guard length == byteCount else { throw failure("it has \(length) bytes, and \(proto.dims) of data_type \(proto.dataType) takes \(byteCount)") }
      let file: MappedFile
      do {
        file = try open((path as NSString).deletingLastPathComponent, location)
      } catch {
        guard case .unreadable(let name, let reason) = error else { throw error }
        throw failure("\(name) cannot be read: \(reason); it belongs beside the model")
      }
      guard offset <= file.bytes.count, length <= file.bytes.count - offset else {
        throw failure(
          "bytes \(offset) to \(offset &+ length) of \"\(location)\", which has \(file.bytes.count); the file is cut short, or is another model's")
      }
      return (file, offset..<offset + length)
    }

    private func open(_ folder: String, _ location: String) throws(ONNXError) -> MappedFile {
      lock.lock()
      defer { lock.unlock() }
      if let known = external[location] { return known }
      let file = try Self.map(folder.isEmpty ? location : folder + "/" + location)
      external[location] = file
      return file
    }
  }
}
