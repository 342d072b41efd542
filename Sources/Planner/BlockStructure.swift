// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Search
import Strategies

/// What the tables over a folded model's choices look like, whatever the choices cost: the same for all frames whose operators have the same
/// strategies, be the mesh `4x16` or `8x8` and the micro-batches few or many.
///
/// A table joins a tensor's producer and all of its readers by the layouts that they give and take. Many of its entries ask for the same conversions:
/// these are priced once (`Conversions.pairs`).
final class BlockStructure {
  struct Piece {
    let table: TableMinimum.Table
    let place: FoldedModel.Place
    let content: Content
  }

  enum Content {
    /// Nodes that agree in one respect: for each entry 0, or `Problem.forbidden`.
    case match([Int64])
    /// A tied weight's gradient between two meshes: the layouts of the classes of both holders.
    case exchange(TensorID, [Layout], [Layout])
    case conversions(Conversions)
  }

  /// A tensor's way from its producer to all that read it, and what is kept of it.
  struct Conversions {
    let tensor: TensorID
    /// Every layout that is asked for or made.
    let layouts: [Layout]
    /// For each class of the producer its result, its layouts; empty where this table prices no conversions.
    let produced: [(result: Layout, gradient: Layout)]
    let carriesGradient: Bool
    let isRevived: Bool
    /// Whether what is read gathered is kept as the producer left it, and gathered again.
    let regathers: Bool
    /// Whether what is kept for backward is counted here.
    let holds: Bool
    /// What entries ask for, each different.
    let pairs: [Pair]
    /// For each entry its pair.
    let pairOfEntry: [Int32]
  }

  /// A producer's class, and the layouts that its readers take forward, give gradients in, and keep: a bit for each of `Conversions.layouts`.
  struct Pair: Hashable {
    var producer: Int32
    /// More uses at once than a tensor may be held in.
    var isForbidden: Bool
    var forward: UInt128
    var gradient: UInt128
    var kept: UInt128
  }

  let pieces: [Piece]
  /// The numbers of strategies of the nodes after the operators'.
  let holders: [Int]
  let minimum: TableMinimum

  /// - Returns: nil where the tables would be too large.
  init?(_ model: FoldedModel, _ variants: Range<SegmentID>?) {
    var builder = Builder(model: model)
    guard builder.addAll(variants) else { return nil }
    pieces = builder.pieces
    holders = builder.holders
    guard let minimum = TableMinimum(strategyCounts: model.operatorNodes.map(\.count) + holders, tables: pieces.map(\.table)) else { return nil }
    self.minimum = minimum
  }
}

/// What a search's frames have in common, whatever they cost.
final class KnownStructures {
  /// By mesh, and by each operator's extents as far as they matter.
  private var strategies: [[Int32]: [[Strategy]]] = [:]

  /// Every operator's strategies on a mesh. Those of two numbers of micro-batches differ only where an extent is too short for the mesh.
  func strategies(_ rules: [OperatorRule], mesh: [Int]) -> [[Strategy]] {
    let size = mesh.reduce(1, *)
    var key = mesh.map(Int32.init)
    for rule in rules {
      key.append(-1)
      for axis in rule.iteration { key.append(Int32(min(axis.extent, size))) }
    }
    if let known = strategies[key] { return known }
    let all = rules.map { Strategy.all(for: $0, mesh: mesh) }
    if strategies.count == Self.most { strategies.removeAll() }
    strategies[key] = all
    return all
  }

  private struct Key: Hashable {
    /// For all operators the codes of their strategies, one operator after the other.
    let strategies: [UInt32]
    /// The mesh axes that split anything: weights can be shared out over these alone.
    let meshAxes: Int
    let ties: Ties
    let zero: GivenZeRO
    let recompute: [Recompute]
    let variants: Range<SegmentID>?
  }

  private var known: [Key: BlockStructure?] = [:]
  /// Searches of odd meshes must not fill the memory.
  private static let most = 512

  /// Nil where the tables would be too large.
  func structure(_ model: FoldedModel, _ variants: Range<SegmentID>?) -> BlockStructure? {
    // Where stages have meshes of their own the structure follows from more than this.
    if model.runs != nil { return BlockStructure(model, variants) }
    var codes: [UInt32] = []
    codes.reserveCapacity(model.strategies.reduce(0) { $0 + $1.count + 1 })
    for strategies in model.strategies {
      for strategy in strategies { codes.append(strategy.code) }
      codes.append(.max)
    }
    let mesh = model.pricing.mesh
    let key = Key(
      strategies: codes, meshAxes: mesh.indices.reduce(mesh.count << 8) { mesh[$1] > 1 ? $0 | 1 << $1 : $0 }, ties: model.ties, zero: model.zero,
      recompute: model.recompute, variants: variants)
    if let found = known[key] { return found }
    if known.count == Self.most { known.removeAll() }
    let structure = BlockStructure(model, variants)
    known[key] = .some(structure)
    return structure
  }
}
