// SPDX-License-Identifier: GPL-3.0-or-later

/// A file that holds tensors by name, of which a rank reads parts.
protocol TensorFile {
  var file: String { get }
  /// In order of name.
  var entries: [SafetensorsEntry] { get }
  func entry(named name: String) -> SafetensorsEntry?
  /// - Throws: `noSuchTensor`, `unusableTensor`.
  func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Float>) throws(ExecutionError)
  /// - Throws: `noSuchTensor`, `unusableTensor`.
  func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Int32>) throws(ExecutionError)
}

extension Safetensors: TensorFile {}
