// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

extension PlanReport {
  /// What operators split on a mesh axis of a group's stages: the words for it, those of most operators first, copies counted.
  func words(onAxis axis: Int, ofGroup group: Int) -> [String] {
    var found: [(word: String, count: Int)] = []
    let held = decision.stages.indices.filter { decision.group(ofStage: $0) == group }.flatMap { decision.stages[$0].units }
    for unit in held {
      for op in graph.segments[unit.segment].operators {
        let word = strategies[op].words(rules[op])[axis]
        if word == "replicate" { continue }
        if let place = found.firstIndex(where: { $0.word == word }) {
          found[place].count += unit.copies.count
        } else {
          found.append((word, unit.copies.count))
        }
      }
    }
    let order = found.indices.sorted { (found[$1].count, $0) < (found[$0].count, $1) }
    return order.map { found[$0].word }
  }

  /// What of the field's kinds of parallelism a mesh axis of a group's stages is for, by what products and attention split: those that at least a tenth of
  /// them have, the most frequent first. Context parallelism is where attention splits positions; where only others do beside tensor parallelism, that is
  /// tensor and sequence parallelism.
  func kindsOfParallelism(onAxis axis: Int, ofGroup group: Int) -> [String] {
    var counts: [(kind: String, count: Int)] = []
    var (all, hasSequence, hasContext) = (0, false, false)
    for unit in decision.stages.indices.filter({ decision.group(ofStage: $0) == group }).flatMap({ decision.stages[$0].units }) {
      for op in graph.segments[unit.segment].operators {
        let word = strategies[op].words(rules[op])[axis]
        guard rules[op].isProduct || rules[op].isAttention else {
          hasSequence = hasSequence || word == "sequence"
          continue
        }
        all += unit.copies.count
        hasContext = hasContext || rules[op].isAttention && ["sequence", "context", "ring"].contains(word)
        let kind: String? =
          switch word {
          case "data": "data"
          case "column", "row", "heads", "vocab": "tensor"
          case "expert": "expert"
          case "sequence", "context", "ring": "context"
          default: nil
          }
        guard let kind else { continue }
        if let known = counts.firstIndex(where: { $0.kind == kind }) {
          counts[known].count += unit.copies.count
        } else {
          counts.append((kind, unit.copies.count))
        }
      }
    }
    if !hasContext, counts.contains(where: { $0.kind == "tensor" }), let products = counts.firstIndex(where: { $0.kind == "context" }) {
      counts.remove(at: products)
      hasSequence = true
    }
    return counts.filter { $0.count * 10 >= all }.sorted { $0.count > $1.count }.flatMap {
      $0.kind == "tensor" && hasSequence ? ["tensor", "sequence"] : [$0.kind]
    }
  }

  /// What an operator's strategy is drawn in.
  package func hue(of op: OperatorID) -> Hue { Hue.ofStrategy(strategies[op].words(rules[op])) }
}

extension Hue {
  /// Of one word of a strategy.
  static func ofWord(_ word: String) -> Hue {
    switch word {
    case "data": .blue
    case "column": .purple
    case "row": .orange
    case "heads": .pink
    case "vocab": .ochre
    case "expert": .green
    case "sequence", "context", "ring": .teal
    case "replicate": .grey
    default: .brown
    }
  }

  /// Of a strategy: what it splits besides the batch, where that is one thing; several are a colour of their own.
  static func ofStrategy(_ words: [String]) -> Hue {
    var kinds: [Hue] = []
    for hue in words.map(ofWord) where hue != .grey && !kinds.contains(hue) { kinds.append(hue) }
    let besides = kinds.filter { $0 != .blue }
    if besides.count > 1 { return .red }
    return besides.first ?? kinds.first ?? .grey
  }

  static let strategies: [(hue: Hue, text: String)] = [
    (.blue, "data"), (.purple, "column"), (.orange, "row"), (.pink, "heads"), (.teal, "sequence, context, ring"), (.ochre, "vocab"),
    (.green, "expert"), (.red, "several at once (2D)"), (.grey, "replicate"), (.brown, "other"),
  ]
}
