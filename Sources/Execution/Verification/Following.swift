// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Plans

/// Makes the reference on one rank go on from the forward results of the run that is verified, once they have been compared with its own.
///
/// Gradients of a function with kinks may only be compared at the same point: where rounding moves one of many values across a kink, they differ by
/// more than any tolerance of rounding, and neither is wrong. From equal forward results both sides of the comparison choose alike.
struct Following {
  let distributed: TensorGathering
  /// Of the reference.
  let decision: Decision

  /// On rank 0, where a forward pass of the reference has left its result.
  func replaceResult(of call: KernelCall, in program: Program, _ memory: ProgramMemory) throws(ExecutionError) {
    guard let whole = try distributed.result(of: OperatorSite(op: call.op, copy: call.copy)) else { return }
    let size = decision.job.batch / decision.job.microBatches
    let region = program.globalRegion(of: call.result, microBatch: call.microBatch, microBatchSize: size)
    let result = try memory.writable(call.result)
    // The loss is a sum over micro-batches, and nothing reads it.
    guard program.graph.operators[call.op].result != program.graph.loss else { return }
    let transfer = RegionTransfer(region, from: whole.shape.map { 0..<$0 }, to: region)
    whole.values.withUnsafeBufferPointer { if let source = $0.baseAddress { transfer.copy(source, into: result) } }
  }

  /// On the other ranks: their part in the same exchanges, in the order of the reference's forward passes, of which all come first.
  func takePart() throws(ExecutionError) {
    for _ in 0..<decision.job.microBatches { for site in decision.graph.operatorSites { _ = try distributed.result(of: site) } }
  }
}
