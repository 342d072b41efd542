// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// The cheapest way from one layout of a tensor to another, by Dijkstra's algorithm over the layouts in between.
///
/// All layouts of a tensor shape are numbered, and the steps between them priced, once; each source is explored when it is first asked for.
package final class Resharder {
  /// A way between two layouts, and what it costs.
  package struct Path: Sendable {
    package let steps: [ReshardingStep]
    package let time: Seconds
  }

  private struct Key: Hashable {
    let shape: [Int]
    let bytesPerElement: Int
    let unevenDimensions: Int
  }

  private let pricing: Pricing
  /// Whose ways these are, where another one's prices decide.
  private let guide: Resharder?
  /// For lower bounds: those of which the least counts.
  private let others: [Resharder]
  private var tables: [Key: Table] = [:]
  /// For each tensor its table, once it was asked for.
  private var tableOfTensor: [Table?]

  /// - Parameter guide: prices the same ways as this one, which are cheapest there.
  package convenience init(_ pricing: Pricing, along guide: Resharder? = nil) { self.init(pricing, guide, others: []) }

  /// For lower bounds: times that none of several goes below.
  package convenience init(leastOf others: [Resharder]) { self.init(others[0].pricing, nil, others: others) }

  private init(_ pricing: Pricing, _ guide: Resharder?, others: [Resharder]) {
    self.pricing = pricing
    self.guide = guide
    self.others = others
    tableOfTensor = [Table?](repeating: nil, count: pricing.graph.tensors.count)
  }

  /// The cheapest way; nil where there is none (a target that has an empty part, or a partial target).
  package func path(_ tensor: TensorID, from: Layout, to: Layout) -> Path? {
    if from == to { return Path(steps: [], time: .zero) }
    if let first = others.first { return first.path(tensor, from: from, to: to) }
    guard let guide else { return table(tensor).path(from: from, to: to) }
    guard let way = guide.path(tensor, from: from, to: to) else { return nil }
    var (layout, total) = (from, Seconds.zero)
    for step in way.steps {
      total += time(step, of: tensor, from: layout)
      layout = step.result
    }
    return Path(steps: way.steps, time: total)
  }

  /// The time of the cheapest way; nil where there is none.
  package func time(_ tensor: TensorID, from: Layout, to: Layout) -> Seconds? {
    if from == to { return .zero }
    if !others.isEmpty { return others.compactMap { $0.time(tensor, from: from, to: to) }.min() }
    return guide == nil ? table(tensor).time(from: from, to: to) : path(tensor, from: from, to: to)?.time
  }

  /// The times of the cheapest ways from each of some layouts to each of others, one source after the other; infinite where there is none.
  package func times(_ tensor: TensorID, from: [Layout], to: [Layout]) -> [Double] {
    if guide == nil, others.isEmpty { return table(tensor).times(from: from, to: to) }
    return from.flatMap { source in to.map { time(tensor, from: source, to: $0)?.value ?? .infinity } }
  }

  /// The time of one step on a tensor.
  package func time(_ step: ReshardingStep, of tensor: TensorID, from: Layout) -> Seconds {
    time(step, key(tensor), from: from, pricing)
  }

  private func time(_ step: ReshardingStep, _ key: Key, from: Layout, _ pricing: Pricing) -> Seconds {
    func bytes(_ layout: Layout) -> Bytes {
      Bytes(pricing.largestCount(key.shape, layout, unevenDimensions: key.unevenDimensions) * Double(key.bytesPerElement))
    }
    if step.collective == nil, !pricing.kinds.isEmpty { return pricing.kinds.map { time(step, key, from: from, $0) }.max() ?? .zero }
    let (before, after) = (bytes(from), bytes(step.result))
    guard let kind = step.collective else { return pricing.rates.stream(after * 2) }
    // A collective's payload: the larger side; equal for all-reduce and all-to-all.
    return pricing.collective(kind, bytes: max(before, after), axes: step.axes)
  }

  private func key(_ tensor: TensorID) -> Key {
    Key(
      shape: pricing.shape(tensor), bytesPerElement: pricing.elementBytes(tensor), unevenDimensions: pricing.unevenDimensions(of: tensor))
  }

  private func table(_ tensor: TensorID) -> Table {
    if let known = tableOfTensor[tensor] { return known }
    let key = key(tensor)
    let table =
      tables[key]
      ?? Table(shape: key.shape, mesh: pricing.mesh) { step, from in
        self.pricing.leavesSomeEmpty(step.result, unevenDimensions: key.unevenDimensions)
          ? Seconds(.infinity) : self.time(step, key, from: from, self.pricing)
      }
    tables[key] = table
    tableOfTensor[tensor] = table
    return table
  }

  /// The layouts of one shape, numbered by their placements (replicated, partial, split of each dimension) as digits, and the steps between them.
  private final class Table {
    private let axes: Int
    private let base: Int
    private let count: Int
    private var steps: [[(step: ReshardingStep, to: Int, time: Double)]]
    /// By source and target, once the source is explored: the time, and the last step's origin and number.
    private var times: [Double]
    private var origins: [(layout: Int32, step: Int32)]
    private var isExplored: [Bool]

    init(shape: [Int], mesh: [Int], price: (ReshardingStep, Layout) -> Seconds) {
      axes = mesh.count
      base = shape.count + 2
      count = (0..<mesh.count).reduce(1) { total, _ in total * (shape.count + 2) }
      steps = []
      steps.reserveCapacity(count)
      times = .init(repeating: .infinity, count: count * count)
      origins = .init(repeating: (-1, -1), count: count * count)
      isExplored = .init(repeating: false, count: count)
      for index in 0..<count {
        let layout = Self.layout(index, axes: axes, base: base)
        steps.append(
          ReshardingStep.steps(from: layout, shape: shape, mesh: mesh).map { ($0, Self.index($0.result, base: base), price($0, layout).value) })
      }
    }

    private static func layout(_ index: Int, axes: Int, base: Int) -> Layout {
      var rest = index
      var layout = Layout(replicatedOn: axes)
      for axis in 0..<axes {
        let digit = rest % base
        rest /= base
        if digit == 1 { layout[axis] = .partial } else if digit > 1 { layout[axis] = .split(digit - 2) }
      }
      return layout
    }

    private static func index(_ layout: Layout, base: Int) -> Int {
      var (index, weight) = (0, 1)
      for axis in 0..<layout.axes {
        switch layout[axis] {
        case .replicated: break
        case .partial: index += weight
        case .split(let dimension): index += weight * (dimension + 2)
        }
        weight *= base
      }
      return index
    }

    func time(from: Layout, to: Layout) -> Seconds? {
      let source = Self.index(from, base: base)
      if !isExplored[source] { explore(source) }
      let time = times[source * count + Self.index(to, base: base)]
      return time.isFinite ? Seconds(time) : nil
    }

    func times(from: [Layout], to: [Layout]) -> [Double] {
      let targets = to.map { Self.index($0, base: base) }
      var all: [Double] = []
      all.reserveCapacity(from.count * to.count)
      for layout in from {
        let source = Self.index(layout, base: base)
        if !isExplored[source] { explore(source) }
        for target in targets { all.append(times[source * count + target]) }
      }
      return all
    }

    func path(from: Layout, to: Layout) -> Path? {
      let source = Self.index(from, base: base)
      if !isExplored[source] { explore(source) }
      var place = Self.index(to, base: base)
      let total = times[source * count + place]
      guard total.isFinite else { return nil }
      var way: [ReshardingStep] = []
      while place != source {
        let last = origins[source * count + place]
        way.append(steps[Int(last.layout)][Int(last.step)].step)
        place = Int(last.layout)
      }
      return Path(steps: way.reversed(), time: Seconds(total))
    }

    /// Ties go to fewer steps, then to the layout of the lower number.
    private func explore(_ source: Int) {
      isExplored[source] = true
      let (count, first) = (count, source * count)
      times.withUnsafeMutableBufferPointer { times in
        withUnsafeTemporaryAllocation(of: Int.self, capacity: count) { length in
          withUnsafeTemporaryAllocation(of: Bool.self, capacity: count) { settled in
            length.initialize(repeating: .max)
            settled.initialize(repeating: false)
            (times[first + source], length[source]) = (0, 0)
            while true {
              var next = -1
              for layout in 0..<count where !settled[layout] && times[first + layout].isFinite {
                if next < 0 || (times[first + layout], length[layout]) < (times[first + next], length[next]) { next = layout }
              }
              if next < 0 { break }
              settled[next] = true
              let own = steps[next]
              for number in own.indices where !settled[own[number].to] {
                let to = own[number].to
                let candidate = (times[first + next] + own[number].time, length[next] + 1)
                if candidate < (times[first + to], length[to]) {
                  (times[first + to], length[to]) = candidate
                  origins[first + to] = (Int32(next), Int32(number))
                }
              }
            }
          }
        }
      }
    }
  }
}
