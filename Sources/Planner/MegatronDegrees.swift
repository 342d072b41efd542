// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// The parallel degrees of a launch line, and the request in which they are fixed.
package struct MegatronDegrees: Hashable, Sendable {
  package var tensor = 1
  package var pipeline = 1
  package var data = 1
  /// How many devices share out each sequence, and how attention does so; nil leaves the way to what is cheapest.
  package var context = 1
  package var contextWay: ContextWay?
  /// Of the data replicas, how many share out each layer's experts.
  package var expert = 1
  package var isSequenceParallel = false
  package var zero = ZeROStage.none
  package var recompute = Recompute.none
  /// How many of each stage's layers compute that again; nil is all of them.
  package var recomputedLayers: Int?
  /// Sequences per micro-batch and replica; nil is one with several stages, else all that a replica has.
  package var microBatchSize: Int?
  package var schedule = Schedule.Kind.oneForwardOneBackward
  /// Chunks of the model on each stage: more than one under the interleaved schedule.
  package var chunks = 1
  /// Layers on each virtual stage; nil is the evenest cut, or one as the stages have devices.
  package var stageLayers: [Int]?
  /// For each stage its data-parallel and its tensor-parallel degree, where they differ; `data` and `tensor` are then the first stage's.
  package var stageMeshes: [[Int]]?

  package init() {}

  package var devices: Int { stageMeshes.map { $0.reduce(0) { $0 + $1.reduce(1, *) } } ?? tensor * pipeline * data * context }

  /// The micro-batches' size under a global batch.
  ///
  /// - Parameter couplesBatch: whether the model mixes the samples of a batch, which is one micro-batch then.
  package func microBatchSize(batch: Int, couplesBatch: Bool = false) -> Int {
    microBatchSize ?? (pipeline > 1 && !couplesBatch ? 1 : max(1, batch / data))
  }

  private func microBatchSize(_ request: SearchRequest) -> Int {
    microBatchSize(batch: request.batch, couplesBatch: request.graph.couplesBatch)
  }

  /// The request with these degrees fixed.
  ///
  /// - Throws: `PlannerError.usage` where the degrees do not go with the batch or the model.
  package func fix(_ request: SearchRequest) throws -> SearchRequest {
    var request = request
    let size = microBatchSize(request)
    // Unequal shares of a micro-batch say themselves how many samples it has.
    let hasShares = microBatchSize == nil && !(request.shares ?? []).isEmpty
    guard hasShares || request.batch % (size * data) == 0 else {
      throw PlannerError.usage(
        microBatchSize == nil && pipeline == 1
          ? "a batch of \(request.batch) does not divide over \(counted(data, "replica")); change --batch or --dp"
          : "a batch of \(request.batch) is not a whole number of micro-batches of \(size) × \(counted(data, "replica")); change --batch or --micro-batch"
      )
    }
    try checkExperts(of: request)
    request.microBatches = hasShares ? nil : request.batch / (size * data)
    (request.mesh, request.form) = MegatronForm.mesh(
      request.graph, data: data, expert: expert, context: context, contextWay: contextWay, tensor: tensor, isSequenceParallel: isSequenceParallel)
    if let stageMeshes {
      (request.mesh, request.stageMeshes) = (nil, stageMeshes)
      request.form = MegatronForm(dataAxes: [0], tensorAxes: [1], isSequenceParallel: isSequenceParallel)
    }
    request.pipelineDegree = pipeline
    request.schedule = schedule
    request.chunks = chunks
    request.zero = zero
    request.recompute = recompute
    request.layersMayDiffer = false
    request.reversed = nil
    request.recomputedLayers = recomputedLayers
    request.stageLayers = try stageLayers ?? evenStages(request)
    return request
  }

  /// The evenest cut; of stages with several meshes one in which each holds as large a part of the layers as it has of the devices.
  private func evenStages(_ request: SearchRequest) throws -> [Int] {
    let even = try Planner.evenStages(request, stages: pipeline, chunks: chunks)
    guard let stageMeshes else { return even }
    let layers = even.reduce(0, +)
    var (used, before) = (0, 0)
    return stageMeshes.enumerated().map { stage, mesh in
      used += mesh.reduce(1, *)
      // Every stage has a layer.
      let end = min(layers - (pipeline - 1 - stage), max(before + 1, (used * layers + devices / 2) / devices))
      defer { before = end }
      return end - before
    }
  }

  /// - Throws: `PlannerError.usage` where the expert degree does not go with the replicas or the model's experts.
  private func checkExperts(of request: SearchRequest) throws {
    guard expert > 1 else { return }
    guard data % expert == 0 else {
      throw PlannerError.usage("--ep \(expert) does not divide \(counted(data, "data replica")), which share out the experts; change --ep or --dp")
    }
    guard let experts = request.graph.axes.filter({ $0.role == .experts }).map(\.extent).min() else {
      throw PlannerError.usage("--ep \(expert): \(request.graph.name) has no experts; leave --ep out")
    }
    guard experts % expert == 0 else {
      throw PlannerError.usage("--ep \(expert) does not divide the model's \(counted(experts, "expert")); choose a divisor of \(experts)")
    }
  }

  /// What the degrees leave open and how it was decided, in words.
  package func assumptions(_ request: SearchRequest) -> [String] {
    var remarks: [String] = []
    let size = microBatchSize(request)
    if microBatchSize == nil, request.batch > data, request.shares?.isEmpty ?? true {
      remarks.append("micro-batches of \(counted(size, "sequence")) for each replica (--micro-batch)")
    }
    if let stageMeshes, let heads = MegatronForm.keyValueHeads(request.graph), let most = stageMeshes.map({ $0[1] }).max(), most > heads {
      remarks.append(
        "a tensor-parallel degree above the model's \(counted(heads, "key-value head")): every device of such a stage computes the whole attention")
    } else if let heads = MegatronForm.keyValueHeads(request.graph), tensor > heads {
      remarks.append(
        tensor % heads == 0 && heads > 1
          ? "--tp \(tensor) as a mesh of \(heads) x \(tensor / heads), since the model has \(heads) key-value heads: "
            + "each of them is held by \(tensor / heads) devices"
          : "--tp \(tensor) is no multiple of the model's \(counted(heads, "key-value head")): every device of a stage computes the whole attention")
    }
    return remarks
  }

  /// The options that differ from other degrees, as on a command line.
  func options(changedFrom other: MegatronDegrees) -> String {
    var options: [String] = []
    if tensor != other.tensor { options.append("--tp \(tensor)") }
    if pipeline != other.pipeline { options.append("--pp \(pipeline)") }
    if data != other.data { options.append("--dp \(data)") }
    if context != other.context { options.append("--cp \(context)") }
    if expert != other.expert { options.append("--ep \(expert)") }
    if isSequenceParallel != other.isSequenceParallel { options.append("--sp") }
    if recompute != other.recompute { options.append("--recompute \(recompute.rawValue)") }
    if let layers = recomputedLayers, layers != other.recomputedLayers { options.append("--recompute-layers \(layers)") }
    if zero != other.zero { options.append("--zero \(zero.rawValue)") }
    if let size = microBatchSize, size != other.microBatchSize { options.append("--micro-batch \(size)") }
    if stageLayers == nil && other.stageLayers != nil { options.append("without --stages") }
    return options.joined(separator: " ")
  }
}
