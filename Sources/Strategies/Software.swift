// SPDX-License-Identifier: GPL-3.0-or-later

/// How a training program does its work: what changes its time and memory, and none of its values.
package struct Software: Hashable, Sendable {
  package var attention = AttentionKernel.fused
  package var crossEntropy = CrossEntropyKernel.fused
  package var gradients = GradientStorage.accumulated
  package var overlap = Overlap.none
  package var boundaries = BoundaryMessages.whole
  package var updates = WeightUpdates.afterBackward

  package init() {}

  /// What is not usual, for people; empty where all is.
  package var remarks: [String] {
    [
      attention == .unfused ? "unfused attention" : nil, crossEntropy == .unfused ? "unfused cross-entropy" : nil,
      gradients == .accumulated ? nil : "gradients \(gradients.rawValue)",
      boundaries == .scattered ? "boundaries scattered" : nil, overlap == .weights ? "weights' messages behind products" : nil,
      updates == .inBackward ? "weights updated in the backward pass" : nil,
    ].compactMap { $0 }
  }
}

/// How attention is computed.
package enum AttentionKernel: String, Hashable, Sendable, CaseIterable {
  /// In blocks, with the scores never whole in memory (Dao et al. 2022, "FlashAttention").
  case fused
  /// As products and a softmax, each of which writes its whole result: the score matrix is kept for backward. Rings are fused always, as theirs
  /// is a softmax in parts.
  case unfused
}

/// How a cross-entropy is computed.
package enum CrossEntropyKernel: String, Hashable, Sendable, CaseIterable {
  /// One kernel reads the logits, and one backward reads them and writes their gradient.
  case fused
  /// In 16-bit training each step is a kernel of its own on a copy in fp32 (Megatron-LM's vocabulary-parallel one, PyTorch's composite).
  case unfused
}

/// In which precisions gradients of 16-bit training stand in memory.
package enum GradientStorage: String, Hashable, Sendable, CaseIterable {
  /// Accumulated in fp32, alone: products add to them (Megatron-LM's gradient accumulation fusion).
  case accumulated
  /// As the backward pass makes them, in the precision of the weights, alone: they are added up, and summed over replicas, in 16 bits (Megatron-LM and
  /// DeepSpeed under fp16).
  case working
  /// Both: fp32 beside the precision of the weights (nanotron, DeepSpeed's bf16 optimizer).
  case both
}

/// What ranks that hold the same part of a stage's result send to the next stage.
package enum BoundaryMessages: String, Hashable, Sendable, CaseIterable {
  /// Each all of it, to its counterpart.
  case whole
  /// Each a share, which its counterparts gather (Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters", §4.1).
  case scattered
}

/// When weights are updated.
package enum WeightUpdates: String, Hashable, Sendable, CaseIterable {
  /// When the gradients of all of them are there.
  case afterBackward = "after"
  /// Each as soon as its own gradient is complete, whose memory is free again then (Lv et al. 2023, "Full Parameter Fine-tuning for Large Language Models
  /// with Limited Resources", §3). With several micro-batches, and for what `Job.updatesInBackward` leaves out, after the backward pass all the same.
  case inBackward = "in-backward"
}

/// What travels while the device computes.
package enum Overlap: String, Hashable, Sendable, CaseIterable {
  /// Nothing but blocks of attention's rings.
  case none
  /// Sums of gradients behind the products of backward that make them, and ZeRO's gathering of weights behind the products that use them, each
  /// weight's behind its own (data parallelism in buckets: Li et al. 2020, "PyTorch Distributed", §3.2.3; FSDP's prefetching: Zhao et al. 2023, §3.3).
  case weights
}
