// SPDX-License-Identifier: GPL-3.0-or-later

/// Places for the boxes of an acyclic graph, in layers from top to bottom: each box below all that it reads, as near as possible below the middle of it.
/// An edge over several layers runs past the boxes between in a lane beside them, the shortest edges innermost.
struct LayeredLayout {
  struct Box {
    var width: Double
    var height: Double
  }

  typealias Point = (x: Double, y: Double)

  /// The middle of each box.
  private(set) var centers: [Point] = []
  /// For each edge, the points that it goes through, from the lower side of one box to the upper side of another.
  private(set) var routes: [[Point]] = []
  private(set) var width = 0.0
  private(set) var height = 0.0

  /// Heights between layers, at which the picture may be cut without cutting a box.
  var cuts: [Double] { zip(sides, sides.dropFirst()).map { ($0.bottom + $1.top) / 2 } }

  private let boxes: [Box]
  private var layerOfBox: [Int]
  private var layers: [[Int]] = []
  /// Of each layer the upper and the lower side.
  private var sides: [(top: Double, bottom: Double)] = []
  private var x: [Double]

  private static let (gapAcross, gapDown, lane) = (18.0, 26.0, 12.0)

  /// - Parameter edges: pairs of boxes, the first of which has the smaller number.
  init(_ boxes: [Box], edges: [(from: Int, to: Int)]) {
    precondition(edges.allSatisfy { $0.from < $0.to && $0.to < boxes.count }, "boxes stand in topological order")
    self.boxes = boxes
    layerOfBox = [Int](repeating: 0, count: boxes.count)
    x = [Double](repeating: 0, count: boxes.count)
    var above = [[Int]](repeating: [], count: boxes.count)
    for edge in edges.sorted(by: { $0.to < $1.to }) {
      layerOfBox[edge.to] = max(layerOfBox[edge.to], layerOfBox[edge.from] + 1)
      above[edge.to].append(edge.from)
    }
    layers = [[Int]](repeating: [], count: (layerOfBox.max() ?? -1) + 1)
    for (box, layer) in layerOfBox.enumerated() { layers[layer].append(box) }
    place(above)
    let lanes = lanes(edges)
    let left = (boxes.indices.map { x[$0] - boxes[$0].width / 2 } + lanes.compactMap { $0 }).min() ?? 0
    width = ((boxes.indices.map { x[$0] + boxes[$0].width / 2 } + lanes.compactMap { $0 }).max() ?? 0) - left
    height = sides.last?.bottom ?? 0
    centers = boxes.indices.map { (x[$0] - left, (sides[layerOfBox[$0]].top + sides[layerOfBox[$0]].bottom) / 2) }
    routes = zip(edges, lanes).map { edge, lane in route(edge, lane.map { $0 - left }) }
  }

  private mutating func place(_ above: [[Int]]) {
    var y = 0.0
    for index in layers.indices {
      let wanted = layers[index].map { box -> Double in
        above[box].isEmpty ? 0 : above[box].reduce(0) { $0 + x[$1] } / Double(above[box].count)
      }
      let order = layers[index].indices.sorted { (wanted[$0], $0) < (wanted[$1], $1) }
      layers[index] = order.map { layers[index][$0] }
      for (box, place) in zip(layers[index], Self.spread(order.map { wanted[$0] }, layers[index].map { boxes[$0].width })) { x[box] = place }
      let height = layers[index].map { boxes[$0].height }.max() ?? 0
      sides.append((y, y + height))
      y += height + Self.gapDown
    }
  }

  /// Places in a given order, as near to those that are wanted as what is between neighbours allows: the mean of pushing to the right and to the left.
  private static func spread(_ wanted: [Double], _ widths: [Double]) -> [Double] {
    var (right, left) = (wanted, wanted)
    func gap(_ i: Int) -> Double { (widths[i - 1] + widths[i]) / 2 + gapAcross }
    for i in wanted.indices.dropFirst() { right[i] = max(right[i], right[i - 1] + gap(i)) }
    for i in wanted.indices.dropFirst().reversed() { left[i - 1] = min(left[i - 1], left[i] - gap(i)) }
    return zip(right, left).map { ($0 + $1) / 2 }
  }

  /// For each edge over several layers, where it runs down beside the boxes of those between.
  private func lanes(_ edges: [(from: Int, to: Int)]) -> [Double?] {
    var lanes = [Double?](repeating: nil, count: edges.count)
    var taken: [(layers: Range<Int>, x: Double)] = []
    func between(_ edge: (from: Int, to: Int)) -> Range<Int> { layerOfBox[edge.from] + 1..<max(layerOfBox[edge.to], layerOfBox[edge.from] + 1) }
    let long = edges.indices.filter { !between(edges[$0]).isEmpty }
    for index in long.sorted(by: { (between(edges[$0]).count, $0) < (between(edges[$1]).count, $1) }) {
      let passed = between(edges[index])
      let ends = (x[edges[index].from] + x[edges[index].to]) / 2
      /// The nearest free place on one side.
      func free(_ side: Double) -> Double {
        let edge = layers[passed].joined().map { side * x[$0] + boxes[$0].width / 2 }.max() ?? 0
        var place = max(edge + Self.lane, side * ends)
        while let other = taken.first(where: { $0.layers.overlaps(passed) && abs($0.x - side * place) < Self.lane - 1e-6 }) {
          place = side * other.x + Self.lane
        }
        return side * place
      }
      let (left, right) = (free(-1), free(1))
      let lane = abs(left - ends) < abs(right - ends) - 1 ? left : right
      lanes[index] = lane
      taken.append((passed, lane))
    }
    return lanes
  }

  private func route(_ edge: (from: Int, to: Int), _ lane: Double?) -> [Point] {
    let start = (x: centers[edge.from].x, y: centers[edge.from].y + boxes[edge.from].height / 2)
    let end = (x: centers[edge.to].x, y: centers[edge.to].y - boxes[edge.to].height / 2)
    guard let lane else { return [start, end] }
    return [start, (lane, sides[layerOfBox[edge.from] + 1].top), (lane, sides[layerOfBox[edge.to] - 1].bottom), end]
  }
}
