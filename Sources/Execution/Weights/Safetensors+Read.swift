// SPDX-License-Identifier: GPL-3.0-or-later

extension Safetensors {
  /// As `TensorReading.read`.
  ///
  /// - Throws: `noSuchTensor`; `unusableTensor` where the view does not fit, or the elements are not floating-point numbers.
  package func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Float>) throws(ExecutionError) {
    if let problem = try elements(of: name, view).read(view, into: destination) { throw unusable(name, problem) }
  }

  /// As `TensorReading.read`.
  ///
  /// - Throws: as the reading of `Float` does, and `unusableTensor` for an element that an `Int32` cannot hold.
  package func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Int32>) throws(ExecutionError) {
    if let problem = try elements(of: name, view).read(view, into: destination) { throw unusable(name, problem) }
  }

  /// Calls `body` with a tensor of F32, row-major, where it lies in the file, or copied where it is not aligned there.
  func withFloats(of entry: SafetensorsEntry, _ body: (UnsafePointer<Float>) -> Void) throws(ExecutionError) {
    guard entry.type == .f32 else { throw unusable(entry.name, "is \(entry.type.rawValue), expected F32") }
    guard let base = bytes(of: entry).baseAddress else { return }
    if Int(bitPattern: base) % MemoryLayout<Float>.alignment == 0 { return body(base.assumingMemoryBound(to: Float.self)) }
    var copy = [Float](repeating: 0, count: entry.count)
    try read(entry.name, AffineView(whole: entry.shape), into: &copy)
    copy.withUnsafeBufferPointer { if let base = $0.baseAddress { body(base) } }
  }

  private func elements(of name: String, _ view: AffineView) throws(ExecutionError) -> TensorReading {
    guard let entry = entry(named: name) else { throw .noSuchTensor(file: file, tensor: name) }
    guard view.fits(in: entry.count) else {
      throw unusable(
        name, "has shape \(entry.shape); a part at \(view.offset) of \(view.extents), strides \(view.strides), does not lie in it")
    }
    return TensorReading(type: entry.type, bytes: bytes(of: entry))
  }

  private func unusable(_ name: String, _ problem: String) -> ExecutionError {
    .unusableTensor(file: file, tensor: name, problem: problem)
  }
}
