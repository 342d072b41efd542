#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""torch_tp.py - PyTorch-native tensor/data/pipeline parallel transformer benchmark on CPU (gloo).

The peer to compare a CPU tensor-parallel executor with: torch.distributed.tensor.parallel
(parallelize_module + ColwiseParallel / RowwiseParallel / SequenceParallel), DDP and
torch.distributed.pipelining, eager mode, fp32.

USAGE
  python torch_tp.py --arch gpt2 --layers 12 --hidden 768 --heads 12 --ffn 3072 --vocab 50257 \
      --seq 256 --batch 4 --mode train                                   # one rank
  torchrun --nproc_per_node=2 torch_tp.py ... --tp 2 [--sp]              # Megatron column->row plan
  torchrun --nproc_per_node=2 torch_tp.py ... --dp 2                     # DDP
  torchrun --nproc_per_node=2 torch_tp.py ... --pp 2 --microbatches 2    # pipelining
  python torch_tp.py ... --dump DIR                                      # write checkpoint + expected values
World size must equal dp*tp*pp; one of the three at a time. The LAST line of stdout (rank 0)
is one JSON object. --batch is the GLOBAL batch; with --dp D each replica takes batch/D consecutive rows.

MODELS (fp32, dropout 0)
  gpt2 : pre-LN, learned positions, LayerNorm(eps 1e-5), biases everywhere but in the lm head,
         GELU tanh ("gelu_new"), causal SDPA with scale 1/sqrt(head_dim), final LayerNorm, lm head tied
         to wte unless --untied.  = transformers GPT2LMHeadModel.
  llama: RMSNorm(eps 1e-5), RoPE (rotate-half layout, theta 10000, fp32 tables), GQA (query head h uses
         kv head h // (heads/kv_heads)), SwiGLU down(silu(gate(x)) * up(x)), no biases, lm head untied
         unless --tied.  = transformers LlamaForCausalLM.

DETERMINISTIC VALUES (all integer arithmetic modulo 2^64)
  mix(z):    z ^= z >> 30; z *= 0xBF58476D1CE4E5B9; z ^= z >> 27; z *= 0x94D049BB133111EB; z ^= z >> 31
  fnv(s):    h = 0xCBF29CE484222325; for each UTF-8 byte b of s: h = (h ^ b) * 0x100000001B3
  key(name): mix(seed * 0x9E3779B97F4A7C15 ^ fnv(name))                     (--seed, default 1)
  u(name,i): mix(key(name) + (i + 1) * 0x9E3779B97F4A7C15)
             i.e. output number i (from 0) of the standard splitmix64 generator started in state key(name)
  f(name,i): float32( (u >> 40) ) * 2^-23 - 1      in [-1, 1); exact in float32, no rounding
  name is the parameter's HF checkpoint name (below); i is the row-major flat index in the HF checkpoint
  shape. Note that HF GPT-2 stores the linear weights as Conv1D, shape [in, out] (c_attn.weight is
  [hidden, 3*hidden], columns q|k|v); HF Llama stores [out, in].
  weights and biases:              value = float32(0.02) * f         (float32 product, one rounding)
  norm weights (ln_1, ln_2, ln_f, input_layernorm, post_attention_layernorm, model.norm; NOT their
  biases, which follow the line above):  value = 1 + (float32(0.02) * f)   (two float32 roundings, no FMA)
  tokens: T[b][t] = ((u("tokens", b*(seq+1) + t) >> 32) * vocab) >> 32,  b < batch, t < seq+1
          input_ids = T[:, :seq], labels = T[:, 1:]  (labels are ALREADY shifted; nothing is ignored)
  loss = mean over all batch*seq positions of -log_softmax(logits)[label]
  Check values, seed 1 (printed by --selftest):
    u("tokens",0..3) = 0x90ea7fd42cf8bc95, 0x07383a6c27c3e895, 0x9a58102b90d409bc, 0xc62f01d6e664b425
    f("lm_head.weight",0..3) = 0.9185518026351929, -0.296384334564209, 0.326396107673645, -0.7059881687164307
  Parameter names
    gpt2 : transformer.{wte,wpe}.weight, transformer.h.{i}.{ln_1,ln_2}.{weight,bias},
           transformer.h.{i}.attn.{c_attn,c_proj}.{weight,bias}, transformer.h.{i}.mlp.{c_fc,c_proj}.
           {weight,bias}, transformer.ln_f.{weight,bias}, [lm_head.weight when untied]
    llama: model.embed_tokens.weight, model.layers.{i}.{input_layernorm,post_attention_layernorm}.weight,
           model.layers.{i}.self_attn.{q,k,v,o}_proj.weight, model.layers.{i}.mlp.{gate,up,down}_proj.weight,
           model.norm.weight, [lm_head.weight when untied]

STEPS
  forward: torch.no_grad() prefill, logits of every position; the loss is computed once, after timing.
  train  : zero_grad(set_to_none), forward, cross-entropy, backward, AdamW step (betas 0.9/0.999, eps 1e-8,
           weight decay 0.01 on every parameter, no clipping, constant --lr, default 1e-4); the same batch at
           every step. losses[k] is the loss computed IN step k, before its update (k = 0 is the untrained
           model). Gradients of the gpt2 key biases are zero in exact arithmetic, so AdamW turns their
           rounding noise into +-lr updates: compare losses, not those elements.
  A step's time is the longest over the ranks, from a barrier to the rank's own end of the step.
  other_load_cores: CPU seconds per wall second that processes other than the ranks used during the timed
  steps (0 on a quiet machine); cpu_s_per_step: median CPU seconds of a step, rank by rank, all threads.

PLAN (--tp)
  embedding   RowwiseParallel (vocab-sharded); gpt2 positions replicated (with --sp: SequenceParallel)
  q,k,v / qkv, up, gate  ColwiseParallel; o, down  RowwiseParallel. Each block's input is wrapped once by
              PrepareModuleInput, so that q,k,v (gate,up) share ONE backward all-reduce (--naive-plan leaves
              that out, as the short tutorials do, and pays one all-reduce for each of them).
  --qkv fused (gpt2's default): one GEMM whose rows are ordered by rank (q_r|k_r|v_r), so that the plain
              contiguous ColwiseParallel shard holds whole heads; separate (llama's default): three GEMMs.
  lm head     ColwiseParallel; --head vocab (default) keeps logits vocab-sharded and uses loss_parallel();
              --head gather all-gathers the logits on every rank.
  --sp        SequenceParallel norms, reduce-scatter/all-gather on the sequence dimension.

FLOPS  forward = 2 * M * tokens + 4 * seq^2 * heads * head_dim * layers * batch; train = 3 * forward.
  M = weights that take part in a matrix product: all linear weights with the lm head (tied or not) once;
  not the embedding look-ups, norms or biases. The attention term is the full square (PaLM's convention);
  model_gflops_causal halves it.

DUMP (--dump DIR, one rank only): config.json, model.safetensors (HF names and shapes), inputs.safetensors
  (input_ids, labels: int64 [batch, seq]), expected.safetensors (logits float32 [batch, seq, vocab] unless
  --dump-last-logits: [batch, vocab] of the last position), expected.json (loss, train losses, gradient
  norms, logits check sums) and with --dump-grads expected_grads.safetensors (d loss / d parameter at step 0,
  HF names and shapes).
"""
import argparse, contextlib, json, math, os, sys, time

ap = argparse.ArgumentParser(description="see the file's header")
ap.add_argument("--arch", choices=["gpt2", "llama"], default="gpt2")
for n, d in dict(layers=12, hidden=768, heads=12, vocab=50257, seq=256, batch=4).items():
    ap.add_argument("--" + n, type=int, default=d)
ap.add_argument("--kv-heads", type=int, default=0, help="0: as many as heads")
ap.add_argument("--ffn", type=int, default=0, help="0: 4*hidden")
ap.add_argument("--tied", action="store_true"); ap.add_argument("--untied", action="store_true")
ap.add_argument("--mode", choices=["forward", "train"], default="forward")
ap.add_argument("--tp", type=int, default=1); ap.add_argument("--dp", type=int, default=1)
ap.add_argument("--pp", type=int, default=1); ap.add_argument("--microbatches", type=int, default=2)
ap.add_argument("--schedule", choices=["gpipe", "1f1b"], default="1f1b")
ap.add_argument("--sp", action="store_true"); ap.add_argument("--naive-plan", action="store_true")
ap.add_argument("--head", choices=["vocab", "gather"], default="vocab")
ap.add_argument("--qkv", choices=["fused", "separate", "auto"], default="auto")
ap.add_argument("--threads", type=int, default=1); ap.add_argument("--pin", action="store_true")
ap.add_argument("--warmup", type=int, default=2); ap.add_argument("--steps", type=int, default=5)
ap.add_argument("--seed", type=int, default=1); ap.add_argument("--lr", type=float, default=1e-4)
ap.add_argument("--optim", choices=["fused", "foreach", "loop"], default="fused")
ap.add_argument("--label", default=""); ap.add_argument("--selftest", action="store_true")
ap.add_argument("--dump", default=""); ap.add_argument("--dump-grads", action="store_true")
ap.add_argument("--dump-last-logits", action="store_true"); ap.add_argument("--dump-steps", type=int, default=5)
A = ap.parse_args()
A.kv_heads = A.kv_heads or A.heads
A.ffn = A.ffn or 4 * A.hidden
GPT = A.arch == "gpt2"
TIED = (GPT and not A.untied) or A.tied
FUSED = A.qkv == "fused" or (A.qkv == "auto" and GPT)
HD = A.hidden // A.heads
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if A.hidden % A.heads or A.heads % A.kv_heads: ap.error("hidden % heads and heads % kv_heads must be 0")
if GPT and A.kv_heads != A.heads: ap.error("gpt2 has no GQA")
if WORLD != A.dp * A.tp * A.pp: ap.error(f"world size {WORLD} != dp*tp*pp")
if (A.pp > 1) + (A.dp > 1) + (A.tp > 1) > 1: ap.error("one of --tp, --dp, --pp at a time")
if A.heads % A.tp or A.kv_heads % A.tp or A.ffn % A.tp: ap.error("heads, kv heads and ffn must divide by tp")
if A.sp and A.seq % A.tp: ap.error("seq must divide by tp with --sp")
if A.batch % (A.dp * (A.microbatches if A.pp > 1 else 1)): ap.error("batch does not divide")
if A.layers % A.pp: ap.error("layers must divide by pp")
if A.dump and WORLD > 1: ap.error("--dump runs on one rank")
for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"): os.environ[v] = str(A.threads)
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if A.pin: os.sched_setaffinity(0, {RANK % os.cpu_count()})

import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
import torch.distributed as dist
torch.set_num_threads(A.threads)
with contextlib.suppress(RuntimeError): torch.set_num_interop_threads(1)


def hwm_mb():
    for l in open("/proc/self/status"):
        if l.startswith("VmHWM"): return int(l.split()[1]) / 1024


RSS_IMPORT = hwm_mb()

def machine_busy_s():
    """CPU seconds all processes of this machine have used since boot (user, nice, system, irq, softirq)."""
    f = [int(v) for v in open("/proc/stat").readline().split()[1:8]]
    return (sum(f[:3]) + f[5] + f[6]) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- counter-based values
M64, GOLD = (1 << 64) - 1, 0x9E3779B97F4A7C15


def mix_int(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & M64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & M64
    return z ^ (z >> 31)


def key(name):
    h = 0xCBF29CE484222325
    for b in name.encode(): h = (h ^ b) * 0x100000001B3 & M64
    return mix_int((A.seed * GOLD & M64) ^ h)


def u64(name, idx):
    z = (idx.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLD) + np.uint64(key(name))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def f32(name, idx):
    return (u64(name, idx) >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -23) - np.float32(1)


def value(name, idx, norm):
    v = np.float32(0.02) * f32(name, idx)
    return np.float32(1) + v if norm else v


if A.selftest:
    A.seed = 1
    i = np.arange(4)
    print([hex(int(x)) for x in u64("tokens", i)], [float(x) for x in f32("lm_head.weight", i)])
    sys.exit(0)


def tokens():
    u = u64("tokens", np.arange(A.batch * (A.seq + 1))) >> np.uint64(32)
    t = torch.from_numpy(((u * np.uint64(A.vocab)) >> np.uint64(32)).astype(np.int64).reshape(A.batch, A.seq + 1))
    return t[:, :-1].contiguous(), t[:, 1:].contiguous()


# ---------------------------------------------------------------- the models
class Attention(nn.Module):
    def __init__(s):
        super().__init__()
        kv = A.kv_heads * HD
        if FUSED: s.qkv = nn.Linear(A.hidden, A.hidden + 2 * kv, bias=GPT)
        else:
            s.q = nn.Linear(A.hidden, A.hidden, bias=GPT)
            s.k = nn.Linear(A.hidden, kv, bias=GPT)
            s.v = nn.Linear(A.hidden, kv, bias=GPT)
        s.o = nn.Linear(A.hidden, A.hidden, bias=GPT)

    def forward(s, x, rope):
        if FUSED:
            y = s.qkv(x)
            q, k, v = y.split([A.hidden // A.tp, A.kv_heads * HD // A.tp, A.kv_heads * HD // A.tp], -1)
        else: q, k, v = s.q(x), s.k(x), s.v(x)
        B, S = q.shape[:2]
        q, k, v = (t.view(B, S, -1, HD).transpose(1, 2) for t in (q, k, v))
        if rope is not None:
            cos, sin = rope
            q, k = (t * cos + torch.cat((-t[..., HD // 2:], t[..., :HD // 2]), -1) * sin for t in (q, k))
        if A.kv_heads != A.heads:
            g = A.heads // A.kv_heads
            k, v = (t[:, :, None].expand(B, t.shape[1], g, S, HD).reshape(B, -1, S, HD) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return s.o(y.transpose(1, 2).reshape(B, S, -1))


class MLP(nn.Module):
    def __init__(s):
        super().__init__()
        if not GPT: s.gate = nn.Linear(A.hidden, A.ffn, bias=False)
        s.up = nn.Linear(A.hidden, A.ffn, bias=GPT)
        s.down = nn.Linear(A.ffn, A.hidden, bias=GPT)

    def forward(s, x):
        return s.down(F.gelu(s.up(x), approximate="tanh") if GPT else F.silu(s.gate(x)) * s.up(x))


def norm(): return nn.LayerNorm(A.hidden, eps=1e-5) if GPT else nn.RMSNorm(A.hidden, eps=1e-5)


class Block(nn.Module):
    def __init__(s):
        super().__init__()
        s.n1, s.attn, s.n2, s.mlp = norm(), Attention(), norm(), MLP()

    def forward(s, x, rope):
        x = x + s.attn(s.n1(x), rope)
        return x + s.mlp(s.n2(x))


class Model(nn.Module):
    """first/last: whether this (pipeline) part holds the embeddings / the final norm and head."""

    def __init__(s, lo, hi, first, last):
        super().__init__()
        s.first, s.last, s.rope = first, last, None
        if first:
            s.wte = nn.Embedding(A.vocab, A.hidden)
            if GPT: s.wpe = nn.Embedding(A.seq, A.hidden)
        s.h = nn.ModuleDict({str(i): Block() for i in range(lo, hi)})
        if last:
            s.nf = norm()
            s.head = nn.Linear(A.hidden, A.vocab, bias=False)

    def tables(s, sp_rank):
        if not GPT:
            inv = 1.0 / (10000.0 ** (torch.arange(0, HD, 2, dtype=torch.int64).float() / HD))
            a = torch.outer(torch.arange(A.seq).float(), inv)
            s.rope = (torch.cat((a, a), -1).cos(), torch.cat((a, a), -1).sin())
        n, sp_rank = (A.seq // A.tp, sp_rank) if A.sp else (A.seq, 0)
        s.pos = torch.arange(sp_rank * n, (sp_rank + 1) * n)[None]

    def forward(s, x):
        if s.first:
            x = s.wte(x)
            if GPT:
                p = s.wpe(s.pos)
                x = x + (p.to_local() if hasattr(p, "to_local") else p)
        for b in s.h.values(): x = b(x, s.rope)
        return s.head(s.nf(x)) if s.last else x


def tie(m):
    if TIED and m.first and m.last: m.head.weight = m.wte.weight


def hf(pname):
    """torch parameter name -> (HF name, is it a norm weight, offset of its rows inside the HF tensor)"""
    P = pname.split(".")
    if P[0] in ("wte", "wpe"): return ("transformer." + pname if GPT else "model.embed_tokens.weight"), False, 0
    if P[0] == "head": return "lm_head.weight", False, 0
    if P[0] == "nf": return ("transformer.ln_f." if GPT else "model.norm.") + P[1], P[1] == "weight", 0
    i, m = P[1], ".".join(P[2:-1])
    if m in ("n1", "n2"):
        n = {"n1": "ln_1", "n2": "ln_2"}[m] if GPT else {"n1": "input_layernorm", "n2": "post_attention_layernorm"}[m]
        return (f"transformer.h.{i}.{n}." if GPT else f"model.layers.{i}.{n}.") + P[-1], P[-1] == "weight", 0
    if GPT:
        n = {"attn.qkv": "attn.c_attn", "attn.q": "attn.c_attn", "attn.k": "attn.c_attn", "attn.v": "attn.c_attn",
             "attn.o": "attn.c_proj", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}[m]
        off = {"attn.k": A.hidden, "attn.v": 2 * A.hidden}.get(m, 0)
        return f"transformer.h.{i}.{n}.{P[-1]}", False, off
    mod, w = m.split(".")
    return f"model.layers.{i}." + ("self_attn" if mod == "attn" else "mlp") + f".{w}_proj.{P[-1]}", False, 0


def qkv_order():
    """fused rows, rank by rank: position in the torch weight -> row in q|k|v order."""
    kv, h = A.kv_heads * HD, A.hidden
    q, k, v = np.arange(h), h + np.arange(kv), h + kv + np.arange(kv)
    return np.concatenate([np.concatenate([c[r * len(c) // A.tp:(r + 1) * len(c) // A.tp] for c in (q, k, v)])
                           for r in range(A.tp)])


def hf_shape(pname, shape):
    n = hf(pname)[0]
    if GPT and len(shape) == 2 and pname.startswith("h."):
        out = 3 * A.hidden if "c_attn" in n else shape[0]
        return (shape[1], out)
    return (3 * A.hidden,) if GPT and "c_attn" in n else tuple(shape)


@torch.no_grad()
def fill(model):
    """Fill every parameter's LOCAL part with its values, without building the whole tensor."""
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset as where
    for pname, p in model.named_parameters():
        loc, shape, off = p, tuple(p.shape), (0,) * p.dim()
        if isinstance(p, DTensor):
            loc = p.to_local()
            ls, off = where(p.shape, p.device_mesh, p.placements)
            assert tuple(ls) == tuple(loc.shape)
        name, isnorm, rowoff = hf(pname)
        rows = np.arange(off[0], off[0] + loc.shape[0], dtype=np.int64)
        if ".attn.qkv." in pname: rows = qkv_order()[rows]
        rows = rows + rowoff
        if not GPT and ".attn.qkv." in pname:          # llama has no fused tensor in the checkpoint
            kv, b = A.kv_heads * HD, pname.replace("qkv", "{}")
            part = np.where(rows < A.hidden, 0, np.where(rows < A.hidden + kv, 1, 2))
            parts = [(hf(b.format(c))[0], np.nonzero(part == j)[0], (0, A.hidden, A.hidden + kv)[j])
                     for j, c in enumerate("qkv")]
        else: parts = [(name, np.arange(len(rows)), 0)]
        conv = GPT and p.dim() == 2 and pname.startswith("h.")
        for nm, at, sub in parts:
            r = rows[at] - sub
            if p.dim() == 1:
                loc[torch.from_numpy(at)] = torch.from_numpy(value(nm, r, isnorm)); continue
            cols = np.arange(off[1], off[1] + loc.shape[1], dtype=np.int64)
            full = hf_shape(pname, shape)
            step = max(1, (1 << 20) // max(1, loc.shape[1]))
            for a in range(0, len(at), step):
                rr = r[a:a + step, None]
                idx = cols[None] * full[1] + rr if conv else rr * shape[1] + cols[None]
                loc[torch.from_numpy(at[a:a + step])] = torch.from_numpy(value(nm, idx, isnorm))


# ---------------------------------------------------------------- parallelism
def parallelize(model, mesh):
    from torch.distributed.tensor import Replicate, Shard
    from torch.distributed.tensor.parallel import (ColwiseParallel as Col, RowwiseParallel as Row,
                                                   SequenceParallel as Seq, PrepareModuleInput as Prep,
                                                   parallelize_module)
    act = Shard(1) if A.sp else Replicate()
    plan = {"wte": Row(input_layouts=Replicate(), output_layouts=act),
            "head": Col(input_layouts=act, output_layouts=Shard(-1) if A.head == "vocab" else Replicate(),
                        use_local_output=A.head != "vocab")}
    if A.sp:
        plan["nf"] = Seq()
        if GPT: plan["wpe"] = Seq()
    for i in model.h:
        b = f"h.{i}."
        if A.sp or not A.naive_plan:
            plan[b + "attn"] = Prep(input_layouts=(act, None), desired_input_layouts=(Replicate(), None))
            plan[b + "mlp"] = Prep(input_layouts=(act,), desired_input_layouts=(Replicate(),))
        for n in (["qkv"] if FUSED else ["q", "k", "v"]): plan[b + "attn." + n] = Col()
        plan[b + "attn.o"] = Row(output_layouts=act)
        for n in ([] if GPT else ["gate"]) + ["up"]: plan[b + "mlp." + n] = Col()
        plan[b + "mlp.down"] = Row(output_layouts=act)
        if A.sp: plan[b + "n1"] = plan[b + "n2"] = Seq()
    parallelize_module(model, mesh, plan, src_data_rank=None)


def optimizer(params):
    kw = dict(fused=True) if A.optim == "fused" else dict(foreach=A.optim == "foreach")
    d = [p for p in params if hasattr(p, "placements")]          # DTensors and plain tensors do not
    l = [p for p in params if not hasattr(p, "placements")]      # mix in one fused/foreach call
    return torch.optim.AdamW([dict(params=g) for g in (d, l) if g], lr=A.lr, betas=(0.9, 0.999), eps=1e-8,
                             weight_decay=0.01, **kw)


def flops():
    per = A.hidden * (2 * A.hidden + 2 * A.kv_heads * HD) + (2 if GPT else 3) * A.hidden * A.ffn
    mm = 2.0 * (A.layers * per + A.vocab * A.hidden) * A.batch * A.seq
    att = 4.0 * A.seq ** 2 * A.hidden * A.layers * A.batch
    k = 3 if A.mode == "train" else 1
    return k * mm, k * att


def main():
    if WORLD > 1: dist.init_process_group("gloo")
    from torch.distributed.device_mesh import init_device_mesh
    per = A.layers // A.pp
    first, last = (RANK == 0, RANK == A.pp - 1) if A.pp > 1 else (True, True)
    lo = RANK * per if A.pp > 1 else 0
    mesh = init_device_mesh("cpu", (A.dp, A.tp), mesh_dim_names=("dp", "tp")) if WORLD > 1 and A.pp == 1 else None
    with torch.device("meta"): model = Model(lo, lo + per, first, last)
    if A.tp > 1: parallelize(model, mesh["tp"])
    tie(model)
    model.to_empty(device="cpu")
    tie(model)                                              # to_empty may split the tie
    tp_rank, dp_rank = RANK % A.tp, (RANK // A.tp if A.pp == 1 else 0)
    model.tables(tp_rank)
    fill(model)
    pp_tied = TIED and A.pp > 1
    if pp_tied and last:                                    # the last stage's copy of wte
        with torch.no_grad():
            for a in range(0, A.vocab, 1024):
                r = np.arange(a, min(A.vocab, a + 1024))[:, None]
                nm = "transformer.wte.weight" if GPT else "model.embed_tokens.weight"
                model.head.weight[a:a + 1024] = torch.from_numpy(
                    value(nm, r * A.hidden + np.arange(A.hidden)[None], False))
    train = A.mode == "train"
    X, Y = tokens()
    mb = A.batch // A.dp
    x, y = X[dp_rank * mb:(dp_rank + 1) * mb], Y[dp_rank * mb:(dp_rank + 1) * mb]
    net = model
    if A.dp > 1 and train:
        from torch.nn.parallel import DistributedDataParallel as DDP
        net = DDP(model, process_group=mesh["dp"].get_group(), gradient_as_bucket_view=True, init_sync=False)
    opt = optimizer(list(model.parameters())) if train else None
    ctx = contextlib.nullcontext
    if A.tp > 1 and A.head == "vocab":
        from torch.distributed.tensor.parallel import loss_parallel as ctx

    def loss_of(logits, y): return F.cross_entropy(logits.flatten(0, 1), y.flatten())

    def local(t): return t.full_tensor() if hasattr(t, "full_tensor") else t

    if A.pp > 1:
        from torch.distributed.pipelining import PipelineStage, ScheduleGPipe, Schedule1F1B
        stage = PipelineStage(model, RANK, A.pp, torch.device("cpu"))
        sched = (ScheduleGPipe if A.schedule == "gpipe" else Schedule1F1B)(
            stage, A.microbatches, loss_fn=loss_of)

        def run(inputs):
            go = sched.step if train else sched.eval
            ls = []
            go(*((inputs,) if first else ()), **(dict(target=y, losses=ls) if last else {}))
            return torch.stack(ls).mean() if last else None

    def step():
        if A.pp > 1:
            if train: opt.zero_grad(set_to_none=True)
            l = run(x)
            if train:
                if pp_tied and (first or last): dist.all_reduce((model.wte if first else model.head).weight.grad)
                opt.step()
            return l.detach() if last else None
        if not train:
            with torch.no_grad(): return net(x)
        opt.zero_grad(set_to_none=True)
        with ctx():
            l = loss_of(net(x), y)
            l.backward()
        opt.step()
        return l.detach()

    def bar():
        if WORLD > 1: dist.barrier()

    if A.dump: return dump(model, X, Y, loss_of)
    times, cpu, losses, out = [], [], [], None
    for k in range(A.warmup + A.steps):
        out = None
        if k == A.warmup: busy0, wall0, own0 = machine_busy_s(), time.perf_counter(), time.process_time()
        bar(); c0, t0 = time.process_time(), time.perf_counter()
        out = step()
        times.append(time.perf_counter() - t0); cpu.append(time.process_time() - c0); bar()
        if train: losses.append(local(out).item() if out is not None else 0.0)
    busy, wall, own = machine_busy_s() - busy0, time.perf_counter() - wall0, time.process_time() - own0
    if not train:
        if A.pp > 1: losses.append(out.item() if last else 0.0)
        else:
            with torch.no_grad(), ctx(): losses.append(local(loss_of(out, y)).item())
    ar = None
    if A.tp > 1:                                            # what one TP all-reduce costs by itself
        t = torch.zeros(mb * A.seq * A.hidden); ts = []
        for _ in range(12):
            bar(); t0 = time.perf_counter(); dist.all_reduce(t, group=mesh["tp"].get_group())
            ts.append(time.perf_counter() - t0)
        ar = sorted(ts[2:])[5] * 1e3
    mine = dict(t=times, cpu=cpu, own=own, loss=losses, rss=hwm_mb(), rss0=RSS_IMPORT,
                params=sum((p.to_local() if hasattr(p, "to_local") else p).numel() for p in model.parameters()))
    every = [mine]
    if WORLD > 1:
        every = [None] * WORLD
        dist.all_gather_object(every, mine)
    if RANK == 0:
        T = sorted(max(r["t"][k] for r in every) for k in range(A.warmup, A.warmup + A.steps))
        med, mn = T[len(T) // 2], T[0]
        other = max(0.0, busy - sum(r["own"] for r in every)) / wall
        mm, att = flops()
        if A.pp > 1: L = every[-1]["loss"]
        else: L = [sum(r["loss"][k] for r in every) / WORLD for k in range(len(losses))]
        print(json.dumps(dict(
            label=A.label, arch=A.arch, mode=A.mode, tp=A.tp, sp=A.sp, dp=A.dp, pp=A.pp, threads=A.threads,
            head=A.head, qkv="fused" if FUSED else "separate", naive_plan=A.naive_plan, optim=A.optim,
            sizes={k: getattr(A, k) for k in "layers hidden heads kv_heads ffn vocab seq batch".split()}, tied=TIED,
            median_s=round(med, 5), min_s=round(mn, 5), step_s=[round(t, 5) for t in T],
            tokens_per_s=round(A.batch * A.seq / med, 1), model_gflops=round((mm + att) / med / 1e9, 2),
            model_gflops_min=round((mm + att) / mn / 1e9, 2), model_gflops_causal=round((mm + att / 2) / med / 1e9, 2),
            step_gflop=round((mm + att) / 1e9, 3), other_load_cores=round(other, 2),
            cpu_s_per_step=[round(sorted(r["cpu"][A.warmup:])[A.steps // 2], 5) for r in every], cpu_per_wall=[round(sum(r["cpu"][A.warmup:]) / sum(
                r["t"][A.warmup:]), 3) for r in every],
            peak_rss_mb=[round(r["rss"], 1) for r in every], import_rss_mb=[round(r["rss0"], 1) for r in every],
            params_per_rank=[r["params"] for r in every], allreduce_ms=ar and round(ar, 3),
            loss=L[0], losses=L, loadavg=os.getloadavg()[0], torch=torch.__version__)), flush=True)
    if WORLD > 1:
        bar()
        dist.destroy_process_group()


# ---------------------------------------------------------------- checkpoint + expected values
def to_hf(tensors):
    """{torch name: tensor} -> {HF name: contiguous tensor in the HF shape} (one rank; so tp = 1 row order)"""
    out, qkv = {}, {}
    for n, t in tensors.items():
        name = hf(n)[0]
        if GPT and t.dim() == 2 and n.startswith("h."): t = t.T
        if GPT and n.split(".")[-2] in "qkv" and len(n.split(".")[-2]) == 1: qkv.setdefault(name, []).append(t)
        elif not GPT and ".attn.qkv." in n:
            for c, p in zip("qkv", t.split([A.hidden, A.kv_heads * HD, A.kv_heads * HD])):
                out[hf(n.replace("qkv", c))[0]] = p.contiguous()
        else: out[name] = t.contiguous()
    for name, ts in qkv.items(): out[name] = torch.cat(ts, -1).contiguous()
    return out


def dump(model, X, Y, loss_of):
    from safetensors.torch import save_file
    D = A.dump
    os.makedirs(D, exist_ok=True)
    if GPT:
        cfg = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], n_layer=A.layers, n_embd=A.hidden,
                   n_head=A.heads, n_inner=A.ffn, n_positions=A.seq, n_ctx=A.seq, vocab_size=A.vocab,
                   layer_norm_epsilon=1e-5, activation_function="gelu_new", attn_pdrop=0.0, embd_pdrop=0.0,
                   resid_pdrop=0.0, bos_token_id=0, eos_token_id=0)
    else:
        cfg = dict(model_type="llama", architectures=["LlamaForCausalLM"], num_hidden_layers=A.layers,
                   hidden_size=A.hidden, num_attention_heads=A.heads, num_key_value_heads=A.kv_heads, head_dim=HD,
                   intermediate_size=A.ffn, max_position_embeddings=A.seq, vocab_size=A.vocab, rms_norm_eps=1e-5,
                   rope_theta=10000.0, rope_parameters=dict(rope_type="default", rope_theta=10000.0),
                   hidden_act="silu", attention_bias=False, mlp_bias=False, bos_token_id=0, eos_token_id=0,
                   attention_dropout=0.0)
    cfg |= dict(tie_word_embeddings=TIED, torch_dtype="float32", dtype="float32", use_cache=False)
    json.dump(cfg, open(f"{D}/config.json", "w"), indent=1)
    meta = {"format": "pt"}
    save_file(to_hf({n: p.detach() for n, p in model.named_parameters()}), f"{D}/model.safetensors", meta)
    save_file(dict(input_ids=X, labels=Y), f"{D}/inputs.safetensors", meta)
    with torch.no_grad():
        logits = model(X); loss = loss_of(logits, Y).item()
    save_file(dict(logits=(logits[:, -1] if A.dump_last_logits else logits).contiguous()),
              f"{D}/expected.safetensors", meta)
    e = dict(loss=loss, logits_sum=logits.double().sum().item(), logits_abs_sum=logits.double().abs().sum().item(),
             logits_0_0_first8=logits[0, 0, :8].tolist(), logits_last_first8=logits[-1, -1, :8].tolist(),
             argmax_last=logits[:, -1].argmax(-1).tolist(), seed=A.seed, lr=A.lr, batch=A.batch, seq=A.seq,
             optimizer="AdamW betas 0.9/0.999 eps 1e-8 weight_decay 0.01 on every parameter", torch=torch.__version__)
    opt = optimizer(list(model.parameters()))
    e["train_losses"], e["train_grad_norms"] = [], []
    for k in range(A.dump_steps):
        opt.zero_grad(set_to_none=True)
        l = loss_of(model(X), Y); l.backward()
        e["train_losses"].append(l.item())
        e["train_grad_norms"].append(math.sqrt(sum(p.grad.double().pow(2).sum().item() for p in model.parameters())))
        if k == 0 and A.dump_grads:
            save_file(to_hf({n: p.grad for n, p in model.named_parameters()}), f"{D}/expected_grads.safetensors", meta)
        opt.step()
    json.dump(e, open(f"{D}/expected.json", "w"), indent=1)
    print(json.dumps(dict(dump=D, **{k: e[k] for k in ("loss", "train_losses", "train_grad_norms")})))


if __name__ == "__main__": main()
