#!/usr/bin/env python3
"""tiny-gpt2 on 4 ranks, as tpplan planned it.

  torchrun --nproc-per-node 4 THIS_FILE --steps 5

MESH, JOB, PARTS, STAGES and PLAN are the plan, and what drives the rest. Weights, tokens and labels are those of `tpplan run`, and so are the losses;
--weights takes a checkpoint's. The last line of standard output is a JSON object with the losses, each before its step's update.
"""


import argparse, contextlib, functools, json, os, pathlib, sys, time
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel, PrepareModuleInput, PrepareModuleInputOutput, PrepareModuleOutput, RowwiseParallel, SequenceParallel, loss_parallel,
    parallelize_module)
from torch.utils.checkpoint import checkpoint


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


# ---------------------------------------------------------------- the plan
# Axes, outermost first: neighbours on the last one are neighbouring ranks. The axes dp share out the batch, pp has the pipeline.
MESH = {"pp": 2, "tp": 2}
JOB = {"model": "tiny-gpt2", "mode": "train", "batch": 8, "micro_batches": 8, "sequence": 16, "dtype": "bf16", "optimizer": "adamw", "schedule": "interleaved"}
INPUTS = {"input_ids": (51, (JOB["sequence"],)), "labels": (51, (JOB["sequence"],))}
PARTS = [
    Part("embedding"),
    Part("block", "transformer.h.{i}", copies=4),
    Part("head"),
]
# Pipeline stages in the model's order, each with layers of parts by their numbers; rank r of the axis pp has r, r + 2, ….
STAGES = [
    {"embedding": range(0, 1), "block": range(0, 1)},
    {"block": range(1, 2)},
    {"block": range(2, 3)},
    {"block": range(3, 4), "head": range(0, 1)},
]
# What passes between stages after a part: a sample's shape of each tensor, and how the axis tp has it.
CARRIED = {
    "embedding": [((JOB["sequence"], 32), Replicate())],
    "block": [((JOB["sequence"], 32), Replicate())],
}
PLAN = {
    "embedding": {
        "transformer.wte": Op("vocab", RowwiseParallel(input_layouts=Replicate())),
        "transformer.wpe": Op("replicate"),
        "transformer.wpe.add": Op("replicate"),
        "transformer.drop": Op("replicate"),
    },
    "block": {
        "ln_1": Op("replicate"),
        "shared.ln_1": Op(style=PrepareModuleOutput(output_layouts=Replicate(), desired_output_layouts=Replicate(), use_local_output=False)),
        "attn.c_attn.q": Op("column", ColwiseParallel()),
        "attn.c_attn.q.bias": Op("heads"),
        "attn.c_attn.k": Op("column", ColwiseParallel()),
        "attn.c_attn.k.bias": Op("heads"),
        "attn.c_attn.v": Op("column", ColwiseParallel()),
        "attn.c_attn.v.bias": Op("heads"),
        "attn.core": Op("heads"),
        "attn.c_proj": Op("row", RowwiseParallel()),
        "attn.c_proj.bias": Op("replicate"),
        "attn.dropout": Op("replicate"),
        "attn.residual": Op("replicate"),
        "ln_2": Op("replicate"),
        "mlp.c_fc": Op("column", ColwiseParallel()),
        "mlp.c_fc.bias": Op("column"),
        "mlp.act": Op("column"),
        "mlp.c_proj": Op("row", RowwiseParallel()),
        "mlp.c_proj.bias": Op("replicate"),
        "mlp.dropout": Op("replicate"),
        "mlp.residual": Op("replicate"),
    },
    "head": {
        "transformer.ln_f": Op("replicate"),
        "lm_head": Op("vocab", ColwiseParallel(use_local_output=False)),
        "loss": Op("vocab"),
    },
}
LOSS = PLAN["head"]["loss"]
# Modules that have another's weight; on another stage, one that is equal.
TIED = {"lm_head": "transformer.wte"}
# Parameters that stand in a checkpoint otherwise than here.
VIEWS = {
    "block": {
        "attn.c_attn.q.weight": View("transformer.h.{i}.attn.c_attn.weight", 0, [[(32, 1)], [(32, 96)]]),
        "attn.c_attn.q.bias": View("transformer.h.{i}.attn.c_attn.bias", 0, [[(32, 1)]]),
        "attn.c_attn.k.weight": View("transformer.h.{i}.attn.c_attn.weight", 32, [[(32, 1)], [(32, 96)]]),
        "attn.c_attn.k.bias": View("transformer.h.{i}.attn.c_attn.bias", 32, [[(32, 1)]]),
        "attn.c_attn.v.weight": View("transformer.h.{i}.attn.c_attn.weight", 64, [[(32, 1)], [(32, 96)]]),
        "attn.c_attn.v.bias": View("transformer.h.{i}.attn.c_attn.bias", 64, [[(32, 1)]]),
        "attn.c_proj.weight": View("transformer.h.{i}.attn.c_proj.weight", 0, [[(32, 1)], [(32, 32)]]),
        "mlp.c_fc.weight": View("transformer.h.{i}.mlp.c_fc.weight", 0, [[(128, 1)], [(32, 128)]]),
        "mlp.c_proj.weight": View("transformer.h.{i}.mlp.c_proj.weight", 0, [[(32, 1)], [(128, 32)]]),
    },
    "head": {
        "lm_head.weight": View("transformer.wte.weight", 0, [[(51, 32)], [(32, 1)]]),
    },
}


options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--steps", type=int, default=1)
options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
options.add_argument("--weights", help="a folder of safetensors files with Hugging Face's names; without, values made from the seed")
options.add_argument("--seed", type=int, default=1)
options.add_argument("--lr", type=float, default=1e-4)
OPTIONS = options.parse_args()


# ---------------------------------------------------------------- values
# Those of `tpplan run`: splitmix64 (Steele, Lea & Flood 2014), keyed by the seed and a name, at the position in the checkpoint's tensor.
GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mixed(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bits(name, index):
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & MASK
    key = mixed(np.array([OPTIONS.seed * GOLDEN & MASK ^ hashed], np.uint64))
    return mixed((index.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN) + key)


def uniform(name, index):
    """Numbers in [-1, 1)."""
    return (bits(name, index) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def choices(name, index, below):
    return (((bits(name, index) >> np.uint64(32)) * np.uint64(below)) >> np.uint64(32)).astype(np.int64)


@functools.cache
def stored():
    """The tensors of all safetensors files, flat, mapped, and whether their bits are bfloat16's."""
    types = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    tensors = {}
    for path in sorted(pathlib.Path(OPTIONS.weights).glob("*.safetensors")):
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            if entry["dtype"] in types:
                begin, end = entry["data_offsets"]
                data = np.memmap(path, np.uint8, "r", 8 + size + begin, (end - begin,))
                tensors[name] = data.view(types[entry["dtype"]]), entry["dtype"] == "BF16"
    return tensors


def fail(problem):
    """Ends this rank, and with it all that torchrun has started."""
    print(f"{os.path.basename(__file__)}: {problem}", file=sys.stderr, flush=True)
    os._exit(1)   # for the same reason as at the end of train()


def values(tensor, index, is_norm):
    if OPTIONS.weights:
        if tensor not in stored():
            fail(f"{OPTIONS.weights} has no safetensors file with a tensor {tensor} of F32, F16 or BF16")
        data, is_bfloat16 = stored()[tensor]
        if index.size and index.max() >= len(data):
            fail(f"{OPTIONS.weights}: {tensor} has {len(data)} elements, fewer than the model's")
        found = data[index]
        return (found.astype(np.uint32) << 16).view(np.float32) if is_bfloat16 else found.astype(np.float32)
    small = np.float32(0.02) * uniform(tensor, index)
    return np.float32(1) + small if is_norm else small


def positions(parameter):
    """For each dimension the positions that this rank has on the axis tp."""
    ranges = [np.arange(extent) for extent in parameter.shape]
    if isinstance(parameter, DTensor) and parameter.placements[0].is_shard():
        mesh, cut = parameter.device_mesh, parameter.placements[0].dim
        size = -(-parameter.shape[cut] // mesh.size())
        ranges[cut] = ranges[cut][mesh.get_local_rank() * size:][:size]
    return ranges


def offsets(factors, positions):
    total = np.zeros_like(positions)
    for extent, stride in reversed(factors):
        total += positions % extent * stride
        positions = positions // extent
    return total


@torch.no_grad()
def fill(part, number, module, name):
    """Gives an operator's parameters their values."""
    for key, parameter in module.named_parameters(recurse=False):
        view = VIEWS.get(part.name, {}).get(f"{name}.{key}")
        if view is None and key == "weight" and name in TIED:
            continue
        if view is None:
            strides = np.cumprod((1, *parameter.shape[:0:-1]))[::-1].tolist()
            view = View(f"{part.module}.{name}.{key}".lstrip("."), 0, [[pair] for pair in zip(parameter.shape, strides)])
        tensor, is_norm = view.tensor.replace("{i}", str(number)), isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and key == "weight"
        rows, *columns = map(offsets, view.dimensions, positions(parameter))
        columns = columns[0] if columns else np.zeros(1, np.int64)
        target, size = local(parameter), max(1, (1 << 20) // max(1, len(columns)))
        for start in range(0, len(rows), size):
            some = rows[start:start + size, None] + columns[None]
            found = torch.from_numpy(values(tensor, view.first + some, is_norm))
            target[start:start + size] = found.reshape(target[start:start + size].shape)


def inputs(first, count):
    """The inputs of some samples of the global batch, by name."""
    def made(name, below, shape):
        # Of [sample, position], tokens are numbered through all sequences, each with one that follows its last.
        samples = np.arange(first, first + count)
        if name in ("input_ids", "labels") and len(shape) == 1:
            index = samples[:, None] * (shape[0] + 1) + np.arange(shape[0]) + (name == "labels")
            return choices("tokens", index, below)
        if name == "labels":
            return choices(name, samples, below)
        if name == "pixel_values":
            size = int(np.prod(shape))
            return uniform(name, samples[:, None] * size + np.arange(size)).reshape(count, *shape)
        return np.full((count, *shape), name == "attention_mask", np.int64)
    return {name: torch.from_numpy(made(name, *what)) for name, what in INPUTS.items()}


# ---------------------------------------------------------------- the model
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



def layers(part, kind, stage):
    """A stage's layers of a part, by the names of their modules."""
    part = next(p for p in PARTS if p.name == part)
    return {part.module.replace("{i}", str(i)): kind(part.recompute) for i in stage.get(part.name, ())}


def parts(model):
    """Each layer of a stage, and what it has around layers: its row of PARTS, its number, its module and its rows of PLAN."""
    for part in PARTS:
        # Of what stands around layers, a stage may have conversions alone.
        for number in model.stage.get(part.name, ()) if part.module else range(1):
            module = model.get_submodule(part.module.replace("{i}", str(number)))
            names = {name for name, _ in module.named_modules()}
            yield part, number, module, {name: row for name, row in PLAN[part.name].items() if name.removesuffix(".bias") in names or name in names}


class Attention(nn.Module):
    """Over heads that are one dimension: [batch, sequence, heads * size]. Fewer keys' heads than queries' are shared."""

    def __init__(self, size, causal):
        super().__init__()
        self.size, self.causal, self.recompute = size, causal, False

    def forward(self, query, key, value, mask=None):
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.run, query, key, value, mask, use_reentrant=False)
        return self.run(query, key, value, mask)

    def run(self, query, key, value, mask):
        query, key, value = (t.unflatten(-1, (-1, self.size)).transpose(1, 2) for t in (query, key, value))
        causal = self.causal
        if mask is not None:
            mask = mask[:, None, None, :].bool()
            if causal:
                mask, causal = mask & torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=mask.device).tril(), False
        shared = query.shape[1] != key.shape[1]
        result = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=shared)
        return result.transpose(1, 2).flatten(-2)


class Add(nn.Module):
    def forward(self, x, y):
        return x + y


class CrossEntropy(nn.Module):
    """This rank's part of the mean over all labels of the global batch."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, logits, labels):
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum") / self.labels


class Layer(Graph):
    def __init__(self, recompute):
        super().__init__({
            "ln_1": nn.LayerNorm(32, eps=1e-05),
            "shared.ln_1": nn.Identity(),
            "attn.c_attn.q": nn.Linear(32, 32),
            "attn.c_attn.k": nn.Linear(32, 32),
            "attn.c_attn.v": nn.Linear(32, 32),
            "attn.core": Attention(8, causal=True),
            "attn.c_proj": nn.Linear(32, 32),
            "attn.dropout": nn.Identity(),
            "attn.residual": Add(),
            "ln_2": nn.LayerNorm(32, eps=1e-05),
            "mlp.c_fc": nn.Linear(32, 128),
            "mlp.act": nn.GELU(approximate="tanh"),
            "mlp.c_proj": nn.Linear(128, 32),
            "mlp.dropout": nn.Identity(),
            "mlp.residual": Add(),
        }, recompute)

    def run(self, x):
        ln_1 = self.ln_1(x)
        shared_ln_1 = self.shared.ln_1(ln_1)
        attn_c_attn_q = self.attn.c_attn.q(shared_ln_1)
        attn_c_attn_k = self.attn.c_attn.k(shared_ln_1)
        attn_c_attn_v = self.attn.c_attn.v(shared_ln_1)
        attn_core = self.attn.core(attn_c_attn_q, attn_c_attn_k, attn_c_attn_v)
        attn_c_proj = self.attn.c_proj(attn_core)
        attn_dropout = self.attn.dropout(attn_c_proj)
        attn_residual = self.attn.residual(x, attn_dropout)
        ln_2 = self.ln_2(attn_residual)
        mlp_c_fc = self.mlp.c_fc(ln_2)
        mlp_act = self.mlp.act(mlp_c_fc)
        mlp_c_proj = self.mlp.c_proj(mlp_act)
        mlp_dropout = self.mlp.dropout(mlp_c_proj)
        mlp_residual = self.mlp.residual(attn_residual, mlp_dropout)
        return mlp_residual


class Model(Graph):
    """What a stage has of the model."""

    def __init__(self, stage):
        operators = {}
        if "embedding" in stage:
            operators |= {
                "transformer.wte": nn.Embedding(51, 32),
                "transformer.wpe": nn.Embedding(16, 32),
                "transformer.wpe.add": Add(),
                "transformer.drop": nn.Identity(),
            }
        operators |= layers("block", Layer, stage)
        if "head" in stage:
            operators |= {
                "transformer.ln_f": nn.LayerNorm(32, eps=1e-05),
                "lm_head": nn.Linear(32, 51, bias=False),
                "loss": CrossEntropy(JOB["batch"] * JOB["sequence"]),
            }
        super().__init__(operators)
        self.stage = stage

    def layers_of(self, part):
        part = next(p for p in PARTS if p.name == part)
        return (module for found, _, module, _ in parts(self) if found is part)

    def forward(self, x=None, *, input_ids, labels):
        if "embedding" in self.stage:
            transformer_wte = self.transformer.wte(input_ids)
            transformer_wpe = self.transformer.wpe(torch.arange(JOB["sequence"], device=input_ids.device))
            transformer_wpe_add = self.transformer.wpe.add(transformer_wte, transformer_wpe)
            transformer_drop = self.transformer.drop(transformer_wpe_add)
            x = transformer_drop
        for layer in self.layers_of("block"):
            x = layer(x)
        if "head" in self.stage:
            transformer_ln_f = self.transformer.ln_f(x)
            lm_head = self.lm_head(transformer_ln_f)
            loss = self.loss(lm_head, labels)
            return loss
        return x


# ---------------------------------------------------------------- the tables carried out
def local(tensor):
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@functools.cache
def joined(mesh, axes):
    """Some axes of the mesh as one."""
    names = axes.split()
    return mesh[names[0]] if len(names) == 1 else mesh[tuple(names)]._flatten()


def operators(rows):
    """The rows of operators whose modules are theirs alone: a bias stands in the module of its product."""
    return [name for name in rows if not (name.endswith(".bias") and name[:-5] in rows)]


def weights(module, name, rows):
    """An operator's parameters, with the module that holds them."""
    if name not in operators(rows):
        owner = module.get_submodule(name[:-5])
        return owner, [owner.bias]
    owner = module.get_submodule(name)
    return owner, [p for key, p in owner.named_parameters(recurse=False) if not (key == "bias" and f"{name}.bias" in rows)]


class Sums:
    """Sums gradients over ranks that hold a weight whole and see other data, each as soon as it is complete."""

    def __init__(self):
        self.pending, self.passes = [], {}

    def add(self, parameter, group):
        def send(parameter):
            self.passes[parameter] += 1
            if self.passes[parameter] % JOB["micro_batches"] == 0:
                self.pending.append(dist.all_reduce(local(parameter.grad), group=group, async_op=True))
        if parameter not in self.passes:
            self.passes[parameter] = 0
            parameter.register_post_accumulate_grad_hook(send)

    def finish(self, parameters):
        while self.pending:
            self.pending.pop().wait()
        for parameter in parameters:
            # Where a module has a part of each sequence, a sum over tp is still due.
            if isinstance(parameter.grad, DTensor) and parameter.grad.placements != parameter.placements:
                parameter.grad = parameter.grad.redistribute(placements=parameter.placements)


def share_out(model, module, rows, mesh, shards):
    """ZeRO by FSDP. Of stages 1 and 2 weights stay whole from the forward to the backward pass; of stage 1 gradients do, until the last micro-batch."""
    groups = {}
    for name, row in rows.items():
        if row.zero and row.over:
            owner, own = weights(module, name, rows)
            owners, members = groups.setdefault((row.zero, row.over), ([], set()))
            owners += [owner] if owner not in owners else []
            members.update(own)
    for (zero, over), (owners, members) in groups.items():
        units = owners if len(groups) > 1 or module is model else [module]
        others = {p for unit in units for p in unit.parameters()} - members
        fully_shard(units, mesh=joined(mesh, over), reshard_after_forward=zero == 3, ignored_params=others)
        units[0].set_gradient_divide_factor(1.0)
        units[0].set_force_sum_reduction_for_comms(True)
        shards.append((units[0], zero))


def parallelize(model, mesh, device, sums):
    """Carries out PARTS and PLAN. Layer by layer, so that no rank holds more than one layer's weights before they are shared out."""
    shards, trains = [], JOB["mode"] == "train"
    for part, number, module, rows in parts(model):
        styles = {name: row.style for name, row in rows.items() if row.style is not None}
        if styles:
            parallelize_module(module, mesh["tp"], styles, src_data_rank=None)
        for name in operators(rows):
            owner = module.get_submodule(name)
            owner.to_empty(device=device, recurse=False)
            fill(part, number, owner, name)
        if part.module and trains:
            share_out(model, module, rows, mesh, shards)
    modules = dict(model.named_modules())
    for reader, table in TIED.items():
        if reader in modules and table in modules:   # else two stages have one each
            modules[reader].weight = modules[table].weight
    for part, number, module, rows in parts(model):
        if not part.module and trains:
            share_out(model, module, rows, mesh, shards)
        for name, row in rows.items():
            if trains and sums and row.over and not row.zero:
                for parameter in weights(module, name, rows)[1]:
                    sums.add(parameter, joined(mesh, row.over).get_group())
    if shards:
        # The root of the groups, which has no parameter itself: not those either that a group's modules have beside it.
        fully_shard(model, mesh=mesh[next(name for name in MESH if name != "pp")], ignored_params=set(model.parameters()))
    return shards


def precision(device):
    """A plan for bf16 trains weights in fp32 under autocast on GPUs, and in fp32 on CPUs."""
    is_mixed = device.type == "cuda" and JOB["dtype"] != "fp32"
    return torch.autocast("cuda", torch.bfloat16) if is_mixed else contextlib.nullcontext()


def optimizer(parameters):
    groups = {}
    for parameter in parameters:   # One pass over several tensors takes tensors of one mesh.
        groups.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[JOB["optimizer"]]
    return kind([{"params": group} for group in groups.values()], lr=OPTIONS.lr)


def set_up():
    """This rank's device, and the mesh."""
    for name, value in dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0").items():
        os.environ.setdefault(name, value)
    device = torch.device("cpu" if OPTIONS.device == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    mesh = init_device_mesh(device.type, tuple(MESH.values()), mesh_dim_names=tuple(MESH))
    for axes in sorted({row.over for rows in PLAN.values() for row in rows.values() if row.over}):
        joined(mesh, axes)   # All ranks make groups in one order.
    return device, mesh


def samples(mesh, device):
    """What this replica takes of a global batch: the samples that follow those of the replica before."""
    replica, replicas = 0, 1
    for name, size in MESH.items():
        if name not in ("pp", "tp"):
            replica, replicas = replica * size + mesh.get_local_rank(name), replicas * size
    size = JOB["batch"] // replicas
    return {name: tensor.to(device) for name, tensor in inputs(replica * size, size).items()}


def train(step, parameters, axes, mesh, device):
    """Steps, and what they print. `step` gives back this rank's part of the loss, and the axes have all parts."""
    update = optimizer(parameters) if JOB["mode"] == "train" else None
    losses, seconds = [], []
    for _ in range(OPTIONS.steps):
        start = time.perf_counter()
        with loss_parallel() if "tp" in MESH else contextlib.nullcontext(), torch.set_grad_enabled(update is not None):
            loss = step()
        if update:
            update.step()
            update.zero_grad()
        if axes:
            dist.all_reduce(loss, group=joined(mesh, axes).get_group())
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    if dist.get_rank() == 0:
        print(json.dumps({"losses": losses, "step_s": seconds, "device": device.type, "torch": torch.__version__}), flush=True)
    dist.barrier()
    dist.destroy_process_group()
    # At the interpreter's end threads that gloo has left may abort the process (PyTorch 2.15).
    os._exit(0)


class Stage(nn.Module):
    """A stage as torch's schedules call it: of what the stage before hands on, and a micro-batch's inputs, it makes what it hands on, or the loss."""

    def __init__(self, number, mesh, device):
        super().__init__()
        self.number, self.device, self.passes, self.sums = number, device, 0, Sums()
        with torch.device("meta"):
            self.model = Model(STAGES[number])
        self.shards = parallelize(self.model, mesh, device, self.sums)

    def forward(self, *tensors, **inputs):
        with precision(self.device):
            results = self.model(*tensors, **inputs)
        if self.number == len(STAGES) - 1:
            results = results.reshape(1)   # The schedule puts those of all micro-batches in a row.
        else:
            results = tuple(t.float() for t in (results if isinstance(results, tuple) else (results,)))
        if torch.is_grad_enabled():
            (results[0] if isinstance(results, tuple) else results).register_hook(self.begin_backward)
        return results

    def begin_backward(self, gradient):
        """Of ZeRO 1 gradients are summed in the last micro-batch, of ZeRO 2 and 3 in each."""
        self.passes += 1
        for unit, zero in self.shards:
            unit.set_requires_gradient_sync(self.passes % JOB["micro_batches"] == 0 or zero > 1, recurse=False)


def carried(number, size, device):
    """Tensors as stage `number` hands them on in a micro-batch of `size` samples, without values."""
    if number < 0:
        return ()
    if number == len(STAGES) - 1:
        return (torch.empty(1, device=device),)
    last = [part.name for part in PARTS if part.name in STAGES[number]][-1]
    found = []
    for shape, placement in CARRIED[last]:
        shape = [size, *shape]
        if placement.is_shard():
            shape[placement.dim] //= MESH["tp"]
        found.append(torch.empty(shape, device=device, requires_grad=JOB["mode"] == "train"))
    return tuple(found)


def schedule(stages, size, mesh, device):
    """This rank's stages under JOB's schedule."""
    found = []
    for stage in stages:
        given, made = carried(stage.number - 1, size, device), carried(stage.number, size, device)
        found.append(
            PipelineStage(stage, stage.number, len(STAGES), device, input_args=given, output_args=made, group=mesh["pp"].get_group()))
    kind = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B, "interleaved": ScheduleInterleaved1F1B}[JOB["schedule"]]
    if kind is Schedule1F1B and JOB["micro_batches"] < len(STAGES):
        kind = ScheduleGPipe   # as torch's 1F1B has no fewer micro-batches than stages
    loss = (lambda loss, labels: loss.sum()) if JOB["mode"] == "train" else None
    return kind(found if JOB["schedule"] == "interleaved" else found[0], JOB["micro_batches"], loss_fn=loss, scale_grads=False)


def ties(stages, mesh):
    """Weights of this rank's stages that are another stage's too, and the ranks that have them, one of each."""
    found = []
    for reader, table in TIED.items():
        ranks = [s % MESH["pp"] for s, stage in enumerate(STAGES) if any({reader, table} & PLAN[part].keys() for part in stage)]
        group, _ = dist.new_subgroups_by_enumeration(mesh.mesh[ranks].reshape(len(ranks), -1).T.tolist())
        modules = (dict(stage.model.named_modules()) for stage in stages)
        found += [(module[name].weight, group) for module in modules for name in (reader, table) if name in module]
    return found


def main():
    device, mesh = set_up()
    stages = [Stage(s, mesh, device) for s in range(mesh.get_local_rank("pp"), len(STAGES), MESH["pp"])]
    tied, batch = ties(stages, mesh), samples(mesh, device)
    passes = schedule(stages, len(batch["labels"]) // JOB["micro_batches"], mesh, device)

    def step():
        losses = passes.step(**batch, target=batch["labels"])
        if JOB["mode"] == "train":
            for stage in stages:
                stage.sums.finish(stage.parameters())
            for weight, group in tied:
                dist.all_reduce(local(weight.grad), group=group)
        return torch.zeros((), device=device) if losses is None else local(losses.detach()).sum()

    train(step, [p for stage in stages for p in stage.parameters()], f"pp {LOSS.over}", mesh, device)


if __name__ == "__main__":
    main()
