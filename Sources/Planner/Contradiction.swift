// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// Choices that no plan can satisfy together, whatever its memory and its time.
package struct Contradiction: Sendable {
  /// None can be left out: without any one of them there are plans (as far as the time for looking allowed).
  package let options: [String]
  /// The operators that they leave without a strategy; else those that they pin to layouts which do not meet.
  package let operators: [String]
  /// Whether an operator has no strategy left. Otherwise each has some, but none that go together.
  package let leavesNone: Bool
  /// How the first of the operators could be split without these choices.
  package let splits: [String]
}

extension Space {
  /// How many layouts of one tensor a plan of this space may hold at once.
  package static var mostLayoutsAtOnce: Int { FoldedModel.mostUses }
}

extension Planner {
  /// Wall-clock time for making the set of options as small as it can be.
  private static let timeToReduce = Duration.seconds(10)

  /// Why the choices of a request leave no plan; nil where some plan satisfies them, or none exists without them either.
  ///
  /// One choice after the other is dropped for good where the rest still contradict each other: what remains is irreducible.
  ///
  /// - Throws: as `search`.
  package static func contradiction(_ request: SearchRequest) throws -> Contradiction? {
    for depth in [Feasibility.operators, .layouts] {
      guard try !depth.isPossible(request) else { continue }
      let deadline = ContinuousClock.now + timeToReduce
      var kept = request.choices
      for choice in request.choices {
        guard ContinuousClock.now < deadline else { break }
        let others = kept.filter { $0.option != choice.option }
        let dropped = request.choices.filter { candidate in !others.contains { $0.option == candidate.option } }
        if try !depth.isPossible(request.dropping(dropped)) { kept = others }
      }
      if kept.isEmpty { return nil }
      let reduced = request.dropping(request.choices.filter { candidate in !kept.contains { $0.option == candidate.option } })
      let named = try depth.operators(reduced, kept)
      return Contradiction(
        options: kept.map(\.option), operators: named.map { request.graph.operators[$0].name }, leavesNone: depth == .operators,
        splits: try named.first.map { try Feasibility.splits(of: $0, request.dropping(kept)) } ?? [])
    }
    return nil
  }
}

/// How closely it is looked whether some plan satisfies a request's choices.
private enum Feasibility {
  /// Whether each operator by itself has a strategy.
  case operators
  /// Whether strategies of all operators go together.
  case layouts

  func isPossible(_ request: SearchRequest) throws -> Bool {
    guard let space = try Self.space(request) else { return false }
    var placed: [[Int]: Space.Placed] = [:]
    for frame in space.frames() where !frame.runs.isEmpty {
      // Ties are apart under every cut.
      guard var model = try space.operators(frame, space.ties(frame, cut: space.evenCut(stages: frame.stages))) else { continue }
      if self == .operators { return true }
      model.connect()
      if try model.hasChoice { return true }
    }
    for frame in space.frames() where frame.runs.isEmpty {
      let key = [frame.stages] + frame.mesh
      let place = placed[key] ?? space.placed(stages: frame.stages, mesh: frame.mesh)
      placed[key] = place
      let pricing = try space.pricing(frame, on: place)
      let strategies = space.strategies(pricing, frame)
      if strategies.contains(where: \.isEmpty) { continue }
      guard self == .layouts else { return true }
      var model = FoldedModel(
        pricing: pricing, strategies: strategies, ties: space.certainTies(stages: frame.stages), link: place.stageLink)
      model.connect()
      if try model.hasChoice { return true }
    }
    return false
  }

  /// The operators that the remaining choices are about.
  func operators(_ request: SearchRequest, _ choices: [SearchRequest.Choice]) throws -> [OperatorID] {
    let graph = request.graph
    if self == .operators, let space = try Self.space(request) {
      var emptied: [OperatorID: Int] = [:]
      var frames = 0
      for frame in space.frames() {
        let pricing = try space.firstPricing(frame)
        // Of an operator that several runs of stages hold, one without a strategy is enough.
        let origins = space.origins(frame)
        for op in Set(space.strategies(pricing, frame).enumerated().filter(\.element.isEmpty).map { origins[$0.offset] }) {
          emptied[op, default: 0] += 1
        }
        frames += 1
      }
      let always = graph.operators.indices.filter { emptied[$0] == frames }
      let named = always.isEmpty ? graph.operators.indices.filter { emptied[$0] != nil } : always
      if !named.isEmpty { return named }
    }
    let pins = choices.compactMap(\.constraint)
    return graph.operators.indices.filter { op in pins.contains { $0.matches(graph.operators[op].name) } }
  }

  /// Every split that an operator has somewhere, in words.
  static func splits(of op: OperatorID, _ request: SearchRequest) throws -> [String] {
    guard let space = try Self.space(request) else { return [] }
    var words: [String] = []
    for frame in space.frames() {
      let pricing = try space.firstPricing(frame)
      let origins = space.origins(frame)
      for (id, strategy) in space.strategies(pricing, frame).enumerated().flatMap({ id, all in all.map { (id, $0) } }) where origins[id] == op {
        for word in strategy.words(pricing.rules[id]) where !words.contains(word) { words.append(word) }
      }
    }
    return words
  }

  /// Nil where the choices around the operators do not even make a space.
  private static func space(_ request: SearchRequest) throws -> Space? {
    do {
      return try Space(request)
    } catch PlannerError.usage {
      return nil
    }
  }
}
