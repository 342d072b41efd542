// SPDX-License-Identifier: GPL-3.0-or-later

extension Safetensors {
  /// Reads a box of a floating-point tensor (F64, F32, F16, BF16) as `Float`: exactly, but for F64, which is rounded.
  /// - Parameters:
  ///   - view: in elements of the tensor.
  ///   - destination: `view.count` elements, filled in the view's order, the last axis fastest.
  /// - Throws: `noSuchTensor`; `unusableTensor` where the view does not fit, or the elements are not floating-point numbers.
  package func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Float>) throws(ExecutionError) {
    let (entry, bytes) = try elements(of: name, view)
    guard let base = bytes.baseAddress else { return }
    switch entry.type {
    case .f32: copyRuns(of: view, from: base, to: destination)
    case .f64: convertRuns(of: view, from: base, to: destination) { (x: Double) in Float(x) }
    case .f16: convertRuns(of: view, from: base, to: destination) { (x: UInt16) in Float(halfBits: x) }
    case .bf16: convertRuns(of: view, from: base, to: destination) { (x: UInt16) in Float(bitPattern: UInt32(x) << 16) }
    default: throw unusable(name, "is \(entry.type.rawValue), expected F32, F16, BF16 or F64")
    }
  }

  /// Reads a box of an integer tensor (I64, I32, U8, BOOL), such as token ids.
  /// - Throws: as the reading of `Float` does, and `unusableTensor` for an element that an `Int32` cannot hold.
  package func read(_ name: String, _ view: AffineView, into destination: UnsafeMutablePointer<Int32>) throws(ExecutionError) {
    let (entry, bytes) = try elements(of: name, view)
    guard let base = bytes.baseAddress else { return }
    switch entry.type {
    case .i32: copyRuns(of: view, from: base, to: destination)
    case .u8, .bool: convertRuns(of: view, from: base, to: destination) { (x: UInt8) in Int32(x) }
    case .i64:
      var outside: Int64?
      convertRuns(of: view, from: base, to: destination) { (x: Int64) in
        if Int32(exactly: x) == nil { outside = outside ?? x }
        return Int32(truncatingIfNeeded: x)
      }
      if let outside { throw unusable(name, "has the element \(outside), which is no 32-bit integer") }
    default: throw unusable(name, "is \(entry.type.rawValue), expected I64, I32, U8 or BOOL")
    }
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

  private func elements(
    of name: String, _ view: AffineView
  ) throws(ExecutionError) -> (entry: SafetensorsEntry, bytes: UnsafeRawBufferPointer) {
    guard let entry = entry(named: name) else { throw .noSuchTensor(file: file, tensor: name) }
    guard view.fits(in: entry.count) else {
      throw unusable(
        name, "has shape \(entry.shape); a part at \(view.offset) of \(view.extents), strides \(view.strides), does not lie in it")
    }
    return (entry, bytes(of: entry))
  }

  private func unusable(_ name: String, _ problem: String) -> ExecutionError {
    .unusableTensor(file: file, tensor: name, problem: problem)
  }

  private func copyRuns<Element: BitwiseCopyable>(
    of view: AffineView, from base: UnsafeRawPointer, to destination: UnsafeMutablePointer<Element>
  ) {
    let size = MemoryLayout<Element>.size
    var filled = destination
    view.forEachRun { start, stride, count in
      if stride == 1 {
        UnsafeMutableRawPointer(filled).copyMemory(from: base + start * size, byteCount: count * size)
      } else {
        for i in 0..<count { filled[i] = (base + (start + i * stride) * size).loadUnaligned(as: Element.self) }
      }
      filled += count
    }
  }

  @inline(__always)
  private func convertRuns<Stored: BitwiseCopyable, Element>(
    of view: AffineView, from base: UnsafeRawPointer, to destination: UnsafeMutablePointer<Element>, _ convert: (Stored) -> Element
  ) {
    let size = MemoryLayout<Stored>.size
    var filled = destination
    view.forEachRun { start, stride, count in
      if stride == 1 {
        let source = base + start * size
        for i in 0..<count { filled[i] = convert((source + i * size).loadUnaligned(as: Stored.self)) }
      } else {
        for i in 0..<count { filled[i] = convert((base + (start + i * stride) * size).loadUnaligned(as: Stored.self)) }
      }
      filled += count
    }
  }
}

extension Float {
  /// The value of an IEEE 754 half: exponent and fraction are shifted into place and the bias corrected by a product, which
  /// is exact and normalises subnormals. Infinities and NaNs get their exponent afterwards. No branch, so loops vectorise.
  @inline(__always)
  init(halfBits half: UInt16) {
    let magnitude = Float(bitPattern: UInt32(half & 0x7fff) << 13) * Float(bitPattern: 0x7780_0000)  // 2^112
    let special: UInt32 = half & 0x7c00 == 0x7c00 ? 0x7f80_0000 : 0
    self.init(bitPattern: magnitude.bitPattern | special | UInt32(half & 0x8000) << 16)
  }
}
