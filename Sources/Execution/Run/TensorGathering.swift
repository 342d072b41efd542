// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Plans
import Strategies

/// A whole tensor of the global batch, put together from the ranks' shards.
struct GatheredTensor {
  /// The part that one rank holds; the values are the sum of all parts.
  struct Part {
    let rank: Int
    let region: Region
  }

  let shape: [Int]
  private(set) var values: [Float]
  private(set) var parts: [Part] = []

  init(shape: [Int]) {
    self.shape = shape
    values = [Float](repeating: 0, count: shape.reduce(1, *))
  }

  /// Adds a run of the elements of a region, in row-major order, which a rank holds.
  ///
  /// - Parameter pieces: where the pieces of a region are in the tensor, whose positions are in their natural order.
  fileprivate mutating func add(
    _ values: UnsafePointer<Float>, _ elements: Range<Int>, of region: Region, rank: Int,
    pieces: (Region) -> [(held: Region, natural: Region)]
  ) {
    var strides = [Int](repeating: 1, count: shape.count)
    for d in shape.indices.dropLast().reversed() { strides[d] = strides[d + 1] * shape[d + 1] }
    var place = values
    for part in region.regions(ofElements: elements) {
      for piece in pieces(part) {
        let offset = zip(strides, zip(piece.held, piece.natural)).reduce(0) { $0 + $1.0 * ($1.1.1.lowerBound - $1.1.0.lowerBound) }
        let transfer = RegionTransfer(piece.held, from: part, toViewAt: offset, strides: strides)
        self.values.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { transfer.accumulate(place, into: base) } }
        parts.append(Part(rank: rank, region: piece.natural))
      }
      place += part.elementCount
    }
  }

  /// The elements of the first dimension, each as a tensor whose first dimension has it alone.
  var elements: [GatheredTensor] {
    let count = values.count / shape[0]
    return (0..<shape[0]).map { index in
      var element = GatheredTensor(shape: [1] + shape.dropFirst())
      element.values = Array(values[index * count..<(index + 1) * count])
      return element
    }
  }

  /// Adds the values into a view of another array, whose element at the tensor's origin is at `offset`.
  func accumulate(into array: inout [Float], offset: Int, strides: [Int]) {
    let region = shape.map { 0..<$0 }
    let transfer = RegionTransfer(region, from: region, toViewAt: offset, strides: strides)
    values.withUnsafeBufferPointer { source in
      array.withUnsafeMutableBufferPointer { destination in
        if let source = source.baseAddress, let destination = destination.baseAddress { transfer.accumulate(source, into: destination) }
      }
    }
  }

  /// The rank whose part holds an element; the first of them where they are added up.
  func rank(holding index: Int) -> Int {
    var rest = index
    var place = [Int](repeating: 0, count: shape.count)
    for d in shape.indices.reversed() {
      place[d] = rest % shape[d]
      rest /= shape[d]
    }
    return parts.first { zip($0.region, place).allSatisfy { $0.contains($1) } }?.rank ?? 0
  }
}

/// Brings tensors that are spread over the ranks of a plan together on rank 0. Every rank calls the same methods in the same order.
///
/// It is bookkeeping, not part of a step: what it sends is entered in the ledger after the step's traffic has been read.
struct TensorGathering {
  let executor: Executor
  var decision: Decision { executor.decision }
  var world: Communicator { executor.world }
  private static let tag = 0x7fff

  /// One parameter as the stage that holds it first has it, by its first reader there.
  struct ParameterSite {
    let tensor: TensorID
    let copy: Int
    let stage: Int
    let layout: Layout
    let sharing: ParameterSharing
  }

  private var graph: Graph { decision.graph }
  private var strategies: [Strategy] { executor.program.strategies }
  private var microBatchSize: Int { decision.job.batch / decision.job.microBatches }

  /// The parameters that the loss depends on, in the order in which the forward pass reads them.
  var learnedParameters: [ParameterSite] {
    let needsGradient = graph.reachesLoss()
    return parameters.filter { needsGradient[$0.tensor] }
  }

  /// All parameters, in the order in which the forward pass reads them.
  private var parameters: [ParameterSite] {
    let isLearned = graph.reachesLoss()
    var sites: [ParameterSite] = []
    var known = Set<[Int]>()
    for site in graph.operatorSites {
      for (position, tensor) in graph.operators[site.op].operands.enumerated() where graph.tensors[tensor].isParameter {
        guard known.insert([tensor, site.copy]).inserted else { continue }
        let use = strategies[site.op].operands[position]
        sites.append(
          ParameterSite(
            tensor: tensor, copy: site.copy, stage: stage(holding: site), layout: use.forward,
            sharing: ParameterSharing(of: tensor, readBy: site.op, use, in: decision, isLearned: isLearned[tensor])))
      }
    }
    return sites
  }

  func layout(of site: OperatorSite) -> Layout { strategies[site.op].result }

  /// An operator's retained result in the last step, over all micro-batches; nil on ranks other than 0.
  func result(of site: OperatorSite) throws(ExecutionError) -> GatheredTensor? {
    let tensor = graph.operators[site.op].result
    let dimensions = graph.tensors[tensor].dimensions
    let isPerSample = dimensions.contains { graph.axes[$0].role == .batch }
    let shape = dimensions.map { graph.axes[$0].role == .batch ? decision.job.batch : graph.axes[$0].extent }
    // A loss has an addend for each micro-batch; positions are the same in all of them.
    let microBatches = isPerSample || tensor == graph.loss ? decision.job.microBatches : 1
    var whole: GatheredTensor? = world.rank == 0 ? GatheredTensor(shape: shape) : nil
    for microBatch in 0..<microBatches {
      try collect(
        tensor, layout(of: site), stage: stage(holding: site), microBatch: microBatch, own: retained(site, microBatch), into: &whole)
    }
    return whole
  }

  /// A parameter's gradient in the last step; nil on ranks other than 0.
  func gradient(of site: ParameterSite) throws(ExecutionError) -> GatheredTensor? {
    var whole: GatheredTensor? = world.rank == 0 ? GatheredTensor(shape: graph.shape(site.tensor)) : nil
    let parameter = executor.program.parameters.firstIndex { $0.tensor == site.tensor && $0.copy == site.copy }
    try collect(
      site.tensor, site.layout, site.sharing, stage: site.stage, microBatch: 0, own: parameter.flatMap { executor.gradient(of: $0) }, into: &whole)
    return whole
  }

  /// The logits of the last position of every sample, `[samples, vocabulary]`, in the last step; nil on ranks other than 0.
  func lastLogits() throws(ExecutionError) -> GatheredTensor? {
    guard let tensor = graph.nextTokenLogits, let site = graph.site(producing: tensor) else { preconditionFailure("a model without logits") }
    let shape = graph.shape(tensor)
    var whole: GatheredTensor? = world.rank == 0 ? GatheredTensor(shape: [shape[0], shape[2]]) : nil
    for (rank, region, _) in holders(of: tensor, layout(of: site), stage: stage(holding: site)) {
      let last = [region[0], region[1].upperBound - 1..<region[1].upperBound, region[2]]
      let block = try executor.memory.take(count: last.elementCount)
      defer { executor.memory.release(block) }
      let values = executor.memory.floats(in: block)
      if rank == world.rank {
        guard let own = retained(site) else { preconditionFailure("\(graph.tensors[tensor].name) was not kept on rank \(rank)") }
        RegionTransfer(last, from: region, to: last).copy(own, into: values)
      }
      try bring(values, count: last.elementCount, from: rank)
      whole?.add(values, 0..<last.elementCount, of: [last[0], last[2]], rank: rank) { [($0, $0)] }
    }
    return whole
  }

  /// This rank's retained result of an operator in the last step.
  private func retained(_ site: OperatorSite, _ microBatch: Int = 0) -> UnsafeMutablePointer<Float>? {
    executor.retained.first { $0.op == site.op && $0.copy == site.copy && $0.microBatch == microBatch }
      .map { executor.memory.floats(in: $0.block) }
  }

  /// A parameter's values now; nil on ranks other than 0.
  private func value(of site: ParameterSite) throws(ExecutionError) -> GatheredTensor? {
    var whole: GatheredTensor? = world.rank == 0 ? GatheredTensor(shape: graph.shape(site.tensor)) : nil
    let parameter = executor.program.parameters.first { $0.tensor == site.tensor && $0.copy == site.copy }
    try collect(
      site.tensor, site.layout, site.sharing, stage: site.stage, microBatch: 0,
      own: parameter.map { executor.memory.floats($0.value) + $0.startInValue }, into: &whole)
    return whole
  }

  /// The parameters as the checkpoint's tensors; empty on ranks other than 0.
  func checkpointParameters() throws(ExecutionError) -> [NamedArray] {
    try checkpointTensors(parameters) { (site) throws(ExecutionError) in try value(of: site) }
  }

  /// The gradients as the checkpoint's tensors; empty on ranks other than 0.
  func checkpointGradients() throws(ExecutionError) -> [NamedArray] {
    try checkpointTensors(learnedParameters) { (site) throws(ExecutionError) in try gradient(of: site) }
  }

  /// Puts parameters, or what has their shapes, together as the tensors of a Hugging Face checkpoint.
  private func checkpointTensors(
    _ sites: [ParameterSite], _ whole: (ParameterSite) throws(ExecutionError) -> GatheredTensor?
  ) throws(ExecutionError) -> [NamedArray] {
    var arrays: [NamedArray] = []
    var known: [String: Int] = [:]
    for site in sites {
      guard let whole = try whole(site), let parameter = graph.tensors[site.tensor].parameter else { continue }
      for (source, part) in parameter.isStacked ? whole.elements.enumerated().map({ (parameter.element($0), $1) }) : [(parameter, whole)] {
        let name = Graph.name(source.checkpointName, copy: site.copy)
        let place = known[name] ?? arrays.count
        if known.updateValue(place, forKey: name) == nil {
          let zeros = [Float](repeating: 0, count: source.checkpointShape.reduce(1, *))
          arrays.append(NamedArray(name: name, shape: source.checkpointShape, values: zeros))
        }
        part.accumulate(into: &arrays[place].values, offset: source.offset, strides: source.strides)
      }
    }
    return arrays
  }

  private func stage(holding site: OperatorSite) -> Int {
    let segment = graph.segmentOfOperator[site.op]
    let holder = decision.stages.firstIndex { $0.units.contains { $0.segment == segment && $0.copies.contains(site.copy) } }
    guard let holder else { preconditionFailure("no stage holds copy \(site.copy) of \(graph.segments[segment].name)") }
    return decision.group(ofStage: holder)
  }

  private func collect(
    _ tensor: TensorID, _ layout: Layout, _ sharing: ParameterSharing = .none, stage: Int, microBatch: Int, own: UnsafeMutablePointer<Float>?,
    into whole: inout GatheredTensor?
  ) throws(ExecutionError) {
    let program = executor.program
    for (rank, region, elements) in holders(of: tensor, layout, sharing, stage: stage) {
      if rank == world.rank, own == nil { preconditionFailure("\(graph.tensors[tensor].name) was not kept on rank \(rank)") }
      let received = rank == 0 || world.rank != 0 ? nil : try executor.memory.take(count: elements.count)
      defer { if let received { executor.memory.release(received) } }
      guard let values = received.map({ executor.memory.floats(in: $0) }) ?? own else { continue }
      try bring(values, count: elements.count, from: rank)
      let global = program.globalRegion(region, of: tensor, microBatch: microBatch, microBatchSize: microBatchSize)
      whole?.add(values, elements, of: global, rank: rank) { program.pieces(of: $0, in: tensor) }
    }
  }

  /// The ranks of a stage that hold parts of a tensor, with their regions and the elements of these that they own; of equal copies one is enough.
  private func holders(
    of tensor: TensorID, _ layout: Layout, _ sharing: ParameterSharing = .none, stage: Int
  ) -> [(rank: Int, region: Region, elements: Range<Int>)] {
    let mesh = decision.mesh(ofGroup: stage)
    return decision.ranks(ofGroup: stage).enumerated().compactMap { place, rank in
      let coordinates = MeshPlace.coordinates(of: place, in: mesh)
      guard coordinates.indices.allSatisfy({ coordinates[$0] == 0 || layout[$0] != .replicated || sharing.axes.contains($0) }) else { return nil }
      let region = Shard.region(of: tensor, in: graph, layout: layout, mesh: mesh, coordinates: coordinates, shares: decision.shares)
      return (rank, region, sharing.part(of: region.elementCount, mesh: mesh, coordinates: coordinates))
    }
  }

  /// Sends a rank's values to rank 0, which has them at the same place afterwards.
  private func bring(_ values: UnsafeMutablePointer<Float>, count: Int, from rank: Int) throws(ExecutionError) {
    if rank == 0 { return }
    if rank == world.rank { try world.send(values, count: count, to: 0, tag: Self.tag).wait() }
    if world.rank == 0 { try world.receive(values, count: count, from: rank, tag: Self.tag).wait() }
  }
}

/// One operator of one copy of its segment.
struct OperatorSite: Hashable {
  let op: OperatorID
  let copy: Int
}

extension Graph {
  /// Every operator in the order of the forward pass.
  var operatorSites: [OperatorSite] {
    segments.flatMap { segment in (0..<segment.repeats).flatMap { copy in segment.operators.map { OperatorSite(op: $0, copy: copy) } } }
  }

  /// The operator that produces a tensor, in its last copy; for a segment's entry, the one whose result the segment before sends on.
  func site(producing tensor: TensorID) -> OperatorSite? {
    if let op = producer[tensor] { return OperatorSite(op: op, copy: segments[segmentOfOperator[op]].repeats - 1) }
    for (index, segment) in segments.enumerated().dropFirst() {
      if let position = segment.entries.firstIndex(of: tensor) { return site(producing: segments[index - 1].exits[position]) }
    }
    return nil
  }
}
