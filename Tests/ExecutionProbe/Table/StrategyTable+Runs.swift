// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Kernels
import ModelGraph
import Plans
import Strategies

extension StrategyTable {
  /// Collective where the model's weights are in a file that is not written yet: of one rank's decision they are, once the cell's own has been run.
  private mutating func request(_ decision: Decision) throws -> RunRequest {
    let parameters: ParameterValues
    if model == .clip || model == .flamingo {
      let file = try file(of: decision.graph.sized(batch: 1, sequence: nil))
      parameters = .checkpoint(try Checkpoint(path: file))
    } else {
      parameters = .generated(seed: 1)
    }
    var hyperparameters = Hyperparameters(optimizer: decision.job.optimizer)
    hyperparameters.learningRate.peak = decision.job.optimizer == .sgd ? 0.1 : 1e-3
    var request = RunRequest(
      decision, hyperparameters: hyperparameters, parameters: parameters,
      inputs: StepInputs(graph: decision.graph, batch: decision.job.batch, seed: 1))
    request.steps = decision.job.mode == .train ? Self.steps : 1
    return request
  }

  /// Runs a cell.
  ///
  /// Losses must be one rank's to 10⁻⁵. In the first step a loss is a mean of logarithms of order 1, each of which errs by no more than its
  /// tensors do, a few 10⁻⁷ (`Tolerance` is c ε √n · depth with ε = 1.2 · 10⁻⁷). Afterwards weights differ too. To first order that changes the loss
  /// by Σ gᵢ Δwᵢ. With SGD |Δwᵢ| = η |Δgᵢ|; AdamW's step is η m / √v, of which the relative error is that of the gradient, so that |gᵢ Δwᵢ| ≤
  /// η |Δgᵢ|, also of elements that are nothing but rounding. Verification bounds |Δgᵢ| by 10⁻⁵ of the largest gradient, here below 1, and errors of
  /// 10⁴ elements have both signs: 5 η · 10⁻⁵ · 10² is 5 · 10⁻⁶ for AdamW's η = 10⁻³; for SGD's η = 0.1, |gᵢ Δwᵢ| ≤ η |gᵢ| |Δgᵢ|, whose sum is below
  /// η · 10⁻⁵ · |g|² · 5, and |g|² is below 1.
  mutating func problems(_ decision: Decision, _ row: TableRow) throws -> [String] {
    var problems = try missingTraits(decision, row)
    let oneRank = DecisionChecks.onOneRank(decision)
    var request = try request(decision)
    request.verification = oneRank
    let report = try Run(request, world: world).carryOut()
    if references[oneRank] == nil, world.rank == 0 {
      references[oneRank] = try Run(try self.request(oneRank), world: alone).carryOut().losses.map { $0 ?? .nan }
    }
    guard world.rank == 0 else { return [] }
    if let difference = report.verification?.firstDifference {
      problems.append("\(difference.tensor) [\(difference.layout)] on rank \(difference.rank): \(difference.error) > \(difference.tolerance)")
    }
    if report.verification == nil { problems.append("is not verified") }
    for rank in 0..<world.size where report.traffic[rank] != report.expectedTraffic[rank] {
      problems.append("rank \(rank) sent \(report.traffic[rank]), its program says \(report.expectedTraffic[rank])")
    }
    let expected = references[oneRank] ?? []
    if report.losses.count != request.steps || expected.count != request.steps { problems.append("\(report.losses.count) losses") }
    for (step, (loss, value)) in zip(report.losses, expected).enumerated() where !(abs((loss ?? .nan) / value - 1) <= 1e-5) {
      problems.append("step \(step): loss \(loss ?? .nan), on one rank \(value)")
    }
    // Five steps change the loss by much more than the tolerance, or their comparison would show nothing.
    if row.mode == .train, let first = expected.first, let last = expected.last, !(abs(last / first - 1) > 1e-4) {
      problems.append("losses stay at \(first)")
    }
    if row.splits.contains(.experts), !report.traffic.contains(where: { $0[.allToAll].count > 0 }) { problems.append("no all-to-all") }
    return problems
  }

  /// What programs lack of what the row means; on rank 0.
  private func missingTraits(_ decision: Decision, _ row: TableRow) throws -> [String] {
    let own = ProgramTraits(decision, rank: world.rank)
    var words = own.words
    if row.recompute.gathers {
      var other = decision
      other.recompute = other.recompute.map(\.keepingGathered)
      if own.gathers > ProgramTraits(other, rank: world.rank).gathers { words.insert("gathered again") }
    }
    guard let all = try world.gather(Array(words.joined(separator: "\n").utf8)) else { return [] }
    words = Set(all.flatMap { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) })

    var wanted: [[String]] = []
    for (axis, split) in row.splits.enumerated() where decision.mesh[axis] > 1 || !decision.stageMeshes.isEmpty {
      wanted += split.traits(mode: row.mode).map { $0.map { "\($0) \(axis)" } }
      if row.isUneven || row.hasShares { wanted.append(["uneven \(axis)"]) }
    }
    if row.pipeline != .none { wanted.append(["send"]) }
    if row.zero != .none { wanted += [["ZeRO \(row.zero.rawValue)"], ["parameter all-gather"]] }
    if decision.job.microBatches > 1 || row.microBatches > 1 { wanted.append(["micro-batches"]) }
    if row.updates == .inBackward { wanted.append(["update before backward"]) }
    switch row.recompute {
    case .none: break
    case .elementwise: wanted.append(["recompute"])
    case .gathered: wanted.append(["gathered again"])
    case .selective: wanted.append(["recompute attention"])
    case .selectiveGathered: wanted += [["recompute attention"], ["gathered again"]]
    case .full: wanted.append(["recompute"])
    }
    var missing = wanted.filter { ways in !ways.contains { words.contains($0) } }.map { "no \($0.joined(separator: " or "))" }
    if row.pipeline == .uneven, Set(decision.stages.map { $0.units.reduce(0) { $0 + $1.copies.count } }).count == 1 {
      missing.append("no uneven stages")
    }
    return missing
  }

  /// Weights between −0.3 and 0.3, norms' around 1, under the names of a checkpoint: the generator's own leave CLIP's images all alike, and
  /// Flamingo's gates closed. Those of CLIP's queries and keys are smaller, since the gradients of keys' biases, which are 0 but for rounding, grow
  /// with them. Collective.
  private mutating func file(of graph: Graph) throws -> String {
    if let file = weights[graph] { return file }
    var path = FileManager.default.temporaryDirectory.appending(path: "weights-\(UUID().uuidString).safetensors").path
    path = String(decoding: try world.broadcast(Array(path.utf8)), as: UTF8.self)
    weights[graph] = path
    if world.rank == 0 { try Self.write(graph, to: path) }
    try world.barrier()
    return path
  }

  private static func write(_ graph: Graph, to path: String) throws {
    var writer = SafetensorsWriter()
    var written: Set<String> = []
    let generator = ValueGenerator(seed: 1)
    for (id, tensor) in graph.tensors.enumerated() {
      guard let source = tensor.parameter, let reader = graph.consumers[id].first else { continue }
      for copy in 0..<graph.segments[graph.segmentOfOperator[reader.op]].repeats {
        let name = Graph.name(source.checkpointName, copy: copy)
        guard written.insert(name).inserted else { continue }
        let key = generator.key(name)
        let scale: Float = name.contains(".q_proj") || name.contains(".k_proj") ? 0.01 : 0.3
        let values = (0..<source.checkpointShape.reduce(1, *)).map { (source.isNormWeight ? 1 : 0) + scale * ValueGenerator.uniform(key: key, $0) }
        writer.add(name, shape: source.checkpointShape, .float32(values))
      }
    }
    try writer.write(to: path)
  }
}
