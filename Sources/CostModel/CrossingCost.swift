// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// What it takes to send tensors from the stages of one mesh to those of another, and their gradients back.
///
/// A rank sends, or receives, its messages one after the other: the one with most of them takes α for each and β for all of its bytes. No published
/// formula; it is that of one message between two ranks, `Link.time`, where there is one.
package final class CrossingCost {
  private struct Key: Hashable {
    let shape: [Int]
    let from: Layout
    let to: Layout
    let isForward: Bool
  }

  private let source: Pricing
  private let target: Pricing
  private let link: Link
  private var loads: [Key: MeshCrossing.Load] = [:]

  /// - Parameter link: between the two stages that are neighbours.
  package init(from source: Pricing, to target: Pricing, over link: Link) {
    (self.source, self.target, self.link) = (source, target, link)
  }

  /// From the source's mesh to the target's.
  package func forward(_ tensor: TensorID, from: Layout, to: Layout, bytesPerElement: Int? = nil) -> (bytes: Bytes, time: Seconds) {
    cost(tensor, from, to, isForward: true, bytesPerElement)
  }

  /// From the target's mesh back to the source's.
  package func backward(_ tensor: TensorID, from: Layout, to: Layout, bytesPerElement: Int? = nil) -> (bytes: Bytes, time: Seconds) {
    cost(tensor, from, to, isForward: false, bytesPerElement)
  }

  /// Gradients of a tied parameter both ways at once, between the layouts in which both sides hold it: the way that takes longer.
  package func exchange(_ tensor: TensorID, _ own: Layout, _ other: Layout) -> (bytes: Bytes, time: Seconds) {
    let size = source.gradientBytesSent
    let there = forward(tensor, from: own, to: other, bytesPerElement: size)
    let back = backward(tensor, from: other, to: own, bytesPerElement: size)
    return there.time < back.time ? back : there
  }

  private func cost(_ tensor: TensorID, _ from: Layout, _ to: Layout, isForward: Bool, _ bytesPerElement: Int?) -> (bytes: Bytes, time: Seconds) {
    let key = Key(shape: source.shape(tensor), from: from, to: to, isForward: isForward)
    let (mesh, other) = isForward ? (source.mesh, target.mesh) : (target.mesh, source.mesh)
    let load = loads[key] ?? MeshCrossing(shape: key.shape, from: from, on: mesh, to: to, on: other).heaviest
    loads[key] = load
    let bytes = Bytes(Double(load.elements * (bytesPerElement ?? source.elementBytes(tensor))))
    return (bytes, link.latency * load.messages + bytes / link.bandwidth)
  }
}
