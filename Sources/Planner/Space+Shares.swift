// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

/// A batch that devices of several kinds share out unevenly: in plans of one stage, over the outermost mesh axis of several devices.
extension Space {
  /// One kind of devices on a mesh whose outermost axis shares the batch out.
  struct ShareKind {
    /// The cluster's number of the kind.
    let kind: Int
    /// The most samples that one of its devices has.
    let samples: Int
  }

  /// For each of the cluster's kinds of devices, what it takes for the model's operators on one device; empty where nothing can be shared out unevenly.
  static func timesOfKinds(_ request: SearchRequest) throws -> [Double] {
    guard !request.cluster.isUniform, BatchShares.isPossible(in: request.graph) else { return [] }
    let model = Pricing.Model(request.graph.sized(batch: request.batch, sequence: request.sequence), request.mode)
    let used = Set(request.cluster.kindOfDevice)
    return try request.cluster.kinds.indices.map { kind in
      guard used.contains(kind) else { return 0 }
      let rates = try DeviceRates(request.cluster.kinds[kind], request.precision)
      let pricing = Pricing(model: model, mesh: [1], rates: rates, job: request.job(microBatches: 1), placements: [.alone, .alone])
      return pricing.rules.enumerated().reduce(0) { sum, op in
        let cost = pricing.cost(op.offset, Strategy(assignment: [nil], rule: op.element))
        return sum + Double(model.graph.segments[model.graph.segmentOfOperator[op.offset]].repeats) * (cost.forward + cost.backward).value
      }
    }
  }

  /// The request with what given shares leave no choice of.
  ///
  /// - Throws: `PlannerError.usage` where they cannot be.
  static func fixingShares(_ request: SearchRequest) throws -> SearchRequest {
    guard let shares = request.shares, !shares.isEmpty else { return request }
    let text = "--shares \(shares.map(String.init).joined(separator: ","))"
    func usage(_ problem: String) -> PlannerError { PlannerError.usage("\(text): \(problem)") }
    let total = shares.reduce(0) { min($0, 1 << 40) + min($1, 1 << 40) }
    guard shares.count > 1, shares.allSatisfy({ $0 > 0 }) else { throw usage("expected the samples of two ranks or more, one or more each") }
    guard BatchShares.isPossible(in: request.graph) else {
      throw usage("the model has an operator that makes one number of several samples, so its batch is shared out evenly")
    }
    if request.stageMeshes != nil || request.pipelineDegree ?? 1 > 1 || request.stageLayers?.count ?? 1 > 1 {
      throw usage("they are for plans of one stage")
    }
    guard request.batch % total == 0 else {
      throw usage("they are \(total) samples together, and a batch of \(request.batch) is no whole number of micro-batches of these")
    }
    if let count = request.microBatches, request.batch != count * total {
      throw usage("they are \(total) samples together, and a micro-batch has \(request.batch / max(1, count))")
    }
    if let mesh = request.mesh, BatchShares.axis(of: mesh).map({ mesh[$0] }) != shares.count {
      throw usage(
        "they are \(shares.count), and the outermost axis of several devices of the mesh \(mesh.map(String.init).joined(separator: "x")) has "
          + "\(BatchShares.axis(of: mesh).map { "\(mesh[$0])" } ?? "none")")
    }
    if request.cluster.deviceCount < shares.count { throw usage("there are \(counted(request.cluster.deviceCount, "device"))") }
    var request = request
    (request.pipelineDegree, request.microBatches, request.mayHaveSubMeshes) = (1, request.batch / total, false)
    return request
  }

  static func sharesWithoutMesh(_ request: SearchRequest) -> PlannerError {
    .usage(
      "--shares \((request.shares ?? []).map(String.init).joined(separator: ",")): no mesh of one stage has an outermost axis of "
        + "\((request.shares ?? []).count) devices; choose other --devices, or a mesh with --mesh")
  }

  /// A frame in every way to share out its batch: evenly, and, on one stage of devices of several kinds, in the ways that are compared with that.
  func withShares(_ frame: Frame) -> [Frame] {
    if let given = request.shares, !given.isEmpty {
      let fits = BatchShares.axis(of: frame.mesh).map { frame.mesh[$0] == given.count } ?? false
      return fits ? [frame.sharing(given)] : []
    }
    return [frame] + shares(frame).map(frame.sharing)
  }

  /// The uneven shares that a frame's batch is tried with.
  ///
  /// Devices of the fastest kind have x samples each where all take equally long for the model's operators. They are given ⌊x⌋, ⌈x⌉, one less and one
  /// more, and, where the inner axes of the mesh may split the batch further, the multiples of their devices next to x; the others have the rest, in
  /// proportion to their rates.
  func shares(_ frame: Frame) -> [[Int]] {
    guard frame.stages == 1, frame.runs.isEmpty, request.shares == nil, request.form == nil, !timesOfKinds.isEmpty,
      let axis = BatchShares.axis(of: frame.mesh)
    else { return [] }
    let samples = request.batch / frame.microBatches
    let (ranks, inner) = (frame.mesh[axis], frame.size / frame.mesh[axis])
    // A rank waits for the slowest device that has the same samples.
    let times = (0..<ranks).map { rank in (rank * inner..<(rank + 1) * inner).map { timesOfKinds[request.cluster.kindOfDevice[$0]] }.max() ?? 0 }
    guard let least = times.min(), let most = times.max(), least < most, samples > ranks else { return [] }
    let rates = times.map { 1 / $0 }
    let fastest = times.indices.filter { times[$0] == least }
    let x = Double(samples) * rates[fastest[0]] / rates.reduce(0, +)
    var candidates = [Int(x.rounded(.down)) - 1, Int(x.rounded(.down)), Int(x.rounded(.up)), Int(x.rounded(.up)) + 1]
    if inner > 1, x >= Double(inner) { candidates += [Int(x) / inner * inner, (Int(x) / inner + 1) * inner] }
    var result: [[Int]] = []
    for candidate in Set(candidates).sorted() where candidate * ranks > samples {
      let rest = samples - candidate * fastest.count
      // Rounded down at each border, so that every rank has its part or one sample beside it.
      let slower = times.indices.filter { times[$0] > least }
      let all = slower.reduce(0) { $0 + rates[$1] }
      var (shares, before, given) = ([Int](repeating: candidate, count: ranks), 0.0, 0)
      for rank in slower {
        before += rates[rank]
        let border = rank == slower.last ? rest : Int((Double(rest) * before / all + 1e-9).rounded(.down))
        (shares[rank], given) = (border - given, border)
      }
      if shares.allSatisfy({ $0 > 0 }), !result.contains(shares) { result.append(shares) }
    }
    return result
  }

  /// A frame's shares; nil where they are even.
  func batchShares(_ frame: Frame) -> BatchShares? { frame.shares.isEmpty ? nil : BatchShares(frame.shares, mesh: frame.mesh) }

  /// The kinds of devices that a frame's shares are for: first the one with the most samples, whose memory counts everywhere in the search; then those
  /// that have less memory, and may for that be the ones that a plan does not fit.
  func kindsOfShares(_ frame: Frame) throws -> [ShareKind] {
    guard let shares = batchShares(frame) else { return [] }
    let inner = frame.size / frame.mesh[shares.axis]
    var kinds: [ShareKind] = []
    for kind in Set(request.cluster.kindOfDevice[..<frame.size]).sorted() {
      let samples = (0..<frame.size).filter { request.cluster.kindOfDevice[$0] == kind }.map { shares.samples[$0 / inner] }.max() ?? 0
      kinds.append(ShareKind(kind: kind, samples: samples))
    }
    let usable = try kinds.map { try DeviceRates(request.cluster.kinds[$0.kind], request.precision).usable }
    let order = kinds.indices.sorted { (kinds[$1].samples, usable[$0], $0) < (kinds[$0].samples, usable[$1], $1) }
    return order.map { kinds[$0] }
  }

  /// The prices of a frame whose shares are uneven.
  func unevenPricing(_ frame: Frame, on placed: Placed, model: Pricing.Model) throws -> Pricing {
    guard let shares = batchShares(frame) else { preconditionFailure("the frame's shares are even") }
    let kinds = try kindsOfShares(frame)
    func pricing(_ rates: DeviceRates, samples: Int, _ kinds: [Pricing]) -> Pricing {
      Pricing(
        model: model, mesh: frame.mesh, rates: rates, job: request.job(microBatches: frame.microBatches), placements: placed.placementsOfKinds[0],
        tick: tick, isZigzag: request.isZigzag, uneven: UnevenBatch(shares, samples: samples, kinds: kinds))
    }
    let own = try kinds.map { pricing(try DeviceRates(request.cluster.kinds[$0.kind], request.precision), samples: $0.samples, []) }
    return pricing(own[0].rates, samples: kinds[0].samples, own)
  }

  /// For each kind of devices of a frame with uneven shares, how much less memory than the largest device it has. Empty where memory is no limit.
  func reservedOfShares(_ frame: Frame) throws -> [Int64] {
    if request.ignoresMemoryLimit { return [] }
    let most = try fastestRates().usable.wholeWithin
    return try kindsOfShares(frame).map { most - (try DeviceRates(request.cluster.kinds[$0.kind], request.precision).usable.wholeWithin) }
  }

  /// The shares in words.
  var sharesInWords: String? {
    if let given = request.shares, !given.isEmpty { return "given: " + given.map(String.init).joined(separator: " ") }
    guard !timesOfKinds.isEmpty, pipelineDegrees.contains(1) else { return nil }
    if request.shares != nil { return "given: even" }
    if request.form != nil { return nil }
    let least = timesOfKinds.filter { $0 > 0 }.min() ?? 1
    let rates = zip(request.cluster.kinds, timesOfKinds).filter { $0.1 > 0 }.map { kind, time in
      "\(kind.name) \((1000 * least / time).rounded() / 1000)"
    }
    return "even; where there is one stage of several kinds, and its outermost mesh axis has ranks of different ones, also uneven: in proportion to "
      + "the rates (\(rates.joined(separator: ", "))) of each rank's slowest device, x samples for one of the fastest ranks: ⌊x⌋, ⌈x⌉, one less, one more, "
      + "and the multiples next to x of the inner mesh axes' devices"
  }
}

extension Space.Frame {
  /// The same with other shares.
  func sharing(_ samples: [Int]) -> Space.Frame {
    var copy = self
    copy.shares = samples
    return copy
  }
}
