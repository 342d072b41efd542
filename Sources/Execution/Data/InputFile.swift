// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Strategies

/// Inputs by their Hugging Face names, from a JSON object of nested arrays or from a safetensors file.
struct InputFile {
  /// One input of the whole global batch, row-major.
  struct Array {
    let shape: [Int]
    fileprivate(set) var integers: [Int32] = []
    fileprivate(set) var floats: [Float] = []

    func copy(_ region: Region, into values: UnsafeMutablePointer<Int32>) { copy(region, from: integers, into: values) }
    func copy(_ region: Region, into values: UnsafeMutablePointer<Float>) { copy(region, from: floats, into: values) }

    private func copy<Value>(_ region: Region, from source: [Value], into values: UnsafeMutablePointer<Value>) {
      let strides = AffineView(whole: shape).strides
      let view = AffineView(
        offset: zip(region, strides).reduce(0) { $0 + $1.0.lowerBound * $1.1 }, extents: region.map(\.count), strides: strides)
      var next = values
      view.forEachRun { start, stride, count in
        for i in 0..<count { next[i] = source[start + i * stride] }
        next += count
      }
    }

    /// The first whole number that lies outside a range and is not `except`.
    func firstOutside(_ range: Range<Int32>, except: Int32?) -> Int32? { integers.first { !range.contains($0) && $0 != except } }
  }

  private var arrays: [Array?] = InputKind.allCases.map { _ in nil }

  subscript(kind: InputKind) -> Array? {
    InputKind.allCases.firstIndex(of: kind).flatMap { arrays[$0] }
  }

  /// - Throws: `cannotRead`, `malformedWeights`, `unusableInput`.
  init(path: String) throws(ExecutionError) {
    if path.hasSuffix(".safetensors") { try readSafetensors(path) } else { try readJSON(path) }
  }

  private mutating func readSafetensors(_ path: String) throws(ExecutionError) {
    let file = try Safetensors(file: path)
    for (position, kind) in InputKind.allCases.enumerated() {
      guard let entry = file.entry(named: kind.rawValue) else { continue }
      var array = Array(shape: entry.shape)
      let view = AffineView(whole: entry.shape)
      if kind.isInteger {
        array.integers = [Int32](repeating: 0, count: entry.count)
        try file.read(kind.rawValue, view, into: &array.integers)
      } else {
        array.floats = [Float](repeating: 0, count: entry.count)
        try file.read(kind.rawValue, view, into: &array.floats)
      }
      arrays[position] = array
    }
    try checkNames(file.entries.map(\.name), path)
  }

  private mutating func readJSON(_ path: String) throws(ExecutionError) {
    let keys: [String]
    do throws(DocumentError) {
      let members = try Document(readingFrom: path).root.members()
      keys = members.map(\.key)
      for (key, node) in members {
        guard let kind = InputKind(rawValue: key), let position = InputKind.allCases.firstIndex(of: kind) else { continue }
        var values = NestedNumbers(isInteger: kind.isInteger)
        try values.read(node, depth: 0)
        arrays[position] = Array(shape: values.shape, integers: values.integers, floats: values.floats)
      }
    } catch {
      throw .document(error)
    }
    try checkNames(keys, path)
  }

  /// A name that no input has is a spelling mistake; ignoring it would run the model on something else.
  private func checkNames(_ names: [String], _ path: String) throws(ExecutionError) {
    for name in names where InputKind(rawValue: name) == nil {
      let known = InputKind.allCases.map(\.rawValue).joined(separator: ", ")
      throw .unusableInput(file: path, input: name, problem: "is not an input that a model can take; they are \(known)")
    }
  }
}

/// Numbers of a JSON array of arrays, and its shape.
private struct NestedNumbers {
  let isInteger: Bool
  var shape: [Int] = []
  var integers: [Int32] = []
  var floats: [Float] = []

  init(isInteger: Bool) { self.isInteger = isInteger }

  /// - Throws: `invalid` where arrays of one depth differ in length, or an element is not such a number.
  mutating func read(_ node: Node, depth: Int) throws(DocumentError) {
    if case .array = node.value {
      let elements = try node.elements()
      if integers.isEmpty && floats.isEmpty && depth == shape.count { shape.append(elements.count) }
      guard depth < shape.count else { throw node.invalid(expected: "a number, like the elements before it") }
      guard shape[depth] == elements.count else { throw node.invalid(expected: "an array of \(shape[depth]), like those before it") }
      for element in elements { try read(element, depth: depth + 1) }
    } else {
      guard depth == shape.count else { throw node.invalid(expected: "an array") }
      if isInteger {
        integers.append(Int32(try node.int(.within(Int(Int32.min), Int(Int32.max)))))
      } else {
        floats.append(Float(try node.double()))
      }
    }
  }
}
