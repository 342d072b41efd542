// SPDX-License-Identifier: GPL-3.0-or-later

/// A tensor of a file as a rank reads it: elements of one type, row-major.
struct TensorReading {
  let type: SafetensorsType
  let bytes: UnsafeRawBufferPointer

  /// Reads a box of floating-point elements as `Float`: exactly, but for F64, which is rounded.
  ///
  /// - Parameters:
  ///   - view: in elements; it lies in the tensor.
  ///   - destination: `view.count` elements, filled in the view's order, the last axis fastest.
  /// - Returns: what is wrong; nil where everything was read.
  func read(_ view: AffineView, into destination: UnsafeMutablePointer<Float>) -> String? {
    guard let base = bytes.baseAddress else { return nil }
    switch type {
    case .f32: copyRuns(of: view, from: base, to: destination)
    case .f64: convertRuns(of: view, from: base, to: destination) { (x: Double) in Float(x) }
    case .f16: convertRuns(of: view, from: base, to: destination) { (x: UInt16) in Float(halfBits: x) }
    case .bf16: convertRuns(of: view, from: base, to: destination) { (x: UInt16) in Float(bitPattern: UInt32(x) << 16) }
    default: return "is \(type.rawValue), expected F32, F16, BF16 or F64"
    }
    return nil
  }

  /// Reads a box of whole numbers (I64, I32, U8, BOOL), such as token ids.
  ///
  /// - Returns: what is wrong, also an element that an `Int32` cannot hold; nil where everything was read.
  func read(_ view: AffineView, into destination: UnsafeMutablePointer<Int32>) -> String? {
    guard let base = bytes.baseAddress else { return nil }
    switch type {
    case .i32: copyRuns(of: view, from: base, to: destination)
    case .u8, .bool: convertRuns(of: view, from: base, to: destination) { (x: UInt8) in Int32(x) }
    case .i64:
      var outside: Int64?
      convertRuns(of: view, from: base, to: destination) { (x: Int64) in
        if Int32(exactly: x) == nil { outside = outside ?? x }
        return Int32(truncatingIfNeeded: x)
      }
      if let outside { return "has the element \(outside), which is no 32-bit integer" }
    default: return "is \(type.rawValue), expected I64, I32, U8 or BOOL"
    }
    return nil
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
