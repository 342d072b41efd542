// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies
import TestSupport

@testable import Planner

/// A model of one embedding, a block that repeats, and a head, with rank-2 activations `[batch, hidden]`: small enough to enumerate.
struct TinyModel {
  enum Block: CaseIterable {
    /// One product that keeps the width.
    case linear
    /// Ends with an operator that keeps its own result for backward.
    case tanhAtEnd
    /// Two products with a function between.
    case mlp
    /// Two products and the block's input added: one tensor, two readers.
    case residual
    /// Two readers of one tensor that both keep it.
    case gated
    /// One operator, whose copies follow one another.
    case single
  }

  var block = Block.mlp
  var layers = 1
  var batch = 4
  var hidden = 8
  var inner = 8
  var vocabulary = 8
  /// A projection to the vocabulary before the loss; tied: with the embedding's table.
  var hasProjection = false
  var isTied = false
  /// All copies use one weight for the first product, where they are written out.
  var sharesWeights = false
  /// Writes the copies of the block out as segments of their own, so that each may choose for itself.
  var isUnfolded = false

  func graph() throws -> Graph {
    var builder = GraphBuilder(name: "tiny")
    let b = builder.axis("batch", batch, .batch)
    let h = builder.axis("hidden", hidden, .feature)
    let f = builder.axis("inner", inner, .feature)
    let v = builder.axis("vocab", vocabulary, .vocabulary)
    let ids = builder.input(.inputIDs, [b])
    builder.begin(segment: "embedding")
    let (x, table) = builder.embedding("embedding", ids: ids, rows: v, features: h)
    builder.end(exits: [x])
    var sharedWeight: TensorID?
    for copy in isUnfolded ? Array(0..<layers) : [0] {
      let path = isUnfolded ? "block.\(copy)" : "block.{i}"
      let entry = builder.begin(segment: "block\(copy)", repeats: isUnfolded ? 1 : layers, path: path, carry: [b, h])
      if sharesWeights {
        let weight = sharedWeight ?? builder.parameter("shared.weight", stored: [[h], [f]])
        sharedWeight = weight
        let up = builder.linear("\(path).up", entry, from: [h], to: [f], bias: false, tied: weight)
        builder.end(exits: [builder.linear("\(path).down", up, from: [f], to: [h], bias: false)])
      } else {
        builder.end(exits: [add(block, path, entry, h, f, to: &builder)])
      }
    }
    let last = builder.begin(segment: "head", path: "head", carry: [b, h])
    if hasProjection {
      builder.crossEntropyLoss(builder.linear("head", last, from: [h], to: [v], bias: false, tied: isTied ? table : nil))
    } else {
      builder.crossEntropyLoss(last)
    }
    builder.end()
    return try builder.finish()
  }

  private func add(_ block: Block, _ path: String, _ x: TensorID, _ h: AxisID, _ f: AxisID, to builder: inout GraphBuilder) -> TensorID {
    func product(_ name: String, _ x: TensorID, _ from: AxisID, _ to: AxisID) -> TensorID {
      builder.linear("\(path).\(name)", x, from: [from], to: [to], bias: false)
    }
    switch block {
    case .single: return builder.elementwise(.activation(.relu), "\(path).relu", x)
    case .linear: return product("down", product("up", x, h, f), f, h)
    case .tanhAtEnd: return builder.elementwise(.activation(.tanh), "\(path).tanh", product("down", product("up", x, h, f), f, h))
    case .mlp: return product("down", builder.elementwise(.activation(.relu), "\(path).relu", product("up", x, h, f)), f, h)
    case .residual: return builder.add("\(path).add", product("down", product("up", x, h, f), f, h), x)
    case .gated:
      let gate = product("gate", x, h, f)
      let up = product("up", x, h, f)
      return product("down", builder.apply(.multiply, "\(path).mul", [gate, up], to: [0, f]), f, h)
    }
  }
}

/// Hardware on which tiny models weigh computing, communication and memory against each other.
struct TinyHardware {
  var devices = 4
  var devicesPerNode = 4
  /// In bytes; nothing is reserved.
  var memory = 1e9
  /// In operations per second.
  var peak = 1e9
  var memoryBandwidth = 1e9
  var innerBandwidth = 1e8
  var outerBandwidth = 1e7
  var latency = 1e-6
  /// So many nodes at the start are of a kind by themselves: the other nodes' devices have these shares of its peak and memory.
  var firstNodes: Int?
  var peakShare = 1.0
  var memoryShare = 1.0
  var efficiency = KernelEfficiency.ideal
  var patterns = PatternEfficiency.even

  func cluster() throws -> Cluster { try file().cluster(devices: devices) }

  func file() throws -> HardwareFile {
    func device(_ name: String, peak: Double, memory: Double) -> DeviceKind {
      DeviceKind(
        name: name, source: nil, peaks: [.init(precision: .fp32, rate: FLOPRate(peak)), .init(precision: .bf16, rate: FLOPRate(peak))],
        memory: Bytes(memory), reservedMemory: .zero, memoryBandwidth: Bandwidth(memoryBandwidth), defaultPrecision: .fp32,
        launchOverhead: Seconds(1e-7), efficiency: efficiency)
    }
    let devices = [device("d", peak: peak, memory: memory), device("e", peak: peak * peakShare, memory: memory * memoryShare)]
    let last = HardwareFile.Group(device: firstNodes == nil ? 0 : 1, devicesPerNode: devicesPerNode, nodes: nil)
    let first = firstNodes.map { HardwareFile.Group(device: 0, devicesPerNode: devicesPerNode, nodes: $0) }
    func level(_ name: String, _ joins: Int?, _ bandwidth: Double) -> Level {
      Level(
        name: name, joins: joins, bandwidth: Bandwidth(bandwidth), bandwidthIs: .device, latency: Seconds(latency), patterns: patterns, source: nil)
    }
    return try HardwareFile(
      name: "tiny", source: "made up", devices: devices, groups: (first.map { [$0] } ?? []) + [last],
      levels: [level("inner", devicesPerNode, innerBandwidth), level("outer", nil, outerBandwidth)]
    )
  }
}

/// A request of a seed: model, hardware and the choices that are fixed, all drawn.
func tinyRequest(seed: Int, hardware: inout TinyHardware) throws -> SearchRequest {
  var random = SeededGenerator(seed: seed)
  var model = TinyModel()
  model.block = random.pick(TinyModel.Block.allCases)
  model.layers = random.pick([1, 2, 3, 4])
  model.batch = random.pick([1, 2, 4, 6])
  model.hidden = random.pick([4, 5, 8])
  model.inner = random.pick([4, 7, 16])
  model.vocabulary = random.pick([4, 9, 16])
  model.hasProjection = model.block != .gated && model.block != .residual && random.pick([false, true])
  model.isTied = random.pick([false, true])
  hardware.devices = random.pick([1, 2, 3, 4, 6, 8])
  hardware.devicesPerNode = random.pick([1, 2, 4])
  hardware.peak = random.pick([1e8, 1e9])
  hardware.innerBandwidth = random.pick([1e7, 1e8, 1e9])
  hardware.outerBandwidth = hardware.innerBandwidth * random.pick([0.1, 1])
  hardware.latency = random.pick([1e-8, 1e-6])
  var request = SearchRequest(
    graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
    mode: random.pick([.train, .train, .forward]), optimizer: random.pick([.adamw, .sgd]))
  // Left free, they multiply the number of decisions: `ExactnessTests` has cases of their own.
  request.zero = random.pick(ZeROStage.allCases)
  request.recompute = random.pick([Recompute.none, .full])
  request.layersMayDiffer = false
  // Two mesh axes square the number of strategies, so larger models are searched on one.
  if hardware.devices > 3 || model.hasProjection {
    let degrees = (1...model.layers).filter { hardware.devices % $0 == 0 }
    let degree = random.pick(degrees)
    request.mesh = [hardware.devices / degree]
    request.microBatches = random.pick([nil, 1, request.batch])
  }
  return request
}
