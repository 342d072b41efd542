// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Lowering
import ModelGraph
import Plans
import Quantities
import Strategies

/// What one rank's tensors take through a step, beside the weights, gradients and optimizer state that stay: its program carried out on paper, with the
/// sizes of the plan's number format. A buffer is there from the instruction that writes it until it is freed.
///
/// Scratch memory of kernels is not in it: a prediction's peak counts that as transient.
package struct MemoryTimeline: Sendable {
  /// What a buffer is there for.
  package enum Part: Int, CaseIterable, Sendable {
    /// Results, and what operators keep beside them, from a forward pass until the backward pass has read them.
    case activations
    /// Results that are there for a part of a forward pass.
    case results
    /// What a backward pass has computed, or gathered, again.
    case recomputed
    /// Gradients of activations.
    case gradients
    /// Whole weights, and their whole gradients, of which ranks hold parts; gradients of weights that are updated in the backward pass.
    case gathered
    case inputs
  }

  /// From this time on, until the next sample.
  package struct Sample: Hashable, Sendable {
    package var time: Seconds
    /// By `Part`.
    package var bytes: [Bytes]

    package subscript(part: Part) -> Bytes { bytes[part.rawValue] }
    package var total: Bytes { bytes.reduce(.zero, +) }
  }

  /// By time; where several are at one time they follow each other as the instructions do.
  package let samples: [Sample]
  /// For each pass of the program, what is there after it.
  package let afterPasses: [Sample]

  init(_ program: Program, starts: [Seconds], sizes: BufferSizes) {
    var parts = program.parts
    var isLive = [Bool](repeating: false, count: program.buffers.count)
    var live = [Bytes](repeating: .zero, count: Part.allCases.count)
    var samples = [Sample(time: .zero, bytes: live)]
    var after: [Sample] = []
    var nextPass = 0
    for (index, instruction) in program.instructions.enumerated() {
      var changes = false
      func add(_ buffer: BufferID, isThere: Bool) {
        guard let part = parts[buffer], isLive[buffer] != isThere else { return }
        isLive[buffer] = isThere
        let size = sizes[buffer]
        live[part.rawValue] = isThere ? live[part.rawValue] + size : live[part.rawValue] - size
        changes = true
      }
      if case .free(let buffer) = instruction {
        add(buffer, isThere: false)
      } else {
        if let logits = program.overwritten(by: index), sizes[logits.operand] == sizes[logits.gradient] {
          add(logits.operand, isThere: false)
          // It counts as what it replaces, as it does in a prediction.
          parts[logits.gradient] = parts[logits.operand]
        }
        for buffer in instruction.written { add(buffer, isThere: true) }
      }
      if changes { samples.append(Sample(time: starts[index], bytes: live)) }
      while nextPass < program.passes.count, program.passes[nextPass].instructions.upperBound == index + 1 {
        after.append(Sample(time: starts[index], bytes: live))
        nextPass += 1
      }
    }
    (self.samples, afterPasses) = (samples, after)
  }

  /// The sample with most in it, the first of several.
  package var peak: Sample { samples.reduce(samples[0]) { $1.total > $0.total ? $1 : $0 } }

  /// So many equal parts of the time until `end`, of each the sample with most in it: what a picture shows.
  package func envelope(until end: Seconds, count: Int) -> [Sample] {
    var result: [Sample] = []
    var (next, last) = (0, samples[0])
    for bucket in 0..<count {
      let stop = end * (Double(bucket + 1) / Double(count))
      var most = last
      while next < samples.count, samples[next].time < stop || bucket == count - 1 {
        last = samples[next]
        if last.total > most.total { most = last }
        next += 1
      }
      result.append(Sample(time: end * (Double(bucket) / Double(count)), bytes: most.bytes))
    }
    return result
  }
}

/// What each buffer of a program takes in the number format of the plan.
struct BufferSizes {
  private var bytes: [Bytes]

  subscript(buffer: BufferID) -> Bytes { bytes[buffer] }

  init(_ program: Program, _ pricing: Pricing) {
    let whole = Layout(replicatedOn: program.mesh.count)
    bytes = program.buffers.map { buffer in
      let elements = Double(pricing.graph.count(buffer.tensor))
      // Logits are kept in fp32; their gradient, like all others, is not.
      let each: Double =
        switch buffer.role {
        case .activation where elements > 0 && pricing.isActivation(buffer.tensor): pricing.keptBytes(buffer.tensor, whole).value / elements
        case .wholeGradient, .parameterGradient: Double(pricing.gradientBytesSent)
        case .activation, .gradient, .parameter, .gatheredParameter, .input: Double(pricing.elementBytes(buffer.tensor))
        }
      return Bytes(Double(buffer.count) * each)
    }
    // What an operator keeps beside its operands has sizes of its own, and may be scores that the executor never writes.
    for case .kernel(let call) in program.instructions where call.phase != .backward && !call.extras.isEmpty {
      for extra in call.extras { bytes[extra] = .zero }
      bytes[call.extras[0]] = pricing.cost(call.op, program.strategies[call.op]).extras
    }
  }
}

extension Program {
  /// What the gradient of the loss goes over: the logits, where nothing reads them after that.
  ///
  /// It is so where both are of one size, which they are not in 16-bit formats, whose logits are kept in fp32.
  fileprivate func overwritten(by index: Int) -> (operand: BufferID, gradient: BufferID)? {
    guard case .kernel(let call) = instructions[index], call.phase == .backward, call.resultGradient == nil,
      let operand = call.operands.first, let gradient = call.operandGradients.first ?? nil
    else { return nil }
    let freed = instructions[(index + 1)...].lazy.map { if case .free(let buffer) = $0 { buffer } else { nil } }.prefix { $0 != nil }
    return freed.contains(operand) ? (operand, gradient) : nil
  }

  /// For each buffer, what it is there for; nil for what is there all the time.
  fileprivate var parts: [MemoryTimeline.Part?] {
    var parts = buffers.map { buffer -> MemoryTimeline.Part? in
      switch buffer.role {
      case .activation: .activations
      case .gradient: .gradients
      case .gatheredParameter, .wholeGradient: .gathered
      case .parameterGradient(let parameter): parameters[parameter].isPassing ? .gathered : nil
      case .input: .inputs
      case .parameter: nil
      }
    }
    /// The pass that writes each.
    var written = [Int?](repeating: nil, count: buffers.count)
    for (number, pass) in passes.enumerated() {
      for instruction in instructions[pass.instructions] {
        if case .free(let buffer) = instruction {
          if parts[buffer] == .activations, written[buffer] == number { parts[buffer] = .results }
        } else {
          for buffer in instruction.written where parts[buffer] == .activations && written[buffer] == nil {
            written[buffer] = number
            if !pass.pass.isForward { parts[buffer] = .recomputed }
          }
        }
      }
    }
    return parts
  }
}

extension Instruction {
  /// The buffers that it is the first to write.
  fileprivate var written: [BufferID] {
    switch self {
    case .load(let buffer, _), .receive(let buffer, _, _), .receiveBoxes(let buffer, _, _), .zero(let buffer): [buffer]
    case .kernel(let call) where call.phase == .backward: call.operandGradients.compactMap { $0 }
    case .kernel(let call): [call.result] + call.extras
    case .reshard(_, _, let buffer), .gatherParameter(_, _, let buffer), .accumulate(_, let buffer): [buffer]
    case .send, .sendBoxes, .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied, .update, .free: []
    }
  }
}
