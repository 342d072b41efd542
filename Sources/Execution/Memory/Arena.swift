// SPDX-License-Identifier: GPL-3.0-or-later

/// Where a program's blocks lie in one piece of memory, found from their life times before the run.
struct ArenaPlan {
  /// A part of the arena; both are multiples of `alignment`.
  struct Place: Equatable {
    let offset: Int
    let bytes: Int
    var end: Int { offset + bytes }
  }

  /// A block that a program takes: when, and until when.
  struct Life {
    let bytes: Int
    /// The instruction that takes it; 0 stands for what is taken before the first step, i + 1 for instruction i of a step.
    let taker: Int
    /// Of a count of all times at which blocks are taken or given back.
    let start: Int
    /// `Int.max` for what stays.
    var end = Int.max

    func overlaps(_ other: Life) -> Bool { start < other.end && other.start < end }
  }

  static let alignment = 64
  static let empty = ArenaPlan([])

  let bytes: Int
  private let places: [Place]
  /// For each taker where its places start in `places`, and the end.
  private let starts: [Int]

  /// What `taker` takes, in its order.
  func places(of taker: Int) -> ArraySlice<Place> { taker + 1 < starts.count ? places[starts[taker]..<starts[taker + 1]] : [] }

  static func aligned(_ bytes: Int) -> Int { max(1, (bytes + alignment - 1) / alignment) * alignment }

  /// - Parameter lives: in the order in which they start; takers ascend.
  init(_ lives: [Life]) {
    // No order is the best for every program; the most that is alive at once is a lower bound.
    let orders: [(Life) -> Double] = [
      { Double($0.bytes) }, { Double($0.end &- $0.start) }, { Double($0.bytes) * Double($0.end &- $0.start) },
    ]
    let least = Self.mostAtOnce(lives)
    var best: (bytes: Int, places: [Place])?
    for order in orders {
      let keys = lives.map(order)
      let found = Self.place(lives, inOrder: lives.indices.sorted { (keys[$0], $1) > (keys[$1], $0) })
      let bytes = found.map(\.end).max() ?? 0
      if bytes < best?.bytes ?? .max { best = (bytes, found) }
      if bytes <= least + least / 100 { break }
    }
    (bytes, places) = best ?? (0, [])
    var starts: [Int] = []
    for (index, life) in lives.enumerated() { while starts.count <= life.taker { starts.append(index) } }
    self.starts = starts + [lives.count]
  }

  static func mostAtOnce(_ lives: [Life]) -> Int {
    let changes = lives.map { ($0.start, aligned($0.bytes)) } + lives.filter { $0.end < .max }.map { ($0.end, -aligned($0.bytes)) }
    var (now, most) = (0, 0)
    for (_, change) in changes.sorted(by: { $0 < $1 }) {
      now += change
      most = max(most, now)
    }
    return most
  }

  /// Puts each block at the lowest place that none of those before it has at the same time.
  private static func place(_ lives: [Life], inOrder order: [Int]) -> [Place] {
    var places = [Place](repeating: Place(offset: 0, bytes: 0), count: lives.count)
    var alive = LifeIndex(lives)
    for index in order {
      let bytes = aligned(lives[index].bytes)
      var offset = 0
      for taken in alive.overlapping(index).map({ places[$0] }).sorted(by: { $0.offset < $1.offset }) {
        if taken.offset - offset >= bytes { break }
        offset = max(offset, taken.end)
      }
      places[index] = Place(offset: offset, bytes: bytes)
      alive.insert(index)
    }
    return places
  }
}

/// Which of some blocks live at the same time as another: a segment tree over the times at which blocks are taken.
private struct LifeIndex {
  private let lives: [ArenaPlan.Life]
  /// The starts of all lives; a life covers those within it, its own among them.
  private let times: [Int]
  private let leaves: Int
  private var nodes: [[Int]]
  /// Whether anything is in the subtree of a node.
  private var isOccupied: [Bool]
  /// For each life the number of the last question whose answer it was in.
  private var answered: [Int]
  private var questions = 0

  init(_ lives: [ArenaPlan.Life]) {
    self.lives = lives
    times = lives.map(\.start)
    leaves = max(1, lives.count).nextPowerOf2
    nodes = Array(repeating: [], count: 2 * leaves)
    isOccupied = Array(repeating: false, count: 2 * leaves)
    answered = Array(repeating: 0, count: lives.count)
  }

  /// The starts that lie within a life.
  private func span(_ index: Int) -> Range<Int> {
    var (low, high) = (index, times.count)  // starts ascend: the first that is not before its end
    while low < high {
      let middle = (low + high) / 2
      if times[middle] < lives[index].end { low = middle + 1 } else { high = middle }
    }
    return index..<max(low, index + 1)
  }

  mutating func insert(_ index: Int) {
    for node in canonical(span(index)) {
      nodes[node].append(index)
      var above = node
      while above > 0, !isOccupied[above] {
        isOccupied[above] = true
        above /= 2
      }
    }
  }

  /// Those inserted that live at the same time as `index`, each once.
  mutating func overlapping(_ index: Int) -> [Int] {
    var found: [Int] = []
    questions += 1
    func add(_ node: Int) {
      for life in nodes[node] where answered[life] < questions {
        answered[life] = questions
        found.append(life)
      }
    }
    for node in canonical(span(index)) {
      var above = node / 2
      while above > 0 {
        add(above)
        above /= 2
      }
      var below = [node]
      while let next = below.popLast() {
        guard isOccupied[next] else { continue }
        add(next)
        if next < leaves { below += [2 * next, 2 * next + 1] }
      }
    }
    return found
  }

  /// The fewest nodes that cover a range of leaves.
  private func canonical(_ range: Range<Int>) -> [Int] {
    var (low, high) = (range.lowerBound + leaves, range.upperBound + leaves)
    var result: [Int] = []
    while low < high {
      if low & 1 == 1 {
        result.append(low)
        low += 1
      }
      if high & 1 == 1 {
        high -= 1
        result.append(high)
      }
      low /= 2
      high /= 2
    }
    return result
  }
}

extension Int {
  fileprivate var nextPowerOf2: Int { self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount) }
}

/// Which places of an arena are taken now.
///
/// A run may keep a block for longer than planned (a message whose receiver is late, a result that is to be compared): a place is given only while no
/// part of it is taken.
struct ArenaOccupancy {
  let plan: ArenaPlan
  /// Ascending, none overlaps another.
  private var taken: [ArenaPlan.Place] = []
  private var taker = 0

  init(_ plan: ArenaPlan) { self.plan = plan }

  /// From now on it is `taker` that takes.
  mutating func begin(_ taker: Int) { self.taker = taker }

  /// The place that was planned for a block of so many bytes; nil if there was none, or it is taken.
  mutating func take(bytes: Int) -> ArenaPlan.Place? {
    let bytes = ArenaPlan.aligned(bytes)
    for place in plan.places(of: taker) where place.bytes == bytes {
      let next = firstIndex(endingAfter: place.offset)
      if next == taken.count || taken[next].offset >= place.end {
        taken.insert(place, at: next)
        return place
      }
    }
    return nil
  }

  mutating func give(back place: ArenaPlan.Place) {
    let index = firstIndex(endingAfter: place.offset)
    precondition(index < taken.count && taken[index] == place, "a place is given back that was not taken")
    taken.remove(at: index)
  }

  private func firstIndex(endingAfter offset: Int) -> Int {
    var (low, high) = (0, taken.count)
    while low < high {
      let middle = (low + high) / 2
      if taken[middle].end <= offset { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
