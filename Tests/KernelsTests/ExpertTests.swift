// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

/// Oracle: the definitions in double precision; gradients by central differences of them.
struct ExpertTests {
  private let tokens = 5
  private let experts = 6
  private let perToken = 3

  /// Experts by falling logit, and the weights of the first few.
  private func routes(_ logits: [Double], renormalises: Bool) -> (weights: [Double], numbers: [Int]) {
    var (weights, numbers): ([Double], [Int]) = ([], [])
    for token in 0..<tokens {
      let line = Array(logits[token * experts..<(token + 1) * experts])
      let chosen = line.indices.sorted { (line[$0], $1) > (line[$1], $0) }.prefix(perToken)
      let powers = line.map { exponential($0) }
      let sum = renormalises ? chosen.reduce(0) { $0 + powers[$1] } : powers.reduce(0, +)
      weights += chosen.map { powers[$0] / sum }
      numbers += chosen
    }
    return (weights, numbers)
  }

  /// By its series: the tests have no other exponential of doubles.
  private func exponential(_ x: Double) -> Double {
    var (sum, term) = (1.0, 1.0)
    for n in 1..<40 {
      term *= x / Double(n)
      sum += term
    }
    return sum
  }

  private func packed(_ weights: [Double], _ numbers: [Int]) -> [Float] {
    var routes: [Float] = []
    for token in 0..<tokens {
      let own = token * perToken..<(token + 1) * perToken
      routes += weights[own].map(Float.init)
      routes += numbers[own].map(Float.init)
    }
    return routes
  }

  @Test(arguments: [true, false]) func router(renormalises: Bool) {
    var samples = SeededGenerator(seed: renormalises ? 3 : 4)
    let logits = samples.floats(tokens * experts, in: -2...2)
    let router = Router(tokens: tokens, experts: experts, perToken: perToken, renormalises: renormalises)
    var found = [Float](repeating: 77, count: tokens * 2 * perToken + 1)
    router.forward(logits, into: &found)
    let (weights, numbers) = routes(logits.doubles, renormalises: renormalises)
    #expect(worstError(found, packed(weights, numbers).doubles + [77]) <= 8 * epsilon)

    let dweights = samples.floats(tokens * perToken)
    // Numbers of experts have no gradient: what stands in their place is not read.
    var droutes: [Float] = []
    for token in 0..<tokens { droutes += dweights[token * perToken..<(token + 1) * perToken] + [Float](repeating: 9, count: perToken) }
    var dlogits = [Float](repeating: 77, count: logits.count + 1)
    router.backward(logits, found, droutes: droutes, into: &dlogits)
    // The choice does not change where logits differ by more than a step.
    let exact = centralDifferences(logits.doubles) { dot(routes($0, renormalises: renormalises).weights, dweights.doubles) }
    #expect(worstError(dlogits, exact + [77]) <= 32 * epsilon + 1e-9)
  }

  @Test("Of equal logits the lower number is chosen first")
  func ties() {
    var found = [Float](repeating: 77, count: 6)
    Router(tokens: 1, experts: 5, perToken: 3, renormalises: true).forward([1, 2, 1, 2, 1], into: &found)
    #expect(Array(found[3...]) == [1, 3, 0] && found[0] == found[1])
  }

  /// Two ranks with three experts each together are one with all.
  @Test(arguments: [0..<6, 0..<3, 3..<6, 2..<3]) func dispatchAndCombine(held: Range<Int>) {
    var samples = SeededGenerator(seed: UInt64(held.count))
    let columns = 11
    let (weights, numbers) = routes(samples.floats(tokens * experts, in: -2...2).doubles, renormalises: true)
    let routes = packed(weights, numbers)
    let routing = Routing(tokens: tokens, perToken: perToken, held: held)
    let (x, dy) = (samples.floats(tokens * columns), samples.floats(tokens * columns))
    let slots = samples.floats(held.count * tokens * columns)
    let dslots = samples.floats(slots.count)
    var sent = [Double](repeating: 0, count: slots.count)
    var (dx, y) = ([Double](repeating: 0, count: x.count), [Double](repeating: 0, count: x.count))
    var back = sent
    var droutes = [Double](repeating: 0, count: routes.count)
    for token in 0..<tokens {
      for choice in 0..<perToken where held.contains(numbers[token * perToken + choice]) {
        let place = (numbers[token * perToken + choice] - held.lowerBound) * tokens + token
        let weight = Double(routes[token * 2 * perToken + choice])
        for j in 0..<columns {
          let (own, slot) = (token * columns + j, place * columns + j)
          sent[slot] = Double(x[own])
          dx[own] += Double(dslots[slot])
          y[own] += weight * Double(slots[slot])
          back[slot] = weight * Double(dy[own])
          droutes[token * 2 * perToken + choice] += Double(slots[slot]) * Double(dy[own])
        }
      }
    }
    func run(_ count: Int, _ body: (UnsafeMutablePointer<Float>) -> Void) -> [Float] {
      var values = [Float](repeating: 77, count: count + 1)
      values.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
      #expect(values.last == 77)
      return values.dropLast()
    }
    #expect(worstError(run(slots.count) { routing.dispatch(x, routes, into: $0, columns: columns) }, sent) == 0)
    #expect(worstError(run(x.count) { routing.dispatchGradient(dslots, routes, into: $0, columns: columns) }, dx) <= 8 * epsilon)
    #expect(worstError(run(x.count) { routing.combine(slots, routes, into: $0, columns: columns) }, y) <= 8 * epsilon)
    #expect(worstError(run(slots.count) { routing.combineGradient(dy, routes, into: $0, columns: columns) }, back) <= epsilon)
    #expect(worstError(run(routes.count) { routing.weightGradient(slots, routes, dy: dy, into: $0, columns: columns) }, droutes) <= 16 * epsilon)
  }

  @Test func gates() {
    var samples = SeededGenerator(seed: 9)
    let (rows, columns) = (4, 11)
    let (x, gate, dy) = (samples.floats(rows * columns), samples.floats(rows, in: -2...2), samples.floats(rows * columns))
    func gated(_ x: [Double], _ gate: [Double]) -> [Double] { x.indices.map { x[$0] / (1 + exponential(-gate[$0 / columns])) } }
    var (y, dgate) = ([Float](repeating: 77, count: x.count + 1), [Float](repeating: 77, count: rows + 1))
    SigmoidGate.forward(x, gate: gate, into: &y, rows: rows, columns: columns)
    #expect(worstError(y, gated(x.doubles, gate.doubles) + [77]) <= 8 * epsilon)
    SigmoidGate.gateGradient(x, gate: gate, dy: dy, into: &dgate, rows: rows, columns: columns)
    #expect(worstError(dgate, centralDifferences(gate.doubles) { dot(gated(x.doubles, $0), dy.doubles) } + [77]) <= 64 * epsilon + 1e-9)
  }

  @Test func occupiedRows() {
    let (rows, columns) = (5, 3)
    let x: [Float] = [0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    var (packed, numbers) = ([Float](repeating: 77, count: x.count), [Int32](repeating: -1, count: rows))
    let count = OccupiedRows.gather(x, rows: rows, columns: columns, into: &packed, numbers: &numbers)
    #expect(count == 2 && Array(numbers[..<2]) == [1, 3] && Array(packed[..<6]) == [0, 0, 2, 1, 0, 0])
    var y = [Float](repeating: 77, count: x.count)
    OccupiedRows.scatter(packed, numbers: numbers, count: count, rows: rows, columns: columns, into: &y)
    #expect(y == x)
    let other = (0..<x.count).map(Float.init)
    OccupiedRows.gather(other, numbers: numbers, count: count, columns: columns, into: &packed)
    #expect(Array(packed[..<6]) == [3, 4, 5, 9, 10, 11])
  }

  @Test("oracle: marks are 1 where a route to a held expert ends")
  func marks() {
    // Three tokens of two routes each; this rank holds experts 1 and 2.
    let routes: [Float] = [0.5, 0.5, 2, 0, 0.9, 0.1, 1, 2, 0.7, 0.3, 3, 0]
    var marks = [Float](repeating: 77, count: 7)
    Routing(tokens: 3, perToken: 2, held: 1..<3).mark(routes, into: &marks)
    #expect(marks == [0, 1, 0, 1, 1, 0, 77])
  }

  @Test("golden: marked rows of a box, with their numbers in it; a row of zeros and one without a number are rows as others are")
  func markedRows() {
    // An array of experts 2..<4, one sequence, slots 4..<7, features 0..<4, of which the box has expert 3, slots 5 and 6, features 1 and 2.
    let region = [2..<4, 0..<1, 4..<7, 0..<4]
    var array = (0..<24).map(Float.init)
    (array[4 * 4 + 1], array[4 * 4 + 2]) = (0, 0)
    array[5 * 4 + 2] = .nan
    let rows = MarkedRows(box: [3..<4, 0..<1, 5..<7, 1..<3], of: region)
    #expect(rows.rows == 2 && rows.recordLength == 3)
    var records = [Float](repeating: 77, count: 6)
    #expect(rows.pack(array, marks: [1, 1, 1, 1, 1, 0], into: &records) == 1)
    #expect(records == [Float(bitPattern: 0), 0, 0, 77, 77, 77])
    #expect(rows.pack(array, marks: [1, 1, 1, 1, 0, 0], into: &records) == 0)
    #expect(rows.pack(array, marks: [0, 0, 0, 0, 0, 1], into: &records) == 1)
    #expect(records[0].bitPattern == 1 && records[1] == 21 && records[2].isNaN)
    var (back, marks) = ([Float](repeating: 0, count: 24), [Float](repeating: 0, count: 6))
    rows.unpack(records, count: 1, into: &back, marks: &marks)
    #expect(marks == [0, 0, 0, 0, 0, 1] && back[21] == 21 && back[22].isNaN && back.count { $0 != 0 } == 2)
  }

  @Test("differential: packed and unpacked again, the marked rows of any box are there, and nothing else", arguments: 1...20)
  func markedRowsOfAnyBox(seed: Int) {
    var samples = SeededGenerator(seed: seed)
    func part(of range: Range<Int>) -> Range<Int> {
      let start = samples.int(range.lowerBound...range.upperBound)
      return start..<samples.int(start...range.upperBound)
    }
    let region = (0..<samples.pick([4, 5])).map { _ in
      let start = samples.int(0...3)
      return start..<start + samples.int(1...4)
    }
    let box = region.map(part)
    let counts = region.map(\.count)
    let rowCount = counts[..<3].reduce(1, *)
    let array = samples.floats(counts.reduce(1, *))
    let marks = (0..<rowCount).map { _ in Float(samples.int(0...1)) }
    let rows = MarkedRows(box: box, of: region)
    var records = [Float](repeating: 77, count: rows.rows * rows.recordLength + 1)
    let count = rows.pack(array, marks: marks, into: &records)
    var (back, found) = ([Float](repeating: 0, count: array.count), [Float](repeating: 0, count: rowCount))
    rows.unpack(records, count: count, into: &back, marks: &found)
    for place in array.indices {
      // The index in each dimension.
      var (rest, index) = (place, [Int](repeating: 0, count: counts.count))
      for d in counts.indices.reversed() { (rest, index[d]) = (rest / counts[d], rest % counts[d] + region[d].lowerBound) }
      let row = place / (array.count / rowCount)
      let isInside = zip(box, index).allSatisfy { $0.contains($1) }
      #expect(back[place] == (isInside && marks[row] == 1 ? array[place] : 0))
      if isInside { #expect(found[row] == marks[row]) }
    }
    #expect(records.last == 77 && count * rows.recordLength <= records.count - 1)
  }
}
