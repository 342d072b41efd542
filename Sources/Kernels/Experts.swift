// SPDX-License-Identifier: GPL-3.0-or-later

/// Routing of tokens to experts. A token's routes are 2k numbers: the weights of its k experts, and then which these are.
///
/// A rank holds the experts of a range. Its slots, [experts, tokens, features], have a place at every expert for every token; a place is zero
/// where the token does not visit the expert.
package struct Routing: Sendable {
  package let tokens: Int
  /// Experts that a token visits.
  package let perToken: Int
  /// The experts that this rank holds, of all.
  package let held: Range<Int>

  package init(tokens: Int, perToken: Int, held: Range<Int>) {
    self.tokens = tokens
    self.perToken = perToken
    self.held = held
  }

  /// Calls `body` with each route to an expert that this rank holds, and the place in the slots.
  @inline(__always)
  private func forEachRoute(_ routes: UnsafePointer<Float>, _ body: (_ token: Int, _ choice: Int, _ place: Int) -> Void) {
    for token in 0..<tokens {
      for choice in 0..<perToken {
        let expert = Int(routes[token * 2 * perToken + perToken + choice])
        if held.contains(expert) { body(token, choice, (expert - held.lowerBound) * tokens + token) }
      }
    }
  }

  /// slots[e, t] = x[t] for each expert e of token t, else 0.
  package func dispatch(_ x: UnsafePointer<Float>, _ routes: UnsafePointer<Float>, into slots: UnsafeMutablePointer<Float>, columns: Int) {
    slots.update(repeating: 0, count: held.count * tokens * columns)
    forEachRoute(routes) { token, _, place in (slots + place * columns).update(from: x + token * columns, count: columns) }
  }

  /// marks[e, t] = 1 for each expert e of token t, else 0.
  package func mark(_ routes: UnsafePointer<Float>, into marks: UnsafeMutablePointer<Float>) {
    marks.update(repeating: 0, count: held.count * tokens)
    forEachRoute(routes) { _, _, place in marks[place] = 1 }
  }

  /// dx[t] = Σ dslots[e, t] over the experts of token t.
  package func dispatchGradient(
    _ dslots: UnsafePointer<Float>, _ routes: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>, columns: Int
  ) {
    dx.update(repeating: 0, count: tokens * columns)
    forEachRoute(routes) { token, _, place in Elementwise.accumulate(dslots + place * columns, into: dx + token * columns, count: columns) }
  }

  /// y[t] = Σ weight · slots[e, t] over the experts of token t.
  package func combine(_ slots: UnsafePointer<Float>, _ routes: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, columns: Int) {
    y.update(repeating: 0, count: tokens * columns)
    forEachRoute(routes) { token, choice, place in
      let weight = Lanes(repeating: routes[token * 2 * perToken + choice])
      let (source, target) = (slots + place * columns, y + token * columns)
      forEachLanes(columns) { j, n in target.store(target.lanes(j, n).addingProduct(source.lanes(j, n), weight), j, n) }
    }
  }

  /// dslots[e, t] = weight · dy[t], else 0.
  package func combineGradient(
    _ dy: UnsafePointer<Float>, _ routes: UnsafePointer<Float>, into dslots: UnsafeMutablePointer<Float>, columns: Int
  ) {
    dslots.update(repeating: 0, count: held.count * tokens * columns)
    forEachRoute(routes) { token, choice, place in
      let weight = routes[token * 2 * perToken + choice]
      mapLanes(dy + token * columns, into: dslots + place * columns, count: columns) { $0 * weight }
    }
  }

  /// droutes[t] = slots[e, t] · dy[t] for the weights of experts that this rank holds; 0 for other weights and for the experts' numbers.
  package func weightGradient(
    _ slots: UnsafePointer<Float>, _ routes: UnsafePointer<Float>, dy: UnsafePointer<Float>, into droutes: UnsafeMutablePointer<Float>, columns: Int
  ) {
    droutes.update(repeating: 0, count: tokens * 2 * perToken)
    forEachRoute(routes) { token, choice, place in
      var sum = Lanes.zero
      forEachLanes(columns) { j, n in sum.addProduct((slots + place * columns).lanes(j, n), (dy + token * columns).lanes(j, n)) }
      droutes[token * 2 * perToken + choice] = sum.pairwiseSum()
    }
  }
}

/// The router's choice: the k experts of a token's largest logits, the lower number first where two are equal.
package struct Router: Sendable {
  package let tokens: Int
  package let experts: Int
  package let perToken: Int
  /// Whether the weights of the chosen are a softmax of their own, and not shares of the softmax over all.
  package let renormalises: Bool

  package init(tokens: Int, experts: Int, perToken: Int, renormalises: Bool) {
    self.tokens = tokens
    self.experts = experts
    self.perToken = perToken
    self.renormalises = renormalises
  }

  package func forward(_ logits: UnsafePointer<Float>, into routes: UnsafeMutablePointer<Float>) {
    for token in 0..<tokens {
      let line = UnsafeBufferPointer(start: logits + token * experts, count: experts)
      let result = routes + token * 2 * perToken
      // Insertion into the few best so far.
      var found = 0
      for expert in 0..<experts {
        var place = found
        while place > 0, line[expert] > line[Int(result[perToken + place - 1])] { place -= 1 }
        if place == perToken { continue }
        found = min(found + 1, perToken)
        for other in stride(from: found - 1, to: place, by: -1) { result[perToken + other] = result[perToken + other - 1] }
        result[perToken + place] = Float(expert)
      }
      let largest = line[Int(result[perToken])]
      for choice in 0..<perToken { result[choice] = exponential(line[Int(result[perToken + choice])] - largest) }
      let sum = renormalises ? (0..<perToken).reduce(0) { $0 + result[$1] } : line.reduce(0) { $0 + exponential($1 - largest) }
      for choice in 0..<perToken { result[choice] /= sum }
    }
  }

  /// dlogits from the gradients of the weights. `logits` are read only where weights are shares of the softmax over all.
  package func backward(
    _ logits: UnsafePointer<Float>, _ routes: UnsafePointer<Float>, droutes: UnsafePointer<Float>, into dlogits: UnsafeMutablePointer<Float>
  ) {
    for token in 0..<tokens {
      let (line, weights, gradients) = (dlogits + token * experts, routes + token * 2 * perToken, droutes + token * 2 * perToken)
      let mean = (0..<perToken).reduce(Float(0)) { $0 + weights[$1] * gradients[$1] }
      if renormalises {
        line.update(repeating: 0, count: experts)
      } else {
        let source = UnsafeBufferPointer(start: logits + token * experts, count: experts)
        let largest = source[Int(weights[perToken])]
        let sum = source.reduce(0) { $0 + exponential($1 - largest) }
        for expert in 0..<experts { line[expert] = -exponential(source[expert] - largest) / sum * mean }
      }
      for choice in 0..<perToken {
        let own = weights[choice] * gradients[choice]
        line[Int(weights[perToken + choice])] += renormalises ? own - weights[choice] * mean : own
      }
    }
  }

  private func exponential(_ x: Float) -> Float { Lanes(repeating: x).exp()[0] }
}

/// y = x · σ(g), a gate for each row.
package enum SigmoidGate {
  private static func sigmoid(_ x: Float) -> Float { 1 / (1 + Lanes(repeating: -x).exp()[0]) }

  package static func forward(
    _ x: UnsafePointer<Float>, gate: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let opening = sigmoid(gate[row])
      mapLanes(x + row * columns, into: y + row * columns, count: columns) { $0 * opening }
    }
  }

  /// dg = σ (1 − σ) Σ dy x, of these columns.
  package static func gateGradient(
    _ x: UnsafePointer<Float>, gate: UnsafePointer<Float>, dy: UnsafePointer<Float>, into dgate: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      var sum = Lanes.zero
      forEachLanes(columns) { j, n in sum.addProduct((x + row * columns).lanes(j, n), (dy + row * columns).lanes(j, n)) }
      let opening = sigmoid(gate[row])
      dgate[row] = opening * (1 - opening) * sum.pairwiseSum()
    }
  }
}

/// The rows of a matrix that are not all zeros, next to each other: the tokens in an expert's slots.
package enum OccupiedRows {
  /// Copies the rows of x [rows, columns] that hold something, and writes their numbers; returns how many there are.
  package static func gather(
    _ x: UnsafePointer<Float>, rows: Int, columns: Int, into packed: UnsafeMutablePointer<Float>, numbers: UnsafeMutablePointer<Int32>
  ) -> Int {
    var count = 0
    for row in 0..<rows {
      let line = x + row * columns
      guard (0..<columns).contains(where: { line[$0] != 0 }) else { continue }
      (packed + count * columns).update(from: line, count: columns)
      numbers[count] = Int32(row)
      count += 1
    }
    return count
  }

  /// The rows of these numbers, of another matrix.
  package static func gather(
    _ x: UnsafePointer<Float>, numbers: UnsafePointer<Int32>, count: Int, columns: Int, into packed: UnsafeMutablePointer<Float>
  ) {
    for index in 0..<count { (packed + index * columns).update(from: x + Int(numbers[index]) * columns, count: columns) }
  }

  /// Puts packed rows back in their places, among rows of zeros.
  package static func scatter(
    _ packed: UnsafePointer<Float>, numbers: UnsafePointer<Int32>, count: Int, rows: Int, columns: Int, into y: UnsafeMutablePointer<Float>
  ) {
    y.update(repeating: 0, count: rows * columns)
    for index in 0..<count { (y + Int(numbers[index]) * columns).update(from: packed + index * columns, count: columns) }
  }
}
