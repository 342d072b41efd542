// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Strategies

/// One kernel call while it is carried out: the operator, its local extents, and the memory of its tensors.
///
/// The families of operators extend it, one file each; `forward` and `backward` choose among them.
struct OperatorCall {
  let call: KernelCall
  let op: Operator
  let program: Program
  let memory: ProgramMemory
  let groups: MeshGroups
  /// Buffers that are freed right after this call: their memory may be taken over.
  let dying: [BufferID]
  let constants: OperatorConstants
  /// What the labels' sum of losses is multiplied by: 1 / the global number of labels that count.
  let lossScale: Float
  /// Of a generation: keys and values of the positions before those that the step works on.
  let cache: KeyValueCache?

  /// What is no pass over rows.
  func forward() throws(ExecutionError) {
    switch op.kind {
    case .embedding: try embeddingForward()
    case .positionEmbedding(let offset): try positionEmbeddingForward(offset: offset)
    case .linear: try linearForward()
    case .attention(let causal, _): if let cache { try attentionForward(with: cache) } else { try attentionForward(causal: causal) }
    case .rotary: try rotaryForward()
    case .add: try broadcastAddForward()
    case .patches(let size): try patchesForward(size: size)
    case .prependToken: try prependTokenForward()
    case .selectToken(let position): try selectTokenForward(position: position)
    case .convolution(let stride, let padding): try convolutionForward(stride: stride, padding: padding)
    case .batchNorm(let epsilon): try batchNormForward(epsilon: Float(epsilon))
    case .maxPool(let size, let stride, let padding): try maxPoolForward(size: size, stride: stride, padding: padding)
    case .averagePool: try averagePoolForward()
    case .route(let topK, let renormalises): try routeForward(topK: topK, renormalises: renormalises)
    case .dispatch: try dispatchForward()
    case .expertLinear: try expertLinearForward()
    case .combine: try combineForward()
    case .sigmoidGate: try sigmoidGateForward()
    case .crossEntropy: try crossEntropyForward()
    case .selectMarkedToken(let id): try selectMarkedTokenForward(id: id)
    case .unitNorm: try unitNormForward()
    case .similarity: try similarityForward()
    case .learnedScale(let function): try learnedScaleForward(function)
    case .broadcast: try broadcastForward()
    case .concatenate: try concatenateForward()
    case .contrastiveLoss: try contrastiveLossForward()
    case .bias, .layerNorm, .rmsNorm, .activation, .dropout, .pass, .scale, .multiply: preconditionFailure("\(op.name) is a pass over rows")
    }
  }

  /// What is no pass over rows.
  func backward() throws(ExecutionError) {
    switch op.kind {
    case .embedding: try embeddingBackward()
    case .positionEmbedding(let offset): try positionEmbeddingBackward(offset: offset)
    case .linear: try linearBackward()
    case .attention(let causal, _): try attentionBackward(causal: causal)
    case .rotary: try rotaryBackward()
    case .layerNorm: try layerNormBackward()
    case .rmsNorm(_, let addsOne): try rmsNormBackward(addsOne: addsOne)
    case .add: try addBackward()
    case .multiply: try multiplyBackward()
    case .patches: break
    case .prependToken: try prependTokenBackward()
    case .selectToken(let position): try selectTokenBackward(position: position)
    case .convolution(let stride, let padding): try convolutionBackward(stride: stride, padding: padding)
    case .batchNorm: try batchNormBackward()
    case .maxPool(let size, let stride, let padding): try maxPoolBackward(size: size, stride: stride, padding: padding)
    case .averagePool: try averagePoolBackward()
    case .route(let topK, let renormalises): try routeBackward(topK: topK, renormalises: renormalises)
    case .dispatch: try dispatchBackward()
    case .expertLinear: try expertLinearBackward()
    case .combine: try combineBackward()
    case .sigmoidGate: try sigmoidGateBackward()
    case .crossEntropy: try crossEntropyBackward()
    case .selectMarkedToken(let id): try selectMarkedTokenBackward(id: id)
    case .unitNorm: try unitNormBackward()
    case .similarity: try similarityBackward()
    case .learnedScale(let function): try learnedScaleBackward(function)
    case .broadcast: try broadcastBackward()
    case .concatenate: try concatenateBackward()
    case .contrastiveLoss: try contrastiveLossBackward()
    case .bias, .activation, .dropout, .pass, .scale: preconditionFailure("\(op.name) is a pass over rows")
    }
  }

  // MARK: - Operands and results

  func operand(_ index: Int) -> UnsafePointer<Float> { UnsafePointer(memory.floats(call.operands[index])) }
  func wholeNumbers(_ index: Int) -> UnsafePointer<Int32> { UnsafePointer(memory.integers(call.operands[index])) }

  /// The result's memory, where the table of `ResultPlace` puts it: fresh, or an operand's, which may hold the result's values already.
  @discardableResult
  func newResult() throws(ExecutionError) -> UnsafeMutablePointer<Float> {
    try memory.allocate(call.result, program.resultPlace(of: call), dying: dying)
  }

  func newExtra(_ index: Int) throws(ExecutionError) -> UnsafeMutablePointer<Float> { try memory.allocate(call.extras[index]) }
  func extra(_ index: Int) -> UnsafePointer<Float> { UnsafePointer(memory.floats(call.extras[index])) }
  /// The values that forward gave, where the operator's rule keeps them.
  var result: UnsafePointer<Float> { UnsafePointer(memory.floats(call.result)) }

  // MARK: - Gradients

  var resultGradientBuffer: BufferID {
    guard let buffer = call.resultGradient else { preconditionFailure("\(op.name) has no result gradient") }
    return buffer
  }
  var resultGradient: UnsafePointer<Float> { UnsafePointer(memory.floats(resultGradientBuffer)) }

  /// Memory for an operand's gradient that the kernel overwrites, where the table of `ResultPlace` puts it; nil where none is wanted.
  @discardableResult
  func newGradient(_ operand: Int) throws(ExecutionError) -> UnsafeMutablePointer<Float>? {
    guard let buffer = call.operandGradients[operand] else { return nil }
    return try memory.allocate(buffer, program.gradientPlace(of: operand, in: call), dying: dying)
  }

  /// An operand's gradient for a kernel that adds to it: a parameter's resident one, or new zeros. Nil where none is wanted.
  func accumulator(_ operand: Int) throws(ExecutionError) -> UnsafeMutablePointer<Float>? {
    try gradientToAddTo(operand).map(memory.filledAccumulator)
  }

  /// The buffer of an operand's gradient for a kernel that adds to it, with memory; it counts as 0 where nothing was added yet.
  func gradientToAddTo(_ operand: Int) throws(ExecutionError) -> BufferID? {
    guard let buffer = call.operandGradients[operand] else { return nil }
    if !memory.has(buffer) {
      try memory.allocate(buffer)
      memory.setZero(buffer)
    }
    return buffer
  }

  func isParameter(_ operand: Int) -> Bool { program.graph.tensors[op.operands[operand]].isParameter }

  // MARK: - Extents

  /// This rank's part of each iteration axis of the operator's rule.
  var iteration: [Range<Int>] { program.iterationRegions[call.op] }

  /// Positions that lie before the first of this step.
  var positionsBefore: Int { cache?.filled ?? 0 }

  func region(_ operand: Int) -> Region { program.buffers[call.operands[operand]].region }
  func extents(_ operand: Int) -> [Int] { region(operand).map(\.count) }
  var resultExtents: [Int] { program.buffers[call.result].region.map(\.count) }
  var resultCount: Int { memory.count(call.result) }
  /// The result as rows of its last dimension.
  var rowsAndColumns: (rows: Int, columns: Int) {
    let extents = resultExtents
    return (extents.dropLast().reduce(1, *), extents.last ?? 1)
  }

  /// Calls `body` with scratch memory for `count` floats.
  func withScratch(_ count: Int, _ body: (UnsafeMutablePointer<Float>) throws(ExecutionError) -> Void) throws(ExecutionError) {
    let block = try memory.take(count: count)
    defer { memory.release(block) }
    try body(memory.floats(in: block))
  }
}
