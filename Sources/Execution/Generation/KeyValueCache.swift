// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import ModelGraph

/// What attention has seen of the positions before: keys and values of every layer that this rank holds, of its samples and heads.
///
/// One cache serves the executors of a generation, that of the prompt's positions and that of one position.
final class KeyValueCache {
  /// Positions that there is room for.
  let capacity: Int
  /// Positions whose keys and values are here; those that a step works on come behind them.
  private(set) var filled = 0
  /// Bytes of all layers so far.
  private(set) var bytes = 0
  private var layers: [Layer] = []
  private var layerOf: [OperatorSite: Int] = [:]

  private struct Layer {
    let keys: UnsafeMutablePointer<Float>
    let values: UnsafeMutablePointer<Float>
  }

  init(capacity: Int) { self.capacity = capacity }

  deinit {
    for layer in layers {
      free(layer.keys)
      free(layer.values)
    }
  }

  /// A step is done that worked on so many positions.
  func advance(by positions: Int) { filled += positions }

  /// Puts a step's keys and values, [samples, positions, row] each, behind those that are filled.
  /// - Returns: those of all positions so far, `capacity` positions from one sample to the next.
  /// - Throws: `outOfMemory`.
  func append(
    _ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>, of site: OperatorSite, samples: Int, positions: Int, row: Int
  ) throws(ExecutionError) -> (keys: UnsafePointer<Float>, values: UnsafePointer<Float>) {
    precondition(filled + positions <= capacity, "\(filled + positions) positions in a cache of \(capacity)")
    let layer = try layer(site, count: samples * capacity * row)
    for sample in 0..<samples {
      let (place, source) = ((sample * capacity + filled) * row, sample * positions * row)
      (layer.keys + place).update(from: keys + source, count: positions * row)
      (layer.values + place).update(from: values + source, count: positions * row)
    }
    return (UnsafePointer(layer.keys), UnsafePointer(layer.values))
  }

  private func layer(_ site: OperatorSite, count: Int) throws(ExecutionError) -> Layer {
    if let known = layerOf[site] { return layers[known] }
    let layer = Layer(keys: try Self.allocate(count), values: try Self.allocate(count))
    layerOf[site] = layers.count
    layers.append(layer)
    bytes += 2 * count * MemoryLayout<Float>.stride
    return layer
  }

  private static func allocate(_ count: Int) throws(ExecutionError) -> UnsafeMutablePointer<Float> {
    let bytes = max(1, count) * MemoryLayout<Float>.stride
    var address: UnsafeMutableRawPointer?
    guard posix_memalign(&address, 64, bytes) == 0, let address else { throw .outOfMemory(bytes: bytes) }
    return address.bindMemory(to: Float.self, capacity: count)
  }
}

extension OperatorCall {
  /// Attention of a step's positions with all those before them.
  func attentionForward(with cache: KeyValueCache) throws(ExecutionError) {
    let (query, key) = (extents(0), extents(1))
    let (samples, positions, groups, headSize) = (query[0], query[1], query[2], query[4])
    let all = try cache.append(
      operand(1), operand(2), of: OperatorSite(op: call.op, copy: call.copy), samples: samples, positions: key[1], row: groups * headSize)
    let kernel = Attention(
      batch: samples, queries: positions, keys: cache.filled + positions, heads: groups * query[3], kvHeads: groups, headDim: headSize,
      scale: 1 / Float(headSize).squareRoot(), visibility: .causal(queryStart: cache.filled, keyStart: 0), keyPitch: cache.capacity)
    let (out, lse) = (try newResult(), try newExtra(0))
    try withScratch(kernel.forwardScratchCount) { scratch in
      kernel.forward(q: operand(0), k: all.keys, v: all.values, out: out, lse: lse, scratch: scratch)
    }
  }
}
