// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Strategies

/// The splits that a row leaves open: one where it gives all of tp, pp, dp and the size of micro-batches, or three of these that leave one choice.
///
/// Of what is open, these are compared: tensor-parallel degrees that are powers of two, within a node and at most the heads; pipeline degrees that
/// divide the layers; data-parallel degrees as then follow; micro-batches of 1, 2, 4, … up to 32 sequences.
struct RowSplits {
  let devices: Int
  let isGiven: Bool
  let candidates: [MegatronDegrees]

  static let largestMicroBatch = 32

  /// - Throws: `SkippedRow` where degrees contradict each other or the devices.
  init(_ row: TableRow, _ convention: Convention, _ model: RowModel, assumptions: inout [String]) throws {
    var common = MegatronDegrees()
    common.context = row.context ?? 1
    common.expert = row.expert ?? 1
    if common.expert > 1, model.experts == nil { throw SkippedRow("expert parallelism without experts: ep \(common.expert)") }
    common.zero = row.zero.flatMap { ZeROStage(rawValue: $0) } ?? .none
    common.recompute = try Self.recompute(row, convention, &assumptions)
    common.chunks = row.chunks ?? 1
    // A degree of the device count's size, times others, must not overflow.
    for (key, value) in [("tp", row.tensor), ("pp", row.pipeline), ("dp", row.data), ("cp", row.context), ("ep", row.expert), ("vpp", row.chunks)] {
      if let value, value > 1 << 20 { throw SkippedRow("a size beyond \(1 << 20): \(key) \(value)") }
    }
    let (tensor, pipeline, data) = try Self.completed(row, context: common.context)
    guard let devices = row.devices ?? tensor.flatMap({ t in pipeline.flatMap { p in data.map { t * p * $0 * common.context } } }) else {
      throw SkippedRow("the number of devices is not published: no gpus")
    }
    self.devices = devices
    if devices > 1 << 20 { throw SkippedRow("a size beyond \(1 << 20): gpus \(devices)") }
    guard let batch = row.batch else { throw SkippedRow("the global batch is not published: no gbs") }
    let isSequenceParallel = row.isSequenceParallel ?? convention.isSequenceParallel
    if row.isSequenceParallel == nil, convention.isSequenceParallel, tensor ?? 2 > 1 { assumptions.append("sequence parallelism") }

    if row.isSequenceParallel == true, tensor == 1 { assumptions.append("sequence parallelism has no effect at tp 1") }
    if common.chunks > 1, pipeline == 1 { assumptions.append("vpp \(common.chunks) has no effect at pp 1") }

    var (candidates, isGiven, problem) = ([MegatronDegrees](), true, nil as String?)
    let perNode = row.devicesPerNode ?? 8
    let degrees = Self.degrees(tensor, pipeline, data, devices: devices / common.context, widest: perNode, model)
    if degrees.count != 1 || tensor == nil || pipeline == nil || data == nil { isGiven = false }
    for (tensor, pipeline, data) in degrees {
      guard pipeline * common.chunks <= model.layers else {
        problem = "more stages and chunks than layers: \(pipeline) x \(common.chunks), layers \(model.layers)"
        continue
      }
      let sizes = Self.microBatchSizes(row, batch: batch, data: data)
      if sizes.isEmpty { problem = problem ?? Self.unevenBatch(row, batch: batch, data: data) }
      if row.microBatchSize == nil, row.microBatches == nil, batch != data { isGiven = false }
      for size in sizes {
        var candidate = common
        (candidate.tensor, candidate.pipeline, candidate.data, candidate.microBatchSize) = (tensor, pipeline, data, size)
        candidate.isSequenceParallel = isSequenceParallel && tensor > 1
        if candidate.isSequenceParallel, convention.gathersAgain { candidate.recompute = common.recompute.gathering }
        if pipeline == 1 { candidate.chunks = 1 }
        if convention.cutsByCost, candidate.chunks == 1 { candidate.stageLayers = model.layersByCost(stages: pipeline) }
        candidate.schedule = candidate.chunks > 1 ? .interleaved : .oneForwardOneBackward
        candidates.append(candidate)
      }
    }
    guard !candidates.isEmpty else { throw SkippedRow(problem ?? "no split of \(devices) devices has the degrees given") }
    (self.candidates, self.isGiven) = (candidates, isGiven)
  }

  private static func recompute(_ row: TableRow, _ convention: Convention, _ assumptions: inout [String]) throws -> Recompute {
    if let word = row.recompute {
      guard let known = TableWords.recompute(word) else {
        throw SkippedRow("recompute that is not priced: \"\(word)\"; known are \(TableWords.recomputes.flatMap(\.words).joined(separator: ", "))")
      }
      return known
    }
    let assumed = convention.recompute ?? Recompute.none
    assumptions.append("recompute \(assumed.rawValue)")
    return assumed
  }

  /// The degrees, where one that is missing follows from the others and the devices.
  private static func completed(_ row: TableRow, context: Int) throws -> (tensor: Int?, pipeline: Int?, data: Int?) {
    var (tensor, pipeline, data) = (row.tensor, row.pipeline, row.data)
    guard let devices = row.devices else { return (tensor, pipeline, data) }
    let product = [tensor, pipeline, data].reduce(context) { $0 * min($1 ?? 1, 1 << 20) }
    guard product > 0, devices % product == 0, tensor == nil || pipeline == nil || data == nil || product == devices else {
      let given = [("tp", tensor), ("pp", pipeline), ("dp", data), ("cp", row.context)].compactMap { key, value in value.map { "\(key) \($0)" } }
      throw SkippedRow("degrees that do not make the devices: \(given.joined(separator: " x ")), gpus \(devices)")
    }
    let rest = devices / product
    switch (tensor, pipeline, data) {
    case (nil, _?, _?): tensor = rest
    case (_?, nil, _?): pipeline = rest
    case (_?, _?, nil): data = rest
    default: break
    }
    return (tensor, pipeline, data)
  }

  private static func degrees(
    _ tensor: Int?, _ pipeline: Int?, _ data: Int?, devices: Int, widest: Int, _ model: RowModel
  ) -> [(tensor: Int, pipeline: Int, data: Int)] {
    if let tensor, let pipeline, let data { return [(tensor, pipeline, data)] }
    let powers = sequence(first: 1) { $0 * 2 }.prefix { $0 <= min(widest, devices, model.heads) }
    var result: [(tensor: Int, pipeline: Int, data: Int)] = []
    for t in tensor.map({ [$0] }) ?? powers.filter({ model.heads % $0 == 0 }) where devices % t == 0 {
      let stages = 1...max(1, min(model.layers, devices / t))
      for p in pipeline.map({ [$0] }) ?? stages.filter({ model.layers % $0 == 0 }) where devices / t % p == 0 {
        let d = devices / t / p
        if data == nil || data == d { result.append((t, p, d)) }
      }
    }
    return result
  }

  private static func microBatchSizes(_ row: TableRow, batch: Int, data: Int) -> [Int] {
    if let size = row.microBatchSize {
      guard size <= batch, data <= batch / size, batch % (size * data) == 0 else { return [] }
      return row.microBatches == nil || row.microBatches == batch / (size * data) ? [size] : []
    }
    guard batch % data == 0 else { return [] }
    let own = batch / data
    if let count = row.microBatches { return own % count == 0 ? [own / count] : [] }
    return sequence(first: 1) { $0 * 2 }.prefix { $0 <= min(own, largestMicroBatch) }.filter { own % $0 == 0 }
  }

  private static func unevenBatch(_ row: TableRow, batch: Int, data: Int) -> String {
    let parts = [row.microBatchSize.map { "mbs \($0)" }, row.microBatches.map { "nmicro \($0)" }, "dp \(data)"].compactMap { $0 }
    return "no whole number of micro-batches: gbs \(batch), \(parts.joined(separator: " x "))"
  }
}
