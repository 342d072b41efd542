// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Plans

extension Plan {
  /// The search whose space is this plan with other strategies: the model, the job and the devices of the plan, and everything around the
  /// operators as the plan has it.
  ///
  /// - Throws: `HardwareError`.
  package func request() throws -> SearchRequest {
    var request = SearchRequest(
      graph: decision.graph, cluster: try hardware.cluster(devices: decision.ranks), batch: decision.job.batch, sequence: decision.job.sequence,
      precision: decision.job.precision, mode: decision.job.mode, optimizer: decision.job.optimizer)
    request.software = decision.job.software
    request.pipelineDegree = decision.groups
    if decision.stageMeshes.isEmpty { request.mesh = decision.mesh } else { request.stageMeshes = decision.stageMeshes }
    request.microBatches = decision.job.microBatches
    request.schedule = decision.schedule.kind
    request.chunks = decision.schedule.chunks
    request.stageLayers = decision.searchedLayers
    request.recomputeOfSegments = decision.recompute
    request.layersMayDiffer = false
    request.isZigzag = decision.isZigzag
    request.shares = decision.shares?.samples ?? []
    return request
  }

  /// The same search with layers as it had them: alike, or the first ones of each stage alike and the rest, instead of each stage's by themselves.
  ///
  /// - Parameter kinds: the plan's; nil: its layers are written as it searches them.
  /// - Throws: `HardwareError`.
  package func request(_ kinds: LayerKinds?) throws -> SearchRequest { try kinds.map { $0.fix(try request()) } ?? request() }
}

extension Decision {
  /// How many layers each virtual stage holds; a first and a last segment that occur once are no layers, but go with their neighbours.
  package var searchedLayers: [Int] {
    var layers = graph.segments.indices
    if layers.count > 1, !graph.holdsLayers(0) { layers = layers.dropFirst() }
    if layers.count > 1, !graph.holdsLayers(layers.upperBound - 1) { layers = layers.dropLast() }
    return stages.map { stage in stage.units.reduce(0) { $0 + (layers.contains($1.segment) ? $1.copies.count : 0) } }
  }
}
