// SPDX-License-Identifier: GPL-3.0-or-later

/// Places for the boxes of an acyclic graph, in layers from top to bottom (Sugiyama, Tagawa and Toda 1981, "Methods for Visual Understanding of
/// Hierarchical System Structures"): each box below all that it reads, neighbours ordered so that edges cross little, and each as near as possible
/// above and below those that it is joined to. An edge over several layers has a place in each, so that it runs past boxes and not through them.
struct LayeredLayout {
  struct Box {
    var width: Double
    var height: Double
  }

  /// The middle of each box; behind them places of edges.
  private(set) var centers: [(x: Double, y: Double)]
  /// For each edge, the points that it goes through, from the lower side of one box to the upper side of another.
  private(set) var routes: [[(x: Double, y: Double)]]
  private(set) var width = 0.0
  private(set) var height = 0.0

  /// Boxes of the graph, and behind them those that stand for an edge in a layer.
  private var boxes: [Box]
  private var layerOfBox: [Int]
  private var layers: [[Int]] = []
  private var above: [[Int]]
  private var below: [[Int]]

  private static let (gapAcross, gapDown, bend) = (18.0, 26.0, 10.0)

  /// - Parameter edges: pairs of boxes, the first of which has the smaller number.
  init(_ boxes: [Box], edges: [(from: Int, to: Int)]) {
    precondition(edges.allSatisfy { $0.from < $0.to && $0.to < boxes.count }, "boxes stand in topological order")
    self.boxes = boxes
    layerOfBox = [Int](repeating: 0, count: boxes.count)
    for edge in edges.sorted(by: { $0.to < $1.to }) { layerOfBox[edge.to] = max(layerOfBox[edge.to], layerOfBox[edge.from] + 1) }
    above = boxes.map { _ in [] }
    below = above
    (centers, routes) = ([], [])
    let chains = edges.map { edge -> [Int] in
      var chain = [edge.from]
      for layer in layerOfBox[edge.from] + 1..<max(layerOfBox[edge.to], layerOfBox[edge.from] + 1) {
        chain.append(self.boxes.count)
        self.boxes.append(Box(width: Self.bend, height: 0))
        layerOfBox.append(layer)
        above.append([])
        below.append([])
      }
      return chain + [edge.to]
    }
    for chain in chains {
      for (upper, lower) in zip(chain, chain.dropFirst()) {
        below[upper].append(lower)
        above[lower].append(upper)
      }
    }
    layers = [[Int]](repeating: [], count: (layerOfBox.max() ?? -1) + 1)
    for (box, layer) in layerOfBox.enumerated() { layers[layer].append(box) }
    order()
    place()
    route(chains)
  }

  /// Sorts each layer by the mean place of the neighbours above, then below, several times over; the order with the fewest crossings stays.
  private mutating func order() {
    var best = (layers, crossings())
    for round in 0..<8 {
      let isDown = round % 2 == 0
      for layer in isDown ? Array(layers.indices.dropFirst()) : Array(layers.indices.dropLast().reversed()) {
        var places = [Int: Double]()
        for (place, box) in layers[isDown ? layer - 1 : layer + 1].enumerated() { places[box] = Double(place) }
        let keys = layers[layer].enumerated().map { place, box -> (Double, Int, Int) in
          let neighbours = (isDown ? above[box] : below[box]).compactMap { places[$0] }
          return (neighbours.isEmpty ? Double(place) : neighbours.reduce(0, +) / Double(neighbours.count), place, box)
        }
        layers[layer] = keys.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.2)
      }
      let count = crossings()
      if count < best.1 { best = (layers, count) }
    }
    layers = best.0
  }

  private func crossings() -> Int {
    var count = 0
    for layer in layers.indices.dropLast() {
      var places = [Int](repeating: 0, count: boxes.count)
      for (place, box) in layers[layer + 1].enumerated() { places[box] = place }
      let ends = layers[layer].map { box in below[box].map { places[$0] } }
      for i in ends.indices { for j in ends.indices where j > i { for a in ends[i] { for b in ends[j] where b < a { count += 1 } } } }
    }
    return count
  }

  private mutating func place() {
    var x = [Double](repeating: 0, count: boxes.count)
    for layer in layers {
      var left = 0.0
      for box in layer {
        x[box] = left + boxes[box].width / 2
        left += boxes[box].width + Self.gapAcross
      }
    }
    for round in 0..<24 {
      let isDown = round % 2 == 0
      for layer in isDown ? layers : layers.reversed() {
        let wanted = layer.map { box -> Double in
          let near = round < 16 ? (isDown ? above[box] : below[box]) : above[box] + below[box]
          return near.isEmpty ? x[box] : near.reduce(0) { $0 + x[$1] } / Double(near.count)
        }
        for (box, place) in zip(layer, Self.spread(wanted, layer.map { boxes[$0].width })) { x[box] = place }
      }
    }
    let left = boxes.indices.map { x[$0] - boxes[$0].width / 2 }.min() ?? 0
    width = (boxes.indices.map { x[$0] + boxes[$0].width / 2 }.max() ?? 0) - left
    var y = 0.0
    var middles = x
    for layer in layers {
      let height = layer.map { boxes[$0].height }.max() ?? 0
      for box in layer { middles[box] = y + height / 2 }
      y += height + Self.gapDown
    }
    height = max(0, y - Self.gapDown)
    centers = boxes.indices.map { (x[$0] - left, middles[$0]) }
  }

  /// Places in a given order, as near to those that are wanted as what is between neighbours allows: the mean of pushing to the right and to the left.
  private static func spread(_ wanted: [Double], _ widths: [Double]) -> [Double] {
    var (right, left) = (wanted, wanted)
    func gap(_ i: Int) -> Double { (widths[i - 1] + widths[i]) / 2 + gapAcross }
    for i in wanted.indices.dropFirst() { right[i] = max(right[i], right[i - 1] + gap(i)) }
    for i in wanted.indices.dropFirst().reversed() { left[i - 1] = min(left[i - 1], left[i] - gap(i)) }
    var result = zip(right, left).map { ($0 + $1) / 2 }
    for i in wanted.indices.dropFirst() { result[i] = max(result[i], result[i - 1] + gap(i)) }
    return result
  }

  private mutating func route(_ chains: [[Int]]) {
    routes = chains.map { chain in
      chain.enumerated().flatMap { place, box -> [(x: Double, y: Double)] in
        let (x, y) = centers[box]
        let half = boxes[box].height / 2
        if place == 0 { return [(x, y + half)] }
        if place == chain.count - 1 { return [(x, y - half)] }
        // Straight through the layer.
        let layer = layers[layerOfBox[box]].map { boxes[$0].height }.max() ?? 0
        return [(x, y - layer / 2), (x, y + layer / 2)]
      }
    }
  }
}
