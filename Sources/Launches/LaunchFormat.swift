// SPDX-License-Identifier: GPL-3.0-or-later

/// A program's own way to say how training is split over devices.
package enum LaunchFormat: String, Hashable, Sendable, CaseIterable {
  /// A command line of Megatron-LM's `pretrain_*.py`, alone or in a shell script.
  case megatron
  /// A DeepSpeed configuration (JSON).
  case deepspeed
  /// A torchtitan job (TOML).
  case torchtitan
  /// A tensor-parallel plan of Hugging Face transformers: styles by module name (JSON), alone or in a `config.json`.
  case huggingFace = "hf-tp-plan"
  /// A PyTorch script that `tpplan export --to torch` wrote: the tables at its head.
  case torch
}
