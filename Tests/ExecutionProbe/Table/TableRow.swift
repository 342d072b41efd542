// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// A strategy of the table: how any number of ranks carry out any model.
struct TableRow {
  /// What operators do along one axis of the mesh.
  enum Split {
    case data
    /// Megatron's: column then row, heads, vocabulary.
    case tensor
    /// The other half of products that are split so on another axis: each weight is cut along both of its dimensions.
    case crossed
    /// Every product by its output.
    case column
    /// Every product by what it sums over.
    case row
    case sequenceParallel
    /// Context parallelism with all keys and values gathered.
    case sequence
    case ring
    /// Attention by heads between operators that split the sequence.
    case ulysses
    /// Between dispatch and combine by experts, along the data elsewhere.
    case experts
  }

  enum Pipeline {
    case none
    /// A stage for every rank.
    case everyRank
    case two
    /// As many stages as ranks, but no more than four.
    case upToFour
    /// A stage for every rank, the last of which has three segments or more, each other one.
    case uneven
    /// Two stages, of which the second has three quarters of the ranks.
    case unlike
  }

  var name: String
  /// For each mesh axis; axes but the last have two ranks.
  var splits: [Split] = []
  var pipeline = Pipeline.none
  var schedule = Schedule.oneForwardOneBackward
  var zero = ZeROStage.none
  var recompute = Recompute.none
  /// Micro-batches of rows without a pipeline.
  var microBatches = 1
  var mode = Mode.train
  var optimizer = OptimizerKind.adamw
  var updates = WeightUpdates.afterBackward
  /// Extents that no number of ranks divides.
  var isUneven = false
  /// Ranks take unequal numbers of samples.
  var hasShares = false
  var isZigzag = false
  /// What it does, one rank can do too.
  var isForOneRank = false
}

extension TableRow {
  static let all: [TableRow] = [
    TableRow(name: "data", splits: [.data], optimizer: .sgd),
    TableRow(name: "data, ZeRO 1", splits: [.data], zero: .optimizer),
    TableRow(name: "data, ZeRO 2", splits: [.data], zero: .gradients),
    TableRow(name: "data, ZeRO 3", splits: [.data], zero: .weights),
    TableRow(name: "data, ZeRO 2, micro-batches", splits: [.data], zero: .gradients, microBatches: 2, optimizer: .sgd),
    TableRow(name: "tensor", splits: [.tensor]),
    TableRow(name: "column", splits: [.column], optimizer: .sgd),
    TableRow(name: "row", splits: [.row]),
    TableRow(name: "tensor × tensor", splits: [.crossed, .tensor]),
    TableRow(name: "sequence-parallel tensor", splits: [.sequenceParallel]),
    TableRow(name: "context, gathered", splits: [.sequence]),
    TableRow(name: "context, ring", splits: [.ring]),
    TableRow(name: "context, zig-zag ring", splits: [.ring], isZigzag: true),
    TableRow(name: "context, Ulysses", splits: [.ulysses]),
    TableRow(name: "experts", splits: [.experts]),
    TableRow(name: "data × tensor", splits: [.data, .tensor], optimizer: .sgd),
    TableRow(name: "data × context, ring", splits: [.data, .ring]),
    TableRow(name: "data × experts, ZeRO 1", splits: [.data, .experts], zero: .optimizer),
    TableRow(name: "context × tensor", splits: [.sequence, .tensor]),
    TableRow(name: "context, ring × tensor", splits: [.ring, .tensor]),
    TableRow(name: "context, Ulysses × ring", splits: [.ulysses, .ring]),
    TableRow(name: "experts × tensor", splits: [.experts, .tensor]),
    TableRow(name: "data × context × tensor", splits: [.data, .sequence, .tensor], zero: .gradients),
    TableRow(name: "data × ring × sequence-parallel tensor", splits: [.data, .ring, .sequenceParallel]),
    TableRow(name: "data × experts × tensor, ZeRO 3", splits: [.data, .experts, .tensor], zero: .weights),
    TableRow(name: "pipeline, GPipe", pipeline: .everyRank, schedule: .gpipe, optimizer: .sgd),
    TableRow(name: "pipeline, 1F1B", pipeline: .everyRank),
    TableRow(name: "pipeline, interleaved", splits: [.data], pipeline: .upToFour, schedule: .interleaved(chunks: 2)),
    TableRow(name: "pipeline, uneven stages", pipeline: .uneven),
    TableRow(name: "pipeline, stages of unlike size × context", splits: [.sequence], pipeline: .unlike),
    TableRow(name: "pipeline × data, ZeRO 2", splits: [.data], pipeline: .two, zero: .gradients),
    TableRow(name: "pipeline × tensor", splits: [.tensor], pipeline: .two, schedule: .gpipe),
    TableRow(
      name: "pipeline, interleaved × sequence-parallel tensor", splits: [.sequenceParallel], pipeline: .two, schedule: .interleaved(chunks: 2)),
    TableRow(name: "pipeline × context, ring", splits: [.ring], pipeline: .two),
    TableRow(name: "pipeline × experts", splits: [.experts], pipeline: .two),
    TableRow(name: "pipeline × data × tensor, ZeRO 1", splits: [.data, .tensor], pipeline: .two, zero: .optimizer),
    TableRow(
      name: "pipeline, interleaved × data × tensor, ZeRO 3, recompute full", splits: [.data, .tensor], pipeline: .two,
      schedule: .interleaved(chunks: 2), zero: .weights, recompute: .full),
    TableRow(name: "uneven extents, data, ZeRO 3", splits: [.data], zero: .weights, isUneven: true),
    TableRow(name: "uneven extents, tensor", splits: [.tensor], isUneven: true),
    TableRow(name: "uneven extents, context", splits: [.sequence], isUneven: true),
    TableRow(name: "uneven batch shares", splits: [.data], zero: .optimizer, hasShares: true),
    TableRow(name: "micro-batches", splits: [.data], microBatches: 2, isForOneRank: true),
    TableRow(name: "recompute full", splits: [.data], recompute: .full, isForOneRank: true),
    TableRow(name: "recompute selective", splits: [.data], recompute: .selective, isForOneRank: true),
    TableRow(name: "recompute gathered", splits: [.sequenceParallel], recompute: .gathered),
    TableRow(name: "recompute elementwise", splits: [.sequenceParallel], recompute: .elementwise, isForOneRank: true),
    TableRow(name: "updates in the backward pass, data", splits: [.data], updates: .inBackward, isForOneRank: true),
    TableRow(name: "updates in the backward pass, data, ZeRO 2", splits: [.data], zero: .gradients, updates: .inBackward),
    TableRow(name: "updates in the backward pass, data × tensor, ZeRO 3", splits: [.data, .tensor], zero: .weights, updates: .inBackward),
    TableRow(name: "forward, data", splits: [.data], mode: .forward, isForOneRank: true),
    TableRow(name: "forward, sequence-parallel tensor", splits: [.sequenceParallel], mode: .forward),
    TableRow(name: "forward, pipeline × tensor", splits: [.tensor], pipeline: .two, mode: .forward),
  ]
}

extension TableRow {
  /// How ranks are laid out: the mesh of a stage, the number of stages, and each stage's mesh where they differ.
  struct Ranks {
    var mesh: [Int]
    var stages = 1
    var stageMeshes: [[Int]] = []
    var chunks: Int
    var parts: Int { stages * chunks }
  }

  /// The least ranks that the row's axes and stages need.
  var leastRanks: Int {
    let mesh = splits.reduce(1) { ranks, _ in ranks * 2 }
    switch pipeline {
    case .none: return isForOneRank ? 1 : mesh
    case .everyRank, .upToFour, .uneven: return 2
    case .two: return 2 * mesh
    case .unlike: return 4
    }
  }

  func layout(_ ranks: Int) -> Ranks? {
    guard ranks >= leastRanks else { return nil }
    func mesh(_ size: Int) -> [Int] {
      var rest = size
      var mesh = splits.dropLast().map { _ in 2 }
      for extent in mesh { rest /= extent }
      mesh.append(rest)
      return mesh
    }
    let chunks = schedule.chunks
    switch pipeline {
    case .none: return Ranks(mesh: mesh(ranks), chunks: chunks)
    case .everyRank, .uneven: return Ranks(mesh: [1], stages: ranks, chunks: chunks)
    case .upToFour: return Ranks(mesh: mesh(ranks / min(ranks, 4)), stages: min(ranks, 4), chunks: chunks)
    case .two: return Ranks(mesh: mesh(ranks / 2), stages: 2, chunks: chunks)
    case .unlike: return Ranks(mesh: [ranks / 4], stages: 2, stageMeshes: [[ranks / 4], [ranks / 4 * 3]], chunks: chunks)
    }
  }
}
