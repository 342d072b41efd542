// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// The schedules of a space, and what the interleaved one asks of stages, layers and micro-batches.
extension Space {
  /// The kinds of schedule that a request leaves.
  ///
  /// - Throws: `PlannerError.usage`.
  static func schedules(_ request: SearchRequest) throws -> [Schedule.Kind] {
    let chunks = request.chunks ?? 1
    if chunks < 1 { throw PlannerError.usage("--vpp \(chunks): at least one chunk is needed on each stage") }
    if let schedule = request.schedule, schedule != .interleaved, chunks > 1 {
      throw PlannerError.usage(
        "--vpp \(chunks): only the interleaved schedule has several chunks on a stage; leave --schedule \(schedule.rawValue) out")
    }
    if request.schedule == .interleaved, request.chunks == 1 {
      throw PlannerError.usage("--vpp 1: the interleaved schedule has at least two chunks on each stage; --schedule 1f1b is the same with one")
    }
    if request.schedule == .interleaved || chunks > 1 {
      if request.mode == .forward {
        throw PlannerError.usage("the interleaved schedule is for training; leave --schedule and --vpp out, or plan with --mode train")
      }
      return [.interleaved]
    }
    if let schedule = request.schedule { return [schedule] }
    if request.mode == .forward { return [.gpipe] }
    // Given numbers of layers are those of stages with one chunk each, unless several are asked for.
    return request.chunks == 1 || request.stageLayers != nil ? [.oneForwardOneBackward, .gpipe] : [.oneForwardOneBackward, .gpipe, .interleaved]
  }

  /// The pipeline degrees, of those that divide the devices, whose stages can hold several chunks each.
  ///
  /// - Throws: `PlannerError.usage` where there is none.
  static func interleavedDegrees(_ request: SearchRequest, _ degrees: [Int], layers: Int) throws -> [Int] {
    let devices = request.cluster.deviceCount
    if let fixed = request.pipelineDegree {
      if fixed == 1 { throw PlannerError.usage("--pp 1: the interleaved schedule needs several stages") }
      guard request.mayLeaveIdle ? fixed <= devices : devices % fixed == 0 else { throw tooManyStages(fixed, request) }
    }
    let chunks = request.chunks ?? 2
    guard chunks <= max(layers, 1 << 20) else {
      throw PlannerError.usage("--vpp \(chunks): a chunk holds a layer or more, and the model has \(counted(layers, "layer"))")
    }
    let remaining = degrees.filter { degree in
      guard degree > 1, request.pipelineDegree.map({ $0 == degree }) ?? true, degree * chunks <= layers else { return false }
      guard let parts = request.stageLayers?.count else { return true }
      return request.chunks.map { parts == degree * $0 } ?? (parts % degree == 0 && parts > degree)
    }
    if !remaining.isEmpty { return remaining }
    let options = [request.pipelineDegree.map { "--pp \($0)" }, request.chunks.map { "--vpp \($0)" }].compactMap { $0 }.joined(separator: " ")
    if let fixed = request.pipelineDegree, fixed * chunks > layers {
      throw PlannerError.usage("\(options): \(fixed * chunks) chunks are more than the model's \(counted(layers, "layer"))")
    }
    if let parts = request.stageLayers?.count {
      throw PlannerError.usage(
        "--stages names the layers of \(counted(parts, "chunk")), in the model's order; "
          + (options.isEmpty ? "no number of stages on \(counted(devices, "device")) has several of them on each" : "\(options) has another number"))
    }
    throw PlannerError.usage(
      "no number of stages divides \(counted(devices, "device")) and leaves each \(chunks) chunks of the model's \(counted(layers, "layer"))")
  }

  /// The pipeline degrees that divide a given number of micro-batches.
  ///
  /// - Throws: `PlannerError.usage` where there is none.
  static func interleavedDegrees(_ request: SearchRequest, _ degrees: [Int], microBatches: Int) throws -> [Int] {
    let remaining = degrees.filter { microBatches % $0 == 0 }
    if !remaining.isEmpty { return remaining }
    throw PlannerError.usage(
      "micro-batches: \(microBatches) is no multiple of "
        + (degrees.count == 1 ? counted(degrees[0], "stage") : "any possible number of stages")
        + ", which the interleaved schedule needs; change --micro-batch, --batch or --pp")
  }

  /// How many chunks each of so many stages may hold under the interleaved schedule; none where it is not possible.
  func chunkCounts(stages: Int) -> [Int] {
    guard schedules.contains(.interleaved), stages > 1 else { return [] }
    if let parts = request.stageLayers?.count { return parts % stages == 0 ? [parts / stages] : [] }
    let most = layerCount / stages
    if let chunks = request.chunks { return chunks <= most ? [chunks] : [] }
    return most < 2 ? [] : Array(2...most)
  }

  /// The schedules of a pipeline whose stages have so many devices each: interleaved ones where all have the same kinds of devices.
  func schedules(stages: Int, size: Int, microBatches: Int) -> [Schedule] {
    let all = schedules(stages: stages, microBatches: microBatches)
    return isOfOneKind(stages: stages, size: size) ? all : all.filter { $0.kind != .interleaved }
  }

  func schedules(_ frame: Frame) -> [Schedule] { schedules(stages: frame.stages, size: frame.size, microBatches: frame.microBatches) }

  /// The schedules of a pipeline on any devices, those of one chunk on each stage first.
  ///
  /// With one stage all are the same work in the same order of need: the first, which keeps least, stands for all.
  func schedules(stages: Int, microBatches: Int) -> [Schedule] {
    var plain: [Schedule] = []
    if schedules.contains(.oneForwardOneBackward) { plain.append(.oneForwardOneBackward) }
    if schedules.contains(.gpipe) { plain.append(.gpipe) }
    if stages == 1 { return Array(plain.prefix(1)) }
    return plain + chunkCounts(stages: stages).map(Schedule.interleaved).filter { $0.isPossible(stages: stages, microBatches: microBatches) }
  }

  /// The schedules that first plans have: the one that keeps least, and the interleaved one with most chunks, whose bubble is the smallest.
  func seedSchedules(_ frame: Frame) -> [Schedule] {
    let all = schedules(frame)
    return [all.first, all.last { $0.kind == .interleaved && all.count > 1 }].compactMap { $0 }
  }

  /// The schedules whose bounds over all cuts hold for every other one: of the interleaved ones that with most chunks, whose pipeline fills
  /// soonest.
  func loosestSchedules(stages: Int, size: Int, microBatches: Int) -> [Schedule] {
    let all = schedules(stages: stages, size: size, microBatches: microBatches)
    return all.enumerated().filter { $1.kind != .interleaved || $0 == all.count - 1 }.map(\.element)
  }

  /// Whether stages may hold layers of two kinds. Interleaved ones may where all chunks hold as many layers: then each chunk has the same share of the
  /// first kind, and the best single kind, whatever the weight of each chunk, bounds every mix. Chunks of several sizes may where they are given.
  func allowsMixes(_ schedule: Schedule, _ cut: [Int]) -> Bool {
    schedule.kind != .interleaved || cut.allSatisfy { $0 == cut[0] } || request.recomputedLayers != nil && request.stageLayers != nil
  }

  /// Whether the best single kind of layer, whose choice is the same on all stages, bounds every mix of a cut that is in the space: the kinds of a mix have
  /// the same share of every stage where all hold as many layers.
  func isBoundedByKinds(_ schedule: Schedule, _ cut: [Int]) -> Bool {
    mixes.isEmpty || !allowsMixes(schedule, cut) || cut.allSatisfy { $0 == cut[0] }
  }

  /// The cuts of the layers for a schedule. Where stages hold several chunks, the first chunk is within a layer of an even cut's, and the last
  /// holds at most one more: the head adds to it, and fewer layers are what makes up for that.
  func cuts(stages: Int, chunks: Int) -> [[Int]] {
    if chunks == 1 { return plainCuts(stages: stages) }
    if let fixed = request.stageLayers { return [fixed] }
    let count = stages * chunks
    let (least, most) = (layerCount / count, (layerCount + count - 1) / count)
    return cuts(into: count, first: max(1, least - 1)...most + 1, last: 1...most + 1)
  }
}
