// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import HeapModule
import ModelGraph
import Plans
import Quantities
import Search
import Strategies

/// Best-first branch and bound over frames, cuts and schedules; each configuration that its bound does not exclude is solved exactly.
///
/// A configuration's objective is the end of its time line: the longest of very many chains of passes, each a linear function of the choice.
/// So it is solved by cutting planes: an ILP whose objective rows are the chains seen so far gives a choice and a lower bound; its time line
/// gives the chain that the rows lacked. It ends when the time line is no longer than the bound.
struct PlanSearch {
  /// A configuration and the operators' choices in it.
  struct Candidate {
    let frame: Space.Frame
    let schedule: Schedule
    let cut: [Int]
    /// Where layers differ, how many of each stage's layers are of the first kind.
    let first: Int
    let strategies: [Strategy]
    let zero: [ZeROStage]
    let objective: Int64
  }

  enum Shortfall: Equatable {
    /// The least that some stage needs, of what a device has.
    case memory(least: Int64, limit: Int64)
    /// The constraints leave an operator without a strategy, or neighbours without a common layout.
    case constraints
  }

  let space: Space
  /// Of tables over the model's choices.
  let structures = KnownStructures()
  let monitor: SearchMonitor
  /// The best plan of each of the best configurations (a frame and a schedule), best first; at most as many as are asked for.
  var found: [Candidate] = []
  var best: Candidate? { found.first }
  var priced = 0
  var pruned = 0
  var infeasible = 0
  var shortfall: Shortfall?
  /// No plan of the space is better than this; equal to the best plan's objective (within tolerance) once the search is complete.
  var lowerBound: Int64 = 0
  var isComplete = false
  /// The least that a configuration which was looked at, but not solved, may reach.
  var open: Int64?
  var queue = Queue()
  /// Looked at when nothing else is left: meshes of more than two axes, whose strategies are best left out by a good plan's time.
  var later = Queue()
  /// For each frame of such a mesh, which of each operator's strategies are left, by their numbers in `Space.strategies`.
  var left: [Space.Frame: [[UInt16]]] = [:]
  /// Models, the one used last at the end. Configurations of few frames alternate at the head of the queue.
  var recentModels: [FrameModel] = []
  static let mostRecentModels = 64
  var placedMeshes: [[Int]: Space.Placed] = [:]
  var meshPrices: [Space.Frame: MeshPrices] = [:]
  /// By stages and chunks, and where devices are of several kinds by the size of a stage.
  var cuts: [[Int]: [[Int]]] = [:]
  let rates: DeviceRates
  let limit: Int64
  /// Plans with this objective or more are of no interest.
  let ceiling: Int64?
  var models: [ModelKey: Pricing.Model] = [:]

  struct ModelKey: Hashable {
    let microBatches: Int
    let differs: Bool
  }
  var axes: [[Int]: AxisBounds] = [:]
  /// What the stages of one mesh take, where those of another run have another.
  var runParts: [RunPartsKey: RunParts?] = [:]
  /// By the number of micro-batches, for stages that leave devices idle.
  var countBounds: [Int: CountBounds] = [:]
  /// The price of memory, in ticks per byte, that last excluded a cut of a frame.
  var prices: [[Int]: Double] = [:]
  /// Lower bounds of configurations with memory relaxed.
  var relaxedBounds: [RelaxedKey: (sum: Int64, choice: [Int]?)] = [:]

  /// Lower bounds of configurations with a price on memory, whatever their layers compute again.
  var pricedBounds: [PricedKey: (bound: Int64, price: Price?)] = [:]

  /// A price on the memory of one stage.
  struct Price {
    let stage: Int
    let ticksPerByte: Double
  }

  struct PricedKey: Hashable {
    let relaxed: RelaxedKey
    let kinds: [Recompute]
    /// The stage whose memory has the price.
    let row: BlockTables.MemoryRow
  }

  /// Cuts that a lower bound excluded. One whose chain weighs nothing less, and with no less on the priced stage, is excluded by the same bound.
  var excluded: [CutGroup: [ExcludedCut]] = [:]

  struct CutGroup: Hashable {
    let frame: Space.Frame
    let ties: Ties
    let kinds: [Recompute]
  }

  struct ExcludedCut {
    let weights: [Configuration.Weights]
    /// The stage whose memory had a price, if one had.
    let row: BlockTables.MemoryRow?
    let price: Price?
    let bound: Int64

    func isCovered(by other: [Configuration.Weights], _ rows: [BlockTables.MemoryRow]) -> Bool {
      guard zip(weights, other).allSatisfy({ $0.isCovered(by: $1) }) else { return false }
      guard let row else { return true }
      return rows.contains { $0.covers(row) }
    }

    /// The same price on the stage of another cut that covers the priced one.
    func price(_ rows: [BlockTables.MemoryRow]) -> Price? {
      guard let row, let price, let stage = rows.firstIndex(where: { $0.covers(row) }) else { return nil }
      return Price(stage: stage, ticksPerByte: price.ticksPerByte)
    }
  }

  struct RelaxedKey: Hashable {
    let frame: Space.Frame
    let ties: Ties
    let weights: [Configuration.Weights]
  }

  enum Item {
    /// All meshes of a pipeline degree, a size of its stages and a number of micro-batches, and of smaller sizes.
    case meshes(stages: Int, size: Int, microBatches: Int)
    /// The meshes of more than two axes of one size.
    case fineMeshes(stages: Int, size: Int, microBatches: Int)
    case frame(Space.Frame)
    /// The cuts of a frame that no bound excludes so far.
    case cuts(OpenFrame)
    case cut(Space.Frame, Schedule, [Int])
    /// A cut with all layers alike.
    case alike(Space.Frame, Schedule, [Int])
    /// A cut with layers of two kinds.
    case mixed(Space.Frame, Schedule, [Int])
    /// All pairs of meshes of two runs of stages.
    case subMeshes(Space.RunSizes, microBatches: Int)
    /// A frame whose stages have several meshes, and one of its cuts.
    case runs(Space.Frame)
    case runCut(Space.Frame, Schedule, [Int])
    /// Cuts for several numbers of chunks; whether a price on memory is in their bounds.
    case interleaved(Space.Frame, [BoundedCut], isPriced: Bool)
  }

  /// A cut with its lower bound.
  struct BoundedCut {
    let schedule: Schedule
    let cut: [Int]
    let bound: Int64
  }

  /// A frame with the cuts that no bound excludes so far, the least first.
  final class OpenFrame {
    let frame: Space.Frame
    /// The least first; of equally good ones the earlier.
    let cuts: [BoundedCut]
    /// Whether a price on memory is in the bounds.
    let isPriced: Bool

    init(_ frame: Space.Frame, _ cuts: [BoundedCut], isPriced: Bool) {
      self.frame = frame
      self.cuts = cuts.enumerated().sorted { ($0.element.bound, $0.offset) < ($1.element.bound, $1.offset) }.map(\.element)
      self.isPriced = isPriced
    }
  }

  /// Frames that were opened; those that were looked at next to a best plan, and the objective of the plan that this led to.
  var openedFrames = 0
  var climbed: Set<Space.Frame> = []
  var climbedTo: Int64?
  /// Of the first, second, fourth, … frame that is bounded so, the least cut is solved before its turn.
  var pricedFrames = 0
  var knownCuts: [PricedCutsKey: PricedCuts?] = [:]
  var fills: [Space.Frame: PricedCuts.Fill] = [:]

  /// Items by their lower bounds; of equal ones the earlier first.
  struct Queue {
    private struct Entry: Comparable {
      let bound: Int64
      let order: Int
      let item: Item

      static func == (a: Entry, b: Entry) -> Bool { a.order == b.order }
      static func < (a: Entry, b: Entry) -> Bool { (a.bound, a.order) < (b.bound, b.order) }
    }

    private var heap = Heap<Entry>()
    private var pushed = 0

    var remaining: Int { heap.count }
    var least: Int64? { heap.min?.bound }

    mutating func push(_ item: Item, bound: Int64) {
      heap.insert(Entry(bound: bound, order: pushed, item: item))
      pushed += 1
    }

    mutating func pop() -> (item: Item, bound: Int64)? { heap.popMin().map { ($0.item, $0.bound) } }
  }

  /// - Parameters:
  ///   - below: plans that take this long or longer are of no interest.
  ///   - found: plans of the space that are known, the best first.
  init(_ space: Space, _ monitor: SearchMonitor, below: Seconds? = nil, found: [Candidate] = []) throws {
    self.found = found
    ceiling = below.map { Int64(min(($0 / space.tick).rounded(.up), Double(Problem.largestSum))) }
    self.space = space
    rates = try space.fastestRates()
    limit = space.request.ignoresMemoryLimit ? Problem.largestSum : (space.request.memoryLimit ?? rates.usable).wholeWithin
    self.monitor = monitor
  }

  var isLate: Bool { monitor.stop.isReached }

  /// The least objective that is of no more interest.
  var cutoff: Int64? {
    let worst = found.count < space.request.top ? nil : found.last.map(Self.cutoff)
    return worst.map { min($0, ceiling ?? $0) } ?? ceiling
  }

  /// The least objective that is no better than a candidate's.
  static func cutoff(_ candidate: Candidate) -> Int64 { candidate.objective - Outcome.tolerance(of: candidate.objective) }

  /// Runs to the end or to the time limit.
  mutating func run() throws {
    try seed()
    for frame in space.givenFrames { queue.push(.runs(frame), bound: try leastOfRuns(frame)) }
    try seedSubMeshes()
    // What the seeds left open is in the queue.
    open = nil
    defer { conclude() }
    try runQueue()
    swap(&queue, &later)
    try runQueue()
  }

  /// Until nothing in the queue can be better than the best plan.
  private mutating func runQueue() throws {
    while let (item, bound) = queue.pop() {
      monitor.report?(
        SearchProgress(
          open: queue.remaining + 1, priced: priced, objective: best.map { space.tick * Double($0.objective) },
          lowerBound: space.tick * Double(bound)))
      if let cutoff, bound >= cutoff {
        pruned += 1 + queue.remaining
        queue = Queue()
        return
      }
      if isLate {
        leaveOpen(bound)
        queue = Queue()
        return
      }
      switch item {
      case .meshes(let stages, let size, let microBatches): try expand(stages: stages, size: size, microBatches: microBatches)
      case .fineMeshes(let stages, let size, let microBatches): try expandFine(stages: stages, size: size, microBatches: microBatches)
      case .frame(let frame): try expand(frame)
      case .cuts(let open): try expand(open)
      case .cut(let frame, let schedule, let cut): try self.bound(frame, schedule, cut, bound: bound)
      case .alike(let frame, let schedule, let cut): try solveAlike(frame, schedule, cut, bound: bound)
      case .mixed(let frame, let schedule, let cut): try solveMixed(frame, schedule, cut, bound: bound)
      case .subMeshes(let runs, let microBatches): try expandSubMeshes(runs, microBatches: microBatches, bound: bound)
      case .runs(let frame): try expandRuns(frame, bound: bound)
      case .runCut(let frame, let schedule, let cut): try solveRuns(frame, schedule, cut, bound: bound)
      case .interleaved(let frame, let members, let isPriced): try split(frame, members, isPriced: isPriced)
      }
    }
  }

  mutating func leaveOpen(_ bound: Int64) { open = min(open ?? .max, bound) }

  /// Everything that was not left open is no better than the best plan.
  mutating func conclude() {
    let cutoff = best.map { min(Self.cutoff($0), ceiling ?? .max) } ?? ceiling
    isComplete = open.map { open in cutoff.map { open >= $0 } ?? false } ?? true
    lowerBound = min(open ?? .max, cutoff ?? .max)
    if lowerBound == .max { lowerBound = 0 }
  }
}
