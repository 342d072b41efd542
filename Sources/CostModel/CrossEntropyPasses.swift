// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Strategies

/// Bytes that kernels move for each logit of a cross-entropy.
///
/// Fused, and in fp32, one kernel reads the logits, and one backward reads them and writes their gradient. Else, as in Megatron-LM's
/// `vocab_parallel_cross_entropy` and PyTorch's composite: the copy in fp32 (2 read, 4 written), the maximum (4), the
/// difference to it (4, 4), exponentials (4, 4), their sum (4) and the quotient (4, 4); backward the softmax less one at the label (4, 4), and the
/// gradient in 16 bits (4, 2).
struct CrossEntropyPasses {
  let forward: Double
  let backward: Double

  init(_ precision: Precision, _ kernel: CrossEntropyKernel) {
    let logit = Double(precision.elementBytes)
    (forward, backward) = precision.isMixed && kernel == .unfused ? (6 + 4 + 8 + 8 + 4 + 8, 8 + 6) : (logit, 2 * logit)
  }
}
