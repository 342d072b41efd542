// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import ONNXFormat

/// The weights of an ONNX model, under the names that the graph has for them and under the file's own.
///
/// Exporters name transposed copies of weights as they like (`onnx::MatMul_415`), so the graph's names are found as the importer finds them: by
/// importing the model.
final class ONNXTensors: TensorFile {
  let entries: [SafetensorsEntry]
  var file: String { model.path }
  private let model: ONNXModel

  /// - Throws: `cannotRead`, `malformedWeights`.
  init(file: String) throws(ExecutionError) {
    let model: ONNXModel
    do {
      model = try ONNXModel(readingFrom: file)
    } catch ONNXError.unreadable(let file, let reason) {
      throw .cannotRead(file: file, reason: reason)
    } catch ONNXError.malformed(let file, let place, let problem) {
      throw .malformedWeights(file: file, tensor: nil, problem: "\(place): \(problem)")
    } catch ModelError.unmapped(let file, let place, let problem, let expected) {
      throw .malformedWeights(file: file, tensor: nil, problem: "\(place): \(problem); expected \(expected)")
    } catch {
      throw .malformedWeights(file: file, tensor: nil, problem: "\(error)")
    }
    self.model = model
    entries = model.tensorNames.compactMap { name in model.tensor(named: name).map { Self.entry(name, $0) } }
  }

  func entry(named name: String) -> SafetensorsEntry? { model.tensor(named: name).map { Self.entry(name, $0) } }

  func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Float>) throws(ExecutionError) {
    try read(name, view) { $0.read(view, into: destination) }
  }

  func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Int32>) throws(ExecutionError) {
    try read(name, view) { $0.read(view, into: destination) }
  }

  private func read(_ name: String, _ view: AffineView, _ body: (TensorReading) -> String?) throws(ExecutionError) {
    guard let tensor = model.tensor(named: name) else { throw .noSuchTensor(file: model.path, tensor: name) }
    guard view.fits(in: tensor.count) else {
      throw .unusableTensor(
        file: model.path, tensor: name,
        problem: "has shape \(tensor.shape); a part at \(view.offset) of \(view.extents), strides \(view.strides), does not lie in it")
    }
    let problem = tensor.withBytes { body(TensorReading(type: tensor.element.type, bytes: $0)) }
    if let problem { throw .unusableTensor(file: model.path, tensor: name, problem: problem) }
  }

  private static func entry(_ name: String, _ tensor: ONNXTensor) -> SafetensorsEntry {
    SafetensorsEntry(name: name, type: tensor.element.type, shape: tensor.shape, range: 0..<tensor.count * tensor.element.byteCount)
  }
}

extension ONNXElement {
  /// The type by the names of the safetensors format.
  fileprivate var type: SafetensorsType {
    switch self {
    case .float32: .f32
    case .uint8: .u8
    case .int8: .i8
    case .uint16: .u16
    case .int16: .i16
    case .int32: .i32
    case .int64: .i64
    case .bool: .bool
    case .float16: .f16
    case .float64: .f64
    case .uint32: .u32
    case .uint64: .u64
    case .bfloat16: .bf16
    }
  }
}
