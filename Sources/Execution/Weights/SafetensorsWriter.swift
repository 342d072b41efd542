// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// Collects tensors and writes them as one safetensors file. The same tensors give the same bytes.
package struct SafetensorsWriter {
  package enum Values {
    case float32([Float])
    case int64([Int64])
    /// Left where they are until they are written.
    case memory(UnsafeBufferPointer<Float>)

    var count: Int {
      switch self {
      case .float32(let values): values.count
      case .int64(let values): values.count
      case .memory(let values): values.count
      }
    }

    var type: SafetensorsType {
      switch self {
      case .float32, .memory: .f32
      case .int64: .i64
      }
    }

    func withBytes(_ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
      switch self {
      case .float32(let values): values.withUnsafeBytes(body)
      case .int64(let values): values.withUnsafeBytes(body)
      case .memory(let values): body(UnsafeRawBufferPointer(values))
      }
    }
  }

  private struct Tensor {
    let name: String
    let shape: [Int]
    let values: Values
  }

  private var tensors: [Tensor] = []
  private var names = Set<String>()
  package var metadata: [String: String] = [:]

  package init() {}

  /// - Parameters:
  ///   - name: not one that was added before.
  ///   - values: row-major; as many as `shape` has elements.
  package mutating func add(_ name: String, shape: [Int], _ values: Values) {
    precondition(shape.reduce(1, *) == values.count, "\(name): \(values.count) values for shape \(shape)")
    precondition(name != "__metadata__" && names.insert(name).inserted, "the tensor name \(name) is taken")
    tensors.append(Tensor(name: name, shape: shape, values: values))
  }

  /// Writes the file as `atomicWrite` does.
  /// - Returns: the bytes of the file.
  /// - Throws: `cannotWrite`.
  @discardableResult
  package func write(to path: String) throws(ExecutionError) -> Int {
    let header = header()
    do throws(DocumentError) {
      try atomicWrite(to: path) { descriptor in
        header.withUnsafeBytes { writeAll($0, to: descriptor) } && ordered.allSatisfy { $0.values.withBytes { writeAll($0, to: descriptor) } }
      }
    } catch {
      throw ExecutionError(error)
    }
    return header.count + tensors.reduce(0) { $0 + $1.values.count * $1.values.type.byteCount }
  }

  /// Wide elements first, so that every tensor is aligned to its own element.
  private var ordered: [Tensor] {
    tensors.sorted { ($1.values.type.byteCount, $0.name) < ($0.values.type.byteCount, $1.name) }
  }

  private func header() -> [UInt8] {
    var offset = 0
    var entries: [(name: String, entry: SafetensorsJSON.Entry)] = []
    for tensor in ordered {
      let end = offset + tensor.values.count * tensor.values.type.byteCount
      entries.append((tensor.name, .init(dtype: tensor.values.type.rawValue, shape: tensor.shape, offsets: [offset, end])))
      offset = end
    }
    var json = SafetensorsJSON.encode(.init(entries: entries, metadata: metadata))
    while json.count % 8 != 0 { json.append(UInt8(ascii: " ")) }
    return withUnsafeBytes(of: UInt64(json.count).littleEndian, Array.init) + json
  }
}
