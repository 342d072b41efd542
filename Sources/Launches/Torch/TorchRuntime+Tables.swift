// SPDX-License-Identifier: GPL-3.0-or-later

/// The parts of a script that are the same for every plan: what its tables are made of, and what carries them out.
enum TorchRuntime {
  /// - Parameter isPipelined: whether the plan has several pipeline stages.
  static func imports(isPipelined: Bool) -> String {
    let pipelining = "from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B\n"
    let replicas = "from torch.nn.parallel import DistributedDataParallel\n"
    let anchor = "from torch.distributed.tensor import DTensor"
    return isPipelined ? imports.replacing(replicas, with: "").replacing(anchor, with: pipelining + anchor) : imports
  }

  private static let imports = #"""
    import argparse, contextlib, functools, json, os, pathlib, sys, time
    from dataclasses import dataclass

    import numpy as np
    import torch
    import torch.distributed as dist
    import torch.nn as nn
    import torch.nn.functional as F
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, Replicate, Shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel, PrepareModuleInput, PrepareModuleInputOutput, PrepareModuleOutput, RowwiseParallel, SequenceParallel, loss_parallel,
        parallelize_module)
    from torch.nn.parallel import DistributedDataParallel
    from torch.utils.checkpoint import checkpoint
    """#

  static let tableTypes = #"""
    @dataclass
    class Op:
        """What is done with one operator, which is the module of that name."""
        split: str = "replicate"    # what the axis tp splits, in the words of `tpplan search --pin`
        style: object = None        # how its module is put on the axis tp
        zero: int = 0               # the ZeRO stage of its weights
        over: str = ""              # the mesh axes over which its weights' gradients, or a loss's parts, are summed


    @dataclass
    class Part:
        """Consecutive layers that are alike, or what stands before or after layers."""
        name: str                   # in PLAN
        module: str = ""            # the name of a layer; none where it is no layer
        first: int = 0              # the first layer's number
        copies: int = 1
        recompute: str = "none"     # full: layers are computed again in the backward pass; selective: their attention alone


    @dataclass
    class View:
        """Where a parameter stands in a checkpoint's tensor: its first element, and for each dimension its factors' extents and strides."""
        tensor: str
        first: int
        dimensions: list
    """#

  static let options = #"""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=1)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--weights", help="a folder of safetensors files with Hugging Face's names; without, values made from the seed")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--lr", type=float, default=1e-4)
    OPTIONS = options.parse_args()
    """#

  /// The base of all modules that are made of operators.
  static let graph = #"""
    class Graph(nn.Module):
        """Operators as modules, under their names in the plan."""

        def __init__(self, operators, recompute="none"):
            super().__init__()
            self.recompute = recompute
            for name, module in operators.items():
                *path, last = name.split(".")
                owner = self
                for step in path:
                    if step not in owner._modules:
                        owner.add_module(step, nn.Module())
                    owner = owner._modules[step]
                for key, child in owner._modules.get(last, nn.Module())._modules.items():
                    module.add_module(key, child)
                owner.add_module(last, module)
                if recompute == "selective" and hasattr(module, "recompute"):   # attention
                    module.recompute = True

        def forward(self, *tensors):
            if self.recompute == "full" and torch.is_grad_enabled():
                return checkpoint(self.run, *tensors, use_reentrant=False)
            return self.run(*tensors)

    """#

  /// What makes and finds the layers of a model that one rank has whole.
  static let wholeLayers = #"""
    def layers(part, kind):
        """A part's layers, by the names of their modules."""
        part = next(p for p in PARTS if p.name == part)
        return {part.module.replace("{i}", str(i)): kind(part.recompute) for i in range(part.first, part.first + part.copies)}


    def parts(model):
        """Each layer, and what stands around layers: its row of PARTS, its number, its module and its rows of PLAN."""
        for part in PARTS:
            for number in range(part.first, part.first + part.copies):
                yield part, number, model.get_submodule(part.module.replace("{i}", str(number))), PLAN[part.name]
    """#
}
