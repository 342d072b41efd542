// SPDX-License-Identifier: GPL-3.0-or-later
import ONNXFormat

/// An array whose values are known while a model is read: shapes and what is computed of them, masks, position numbers, scalars.
///
/// What is computed of token numbers and masks is known too, for the values of these inputs with which the model is looked at
/// (`ONNXProbe`); `inputs` says that it is so.
struct Literal: Equatable {
  enum Elements: Equatable {
    /// Also of booleans, 0 and 1.
    case integers([Int])
    case reals([Double])
  }

  var shape: [Int]
  var elements: Elements
  var inputs: Set<InputKind> = []

  /// No literal may have more elements: they are kept in memory.
  static let mostElements = 1 << 24

  init(_ shape: [Int], _ elements: Elements, inputs: Set<InputKind> = []) { (self.shape, self.elements, self.inputs) = (shape, elements, inputs) }

  /// A list of whole numbers.
  init(_ values: [Int]) { self.init([values.count], .integers(values)) }

  var count: Int { shape.reduce(1, *) }

  var integers: [Int] {
    switch elements {
    case .integers(let values): values
    case .reals(let values): values.map { Int(saturating: $0) }
    }
  }

  var reals: [Double] {
    switch elements {
    case .integers(let values): values.map { Double($0) }
    case .reals(let values): values
    }
  }

  /// The only element; nil where there are several.
  var scalar: Double? { count == 1 ? reals.first : nil }

  /// Elements by a view of this array.
  func viewed(_ view: StridedView) -> Literal {
    if view == StridedView(whole: shape) { return self }
    let indices = view.count == 0 ? [] : view.indices
    return picking(indices, view.shape)
  }

  /// The elements of these numbers, in a shape of as many.
  func picking(_ indices: [Int], _ shape: [Int]) -> Literal {
    switch elements {
    case .integers(let values): Literal(shape, .integers(indices.map { values[$0] }), inputs: inputs)
    case .reals(let values): Literal(shape, .reals(indices.map { values[$0] }), inputs: inputs)
    }
  }

  /// The strides with which the values are Σ stride · index + offset; nil where they are not so.
  var affine: StridedView? {
    let values = integers
    guard count > 0, case .integers = elements else { return nil }
    var view = StridedView(offset: values[0], shape: shape, strides: [])
    for (extent, stride) in zip(shape, rowMajorStrides(shape)) { view.strides.append(extent > 1 ? values[stride] &- values[0] : 0) }
    return view.indices == values ? view : nil
  }
}

extension Literal {
  /// The elements of a stored tensor, by a view of it.
  init(_ tensor: ONNXTensor, _ view: StridedView) {
    func read<Value: BitwiseCopyable>(_ type: Value.Type, _ bytes: UnsafeRawBufferPointer) -> [Value] {
      view.count == 0 ? [] : view.indices.map { bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Value>.size, as: type) }
    }
    let elements: Elements = tensor.withBytes { bytes in
      switch tensor.element {
      case .float32: .reals(read(Float.self, bytes).map { Double($0) })
      case .float64: .reals(read(Double.self, bytes))
      case .float16: .reals(read(UInt16.self, bytes).map(Double.init(halfBits:)))
      case .bfloat16: .reals(read(UInt16.self, bytes).map { Double(Float(bitPattern: UInt32($0) << 16)) })
      case .int64: .integers(read(Int64.self, bytes).map { Int($0) })
      case .uint64: .integers(read(UInt64.self, bytes).map { Int(clamping: $0) })
      case .int32: .integers(read(Int32.self, bytes).map { Int($0) })
      case .uint32: .integers(read(UInt32.self, bytes).map { Int($0) })
      case .int16: .integers(read(Int16.self, bytes).map { Int($0) })
      case .uint16: .integers(read(UInt16.self, bytes).map { Int($0) })
      case .int8: .integers(read(Int8.self, bytes).map { Int($0) })
      case .uint8, .bool: .integers(read(UInt8.self, bytes).map { Int($0) })
      }
    }
    self.init(view.shape, elements)
  }
}

extension Double {
  /// The value of an IEEE 754 half.
  fileprivate init(halfBits bits: UInt16) {
    let (exponent, fraction) = (Int(bits >> 10 & 0x1f), Double(bits & 0x3ff) / 1024)
    let magnitude =
      switch exponent {
      case 0: fraction * 0x1p-14
      case 31: fraction == 0 ? Double.infinity : .nan
      default: Double(sign: .plus, exponent: exponent - 15, significand: 1 + fraction)
      }
    self = bits & 0x8000 == 0 ? magnitude : -magnitude
  }
}

extension Int {
  /// The whole number towards 0; the nearest that there is for numbers beyond, 0 for none.
  init(saturating value: Double) {
    if value.isNaN { self = 0 } else { self = Int(exactly: value.rounded(.towardZero)) ?? (value > 0 ? .max : .min) }
  }
}
