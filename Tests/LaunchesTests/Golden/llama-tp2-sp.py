#!/usr/bin/env python3
"""tiny-llama on 2 ranks, as tpplan planned it.

  torchrun --nproc-per-node 2 THIS_FILE --steps 5

MESH, JOB, PARTS and PLAN are the plan, and what drives the rest. Weights, tokens and labels are those of `tpplan run`, and so are the losses;
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
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel, PrepareModuleInput, PrepareModuleInputOutput, PrepareModuleOutput, RowwiseParallel, SequenceParallel, loss_parallel,
    parallelize_module)
from torch.nn.parallel import DistributedDataParallel
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
# Axes, outermost first: neighbours on the last one are neighbouring ranks. The axes dp share out the batch.
MESH = {"tp": 2}
JOB = {"model": "tiny-llama", "mode": "train", "batch": 4, "micro_batches": 1, "sequence": 16, "dtype": "bf16", "optimizer": "adamw"}
INPUTS = {"input_ids": (61, (JOB["sequence"],)), "labels": (61, (JOB["sequence"],))}
PARTS = [
    Part("embedding"),
    Part("block", "model.layers.{i}", copies=2),
    Part("head"),
]
PLAN = {
    "embedding": {
        "model.embed_tokens": Op("vocab", RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1))),
    },
    "block": {
        "input_layernorm": Op("sequence", SequenceParallel(use_local_output=True)),
        "shared.input_layernorm": Op(style=PrepareModuleOutput(output_layouts=Shard(1), desired_output_layouts=Replicate(), use_local_output=False)),
        "self_attn.q_proj": Op("column", ColwiseParallel()),
        "self_attn.k_proj": Op("column", ColwiseParallel()),
        "self_attn.v_proj": Op("column", ColwiseParallel()),
        "self_attn.rotary_q": Op("heads"),
        "self_attn.rotary_k": Op("heads"),
        "self_attn.core": Op("heads"),
        "self_attn.o_proj": Op("row", RowwiseParallel(output_layouts=Shard(1))),
        "self_attn.residual": Op("sequence"),
        "post_attention_layernorm": Op("sequence", SequenceParallel(use_local_output=True)),
        "shared.post_attention_layernorm": Op(style=PrepareModuleOutput(output_layouts=Shard(1), desired_output_layouts=Replicate(), use_local_output=False)),
        "mlp.gate_proj": Op("column", ColwiseParallel()),
        "mlp.act": Op("column"),
        "mlp.up_proj": Op("column", ColwiseParallel()),
        "mlp.multiply": Op("column"),
        "mlp.down_proj": Op("row", RowwiseParallel(output_layouts=Shard(1))),
        "mlp.residual": Op("sequence"),
    },
    "head": {
        "model.norm": Op("sequence", SequenceParallel(use_local_output=True)),
        "lm_head": Op("vocab", ColwiseParallel(input_layouts=Shard(1), use_local_output=False)),
        "loss": Op("vocab"),
    },
}
LOSS = PLAN["head"]["loss"]
# Modules that have another's weight.
TIED = {}
# Parameters that stand in a checkpoint otherwise than here.
VIEWS = {
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



def layers(part, kind):
    """A part's layers, by the names of their modules."""
    part = next(p for p in PARTS if p.name == part)
    return {part.module.replace("{i}", str(i)): kind(part.recompute) for i in range(part.first, part.first + part.copies)}


def parts(model):
    """Each layer, and what stands around layers: its row of PARTS, its number, its module and its rows of PLAN."""
    for part in PARTS:
        for number in range(part.first, part.first + part.copies):
            yield part, number, model.get_submodule(part.module.replace("{i}", str(number))), PLAN[part.name]


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


class Rotary(nn.Module):
    """Rotates the first features of each head by its position; feature i goes with feature i + rotated / 2."""

    def __init__(self, size, base, rotated=None, scaling=None):
        super().__init__()
        self.size, self.base, self.rotated, self.scaling = size, base, rotated or size, scaling

    def frequencies(self, device):
        found = 1.0 / self.base ** (torch.arange(0, self.rotated, 2, dtype=torch.int64, device=device).float() / self.rotated)
        if self.scaling is None:
            return found
        # Llama 3: low frequencies are divided by a factor, with a ramp between low and high ones.
        factor, low, high, positions = self.scaling
        waves = positions * found / (2 * torch.pi)
        ramp = ((waves - low) / (high - low)).clamp(0, 1)
        return (1 - ramp) * found / factor + ramp * found

    def forward(self, x):
        heads = x.unflatten(-1, (-1, self.size))
        angles = torch.outer(torch.arange(x.shape[1], device=x.device).float(), self.frequencies(x.device))[:, None]
        first, second, rest = heads.split([self.rotated // 2, self.rotated // 2, self.size - self.rotated], -1)
        cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        return torch.cat((first * cosine - second * sine, second * cosine + first * sine, rest), -1).flatten(-2)


class Add(nn.Module):
    def forward(self, x, y):
        return x + y


class Multiply(nn.Module):
    def forward(self, x, y):
        return x * y


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
            "input_layernorm": nn.RMSNorm(32, eps=1e-06),
            "shared.input_layernorm": nn.Identity(),
            "self_attn.q_proj": nn.Linear(32, 32, bias=False),
            "self_attn.k_proj": nn.Linear(32, 16, bias=False),
            "self_attn.v_proj": nn.Linear(32, 16, bias=False),
            "self_attn.rotary_q": Rotary(8, base=10000.0),
            "self_attn.rotary_k": Rotary(8, base=10000.0),
            "self_attn.core": Attention(8, causal=True),
            "self_attn.o_proj": nn.Linear(32, 32, bias=False),
            "self_attn.residual": Add(),
            "post_attention_layernorm": nn.RMSNorm(32, eps=1e-06),
            "shared.post_attention_layernorm": nn.Identity(),
            "mlp.gate_proj": nn.Linear(32, 48, bias=False),
            "mlp.act": nn.SiLU(),
            "mlp.up_proj": nn.Linear(32, 48, bias=False),
            "mlp.multiply": Multiply(),
            "mlp.down_proj": nn.Linear(48, 32, bias=False),
            "mlp.residual": Add(),
        }, recompute)

    def run(self, x):
        input_layernorm = self.input_layernorm(x)
        shared_input_layernorm = self.shared.input_layernorm(input_layernorm)
        self_attn_q_proj = self.self_attn.q_proj(shared_input_layernorm)
        self_attn_k_proj = self.self_attn.k_proj(shared_input_layernorm)
        self_attn_v_proj = self.self_attn.v_proj(shared_input_layernorm)
        self_attn_rotary_q = self.self_attn.rotary_q(self_attn_q_proj)
        self_attn_rotary_k = self.self_attn.rotary_k(self_attn_k_proj)
        self_attn_core = self.self_attn.core(self_attn_rotary_q, self_attn_rotary_k, self_attn_v_proj)
        self_attn_o_proj = self.self_attn.o_proj(self_attn_core)
        self_attn_residual = self.self_attn.residual(x, self_attn_o_proj)
        post_attention_layernorm = self.post_attention_layernorm(self_attn_residual)
        shared_post_attention_layernorm = self.shared.post_attention_layernorm(post_attention_layernorm)
        mlp_gate_proj = self.mlp.gate_proj(shared_post_attention_layernorm)
        mlp_act = self.mlp.act(mlp_gate_proj)
        mlp_up_proj = self.mlp.up_proj(shared_post_attention_layernorm)
        mlp_multiply = self.mlp.multiply(mlp_act, mlp_up_proj)
        mlp_down_proj = self.mlp.down_proj(mlp_multiply)
        mlp_residual = self.mlp.residual(self_attn_residual, mlp_down_proj)
        return mlp_residual


class Model(Graph):
    def __init__(self):
        super().__init__({
            "model.embed_tokens": nn.Embedding(61, 32),
            "model.norm": nn.RMSNorm(32, eps=1e-06),
            "lm_head": nn.Linear(32, 61, bias=False),
            "loss": CrossEntropy(JOB["batch"] * JOB["sequence"]),
            **layers("block", Layer),
        })

    def layers_of(self, part):
        part = next(p for p in PARTS if p.name == part)
        return (module for found, _, module, _ in parts(self) if found is part)

    def forward(self, input_ids, labels):
        model_embed_tokens = self.model.embed_tokens(input_ids)
        x = model_embed_tokens
        for layer in self.layers_of("block"):
            x = layer(x)
        model_norm = self.model.norm(x)
        lm_head = self.lm_head(model_norm)
        loss = self.loss(lm_head, labels)
        return loss


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


# Data parallelism alone, without ZeRO, is DistributedDataParallel's.
IS_PLAIN = "tp" not in MESH and not any(row.zero for rows in PLAN.values() for row in rows.values())


def replicated(model, group):
    def summed(group, bucket):
        return dist.all_reduce(bucket.buffer(), group=group, async_op=True).get_future().then(lambda future: future.value()[0])

    model = DistributedDataParallel(model, process_group=group, gradient_as_bucket_view=True, init_sync=False)
    model.register_comm_hook(group, summed)
    return model


def main():
    device, mesh = set_up()
    with torch.device("meta"):
        model = Model()
    sums = None if IS_PLAIN else Sums()
    shards = parallelize(model, mesh, device, sums)
    parameters, trains = list(model.parameters()), JOB["mode"] == "train"
    batch, count = samples(mesh, device), JOB["micro_batches"]
    batches = [{name: tensor.chunk(count)[k] for name, tensor in batch.items()} for k in range(count)]
    if trains and IS_PLAIN and dist.get_world_size() > 1:
        model = replicated(model, joined(mesh, " ".join(MESH)).get_group())

    def step():
        loss = torch.zeros((), device=device)
        for k, batch in enumerate(batches):
            is_last = k == count - 1
            for unit, zero in shards:
                unit.set_requires_gradient_sync(is_last or zero > 1, recurse=False)
            waits = isinstance(model, DistributedDataParallel) and not is_last
            with model.no_sync() if waits else contextlib.nullcontext():
                with precision(device):
                    part = model(**batch)
                if trains:
                    part.backward()
            loss += local(part.detach())
        if trains and sums:
            sums.finish(parameters)
        return loss

    train(step, parameters, LOSS.over, mesh, device)


if __name__ == "__main__":
    main()
