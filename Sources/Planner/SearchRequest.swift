// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// What to plan, for what, and which choices are already made.
package struct SearchRequest: Sendable {
  package var graph: Graph
  package var cluster: Cluster
  /// The same devices with the kinds in reverse order, where that order is to be compared too.
  package var reversed: Cluster?
  package var batch: Int
  package var sequence: Int?
  package var precision: Precision
  package var mode: Mode
  package var optimizer: OptimizerKind
  package var software = Software()

  /// Choices that are made already; nil leaves one to the search.
  package var pipelineDegree: Int?
  package var mesh: [Int]?
  /// The most axes that a mesh has which the search chooses.
  package var mostMeshAxes = SearchRequest.usualMeshAxes
  /// Each stage's mesh, where they need not be one.
  package var stageMeshes: [[Int]]?
  /// Whether stages may have two meshes: the first of them one, the rest another.
  package var mayHaveSubMeshes = false
  /// Whether some of the cluster's devices, the last ones, may stay idle.
  package var mayLeaveIdle = false
  package var microBatches: Int?
  /// Sequences per micro-batch and data replica.
  package var microBatchSize: Int?
  package var schedule: Schedule.Kind?
  /// Chunks of the model on each stage; more than one is the interleaved schedule.
  package var chunks: Int?
  /// Repeated layers on each virtual stage, in the model's order.
  package var stageLayers: [Int]?
  package var constraints: [StrategyConstraint] = []
  /// The ZeRO stage of all weights that can have it (others have the next lower one that they can); nil leaves it to the search.
  package var zero: ZeROStage?
  /// The ZeRO stage of each operator's weights, where that is fixed.
  package var zeroOfOperators: [ZeROStage]?
  /// What every layer computes again in its backward pass; nil leaves it to the search.
  package var recompute: Recompute?
  /// So many of each stage's first layers compute that again, and the others `recomputeOfRest`: layers of two kinds. Nil: all layers, or as the search finds
  /// best.
  package var recomputedLayers: Int?
  package var recomputeOfRest = Recompute.none
  /// What each segment computes again, where that is fixed.
  package var recomputeOfSegments: [Recompute]?
  /// Whether the layers of a stage may be of two kinds, each with its own splits, ZeRO stages and recompute.
  package var layersMayDiffer = true
  /// Whether a sequence that a causal attention splits stands in zig-zag order, where it can; otherwise its parts are contiguous.
  package var isZigzag = true
  /// The samples of a micro-batch that each rank along the outermost mesh axis of several devices has; none: they share it out evenly; nil leaves it to the
  /// search.
  package var shares: [Int]?
  /// A mesh axis that every operator treats as it does the next one, unless its constraints leave it no such split: a part of the space that is
  /// searched for a first plan.
  var alikeAxis: Int?
  /// Whether strategies are left out by their bounds before they are priced. Without, the same plan is found later.
  var leavesOutStrategies = true
  /// The split of a fixed configuration; nil leaves it to the search.
  package var form: MegatronForm?
  /// Whether plans that do not fit a device's memory are priced all the same.
  package var ignoresMemoryLimit = false
  /// Memory to plan for, in place of what the devices (the largest, where they are of several kinds) have.
  var memoryLimit: Bytes?
  /// A larger part of the same hardware, where there is one, to suggest when nothing fits.
  package var larger: (@Sendable (_ devices: Int) -> Cluster?)?
  /// Wall-clock seconds after which the best plan so far is returned with its true gap.
  package var timeLimit: Double?
  /// How many of the best configurations are wanted, each with its own best plan.
  package var top = 1

  /// As many mesh axes are searched where nothing is said.
  package static let usualMeshAxes = 2
  /// The most mesh axes that a search takes: an operator has as many strategies as it has on one axis, to the power of their number.
  package static let largestMeshAxes = 3

  package init(
    graph: Graph, cluster: Cluster, batch: Int, sequence: Int?, precision: Precision, mode: Mode, optimizer: OptimizerKind
  ) {
    self.graph = graph
    self.cluster = cluster
    self.batch = batch
    self.sequence = sequence
    self.precision = precision
    self.mode = mode
    self.optimizer = optimizer
  }

  func job(microBatches: Int) -> Job {
    var job = Job(
      batch: batch, microBatches: microBatches, sequence: sequence, mode: mode, optimizer: optimizer, precision: precision)
    job.software = software
    return job
  }
}

/// A person's word on some operators: `--pin PATTERN=STRATEGY` or `--forbid PATTERN=STRATEGY`.
package struct StrategyConstraint: Hashable, Sendable {
  package var pattern: String
  /// One word per mesh axis, or one word that some axis must have (or, forbidden, that none may have).
  package var words: [String]
  /// The one assignment that is meant, where words would also fit others; nil where the words decide.
  package var assignment: [Int?]?
  /// Where layers are of two kinds in given numbers, the kind that is meant, 0 or 1; nil: both.
  package var kind: Int?
  package var isForbidden: Bool

  package init(pattern: String, words: [String], isForbidden: Bool) {
    self.pattern = pattern
    self.words = words
    self.isForbidden = isForbidden
  }

  /// Pins one operator to one strategy, of two kinds of layers in one.
  package init(operator name: String, strategy: Strategy, rule: OperatorRule, kind: Int? = nil) {
    self.init(pattern: name, words: strategy.words(rule), isForbidden: false)
    assignment = strategy.assignment
    self.kind = kind
  }

  /// Every word that names a split.
  package static let vocabulary = ["data", "row", "column", "sequence", "context", "ring", "heads", "vocab", "expert", "replicate"]

  /// Parses `PATTERN=STRATEGY`.
  ///
  /// - Throws: `PlannerError.usage` that says what is wrong with the text.
  package init(parsing text: String, isForbidden: Bool) throws {
    let option = isForbidden ? "--forbid" : "--pin"
    guard let equals = text.lastIndex(of: "=") else {
      throw PlannerError.usage("\(option) \(text): expected PATTERN=STRATEGY, for example 'transformer.h.*.mlp.c_fc=column'")
    }
    let words = text[text.index(after: equals)...].split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    for word in words where !Self.vocabulary.contains(word) {
      throw PlannerError.usage("\(option) \(text): \"\(word)\" names no split; known: \(Self.vocabulary.joined(separator: " "))")
    }
    self.init(pattern: String(text[..<equals]), words: words, isForbidden: isForbidden)
  }

  /// Whether an operator's name is meant: `*` stands for any characters, also for the `{i}` of a repeated block.
  package func matches(_ name: String) -> Bool { Self.glob(Array(pattern), Array(name)) }

  /// Whether a strategy is as the constraint says.
  package func allows(_ strategy: Strategy, rule: OperatorRule) -> Bool {
    let isAsSaid: Bool
    if let assignment {
      isAsSaid = strategy.assignment == assignment
    } else if words.count == 1 && strategy.assignment.count != 1 {
      isAsSaid =
        strategy.assignment.contains { axis in axis.map { rule.iteration[$0].words.contains(words[0]) } ?? false }
        || (words[0] == "replicate" && strategy.assignment.allSatisfy { $0 == nil })
    } else {
      isAsSaid = strategy.matches(words, rule: rule)
    }
    return isAsSaid != isForbidden
  }

  private static func glob(_ pattern: [Character], _ name: [Character]) -> Bool {
    var (p, n, star, mark) = (0, 0, -1, 0)
    while n < name.count {
      if p < pattern.count && pattern[p] == "*" {
        (star, mark) = (p, n)
        p += 1
      } else if p < pattern.count && (pattern[p] == name[n] || pattern[p] == "?") {
        p += 1
        n += 1
      } else if star >= 0 {
        mark += 1
        (p, n) = (star + 1, mark)
      } else {
        return false
      }
    }
    return pattern[p...].allSatisfy { $0 == "*" }
  }
}

/// Why no plan can be made.
package enum PlannerError: Error, CustomStringConvertible {
  /// The command line asks for something that makes no sense.
  case usage(String)
  /// The search's answer and its re-pricing differ: a defect of this program.
  case inconsistent(String)

  package var description: String {
    switch self {
    case .usage(let text): text
    case .inconsistent(let text): "internal error: \(text)"
    }
  }
}
