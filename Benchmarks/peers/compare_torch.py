#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of three models under PyTorch's own parallelism (torch_tp.py) and under tpplan, in turn, at the same sizes.

usage: compare_torch.py TPPLAN [--only WORD] [--steps N] [--repetitions R] [--results FILE]
Models: gpt2-small (12 layers of 768, 4 sequences of 256), medium (4 of 1024, 2 of 512), llama (4 of 1024 with 4 key-value heads, 2 of 512); forward and
training steps; one rank, and two under tensor, tensor and sequence, data, and pipeline parallelism. One thread a rank, fp32, the same values and warm-up on
both sides; the losses must agree. Training takes tpplan's two options for less memory. Prints each case's medians over the repetitions, their ratio, and the limit: 0.55 for tensor parallelism and 0.7 for
the others where OpenBLAS multiplies matrices at least twice as fast as torch.mm on one thread, in proportion where it does not.

Memory is the largest peak resident size of a rank, on PyTorch's side without what importing it takes; its ratio may be 0.8, and that to the plan's own figure 5 % off. Of the medium
model the operations of a step (those of a causal mask's half alone) in a second are compared with as many products of OpenBLAS, and two ranks with one.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WARMUP = 2  # steps that neither side counts

GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", "tie_word_embeddings": True,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "layer_norm_epsilon": 1e-5}
# The configuration, sequences, positions, and what torch_tp.py is told of them.
MODELS = {
    "gpt2-small": (GPT2 | {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}, 4, 256,
                   "--arch gpt2 --layers 12 --hidden 768 --heads 12 --ffn 3072 --vocab 50257"),
    "medium": (GPT2 | {"n_layer": 4, "n_embd": 1024, "n_head": 16, "n_inner": 4096, "n_positions": 1024, "vocab_size": 8192}, 2, 512,
               "--arch gpt2 --layers 4 --hidden 1024 --heads 16 --ffn 4096 --vocab 8192"),
    "llama": ({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 1024, "num_hidden_layers": 4,
               "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 2816, "vocab_size": 8192,
               "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
               "attention_bias": False}, 2, 512,
              "--arch llama --layers 4 --hidden 1024 --heads 16 --kv-heads 4 --ffn 2816 --vocab 8192 --untied"),
}
# Ranks, what `tpplan estimate` is told, what torch_tp.py is told, and the limit of the ratio.
CASES = {
    "one rank": (1, "--tp 1", "", 0.7),
    "TP 2": (2, "--tp 2", "--tp 2", 0.55),
    "TP 2 + SP": (2, "--tp 2 --sp", "--tp 2 --sp", 0.55),
    "DP 2": (2, "--dp 2", "--dp 2", 0.7),
    "PP 2": (2, "--pp 2 --micro-batch {half}", "--pp 2 --microbatches 2", 0.7),
}
# Of a plan for training: the two options by which a step takes less memory; they change no bit of what it computes.
LEAN = "--updates in-backward --recompute elementwise"
MEMORY_LIMIT, PLAN_LIMIT = 0.8, 0.05
# Of the medium model: the least share of two ranks' products, and the least speed-ups over one rank.
SHARES = {("train", "TP 2"): 0.75, ("forward", "TP 2"): 0.8}
SPEED_UPS = {("forward", "TP 2"): 1.8, ("forward", "DP 2"): 1.9}


def operations(configuration, batch, sequence, mode):
    """Floating-point operations of a step of a GPT-2: products of every layer and of the head, and the half of attention's scores that a causal mask leaves."""
    layers, hidden, ffn = configuration["n_layer"], configuration["n_embd"], configuration["n_inner"]
    weights = layers * (4 * hidden * hidden + 2 * hidden * ffn) + hidden * configuration["vocab_size"]
    attention = layers * 4 * sequence * sequence * hidden * batch / 2
    return (2 * weights * batch * sequence + attention) * (3 if mode == "train" else 1)


def last_line(command):
    # What torchrun sets anyway, with a warning.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout.strip().splitlines()[-1]


def torch_step(model, batch, sequence, ranks, options, mode, steps):
    script = pathlib.Path(__file__).with_name("torch_tp.py")
    launch = [sys.executable] if ranks == 1 else [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    return json.loads(last_line([
        *launch, str(script), *model.split(), *options.split(), "--mode", mode, "--batch", str(batch), "--seq", str(sequence),
        "--warmup", str(WARMUP), "--steps", str(steps)]))


def tpplan_step(tpplan, plan, steps):
    return json.loads(last_line([tpplan, "run", plan, "--steps", str(WARMUP + steps), "--format", "json"]))


def torch_products():
    """GFLOP/s of torch.mm on one thread, at the size that `tpplan calibrate` finds the most at."""
    torch.set_num_threads(1)
    a, b = torch.rand(1024, 1024), torch.rand(1024, 4096)
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * 1024 * 1024 * 4096 / best / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tpplan", type=pathlib.Path)
    parser.add_argument("--only", default="", help="cases whose model, mode or name have this word")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--results", type=pathlib.Path, help="write the table to this file too")
    arguments = parser.parse_args()
    tpplan = arguments.tpplan.resolve()

    folder = ROOT / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    hardware = folder / "hardware.json"
    last_line([tpplan, "calibrate", "--quick", "--ranks", "1", "-o", hardware])
    ours = json.loads(hardware.read_text())["devices"]["cpu-core"]["peak_TFLOPS"]["fp32"] * 1e3
    theirs = torch_products()
    scale = max(1, 2 / (ours / theirs))
    lines = [
        "# Beside PyTorch", "",
        f"`make bench-torch`, {datetime.date.today()}: {processor()}, {os.cpu_count()} cores, PyTorch {torch.__version__}. One thread multiplies matrices at {ours:.0f}"
        f" GFLOP/s (OpenBLAS) and {theirs:.0f} GFLOP/s (torch.mm), {ours / theirs:.2f} times as fast" + (
            "." if scale == 1 else f"; limits are {scale:.2f} times those for twice as fast."), "",
        f"Medians of {arguments.repetitions} runs of {arguments.steps} steps, both programs in turn; losses are equal to 1e-5. Plans for training are made"
        f" with `{LEAN}`.", "",
        "| model | mode | split | tpplan | PyTorch | ratio | limit | memory | PyTorch's | ratio | limit | to the plan's | met |", "|---" * 13 + "|"]
    print("\n".join(lines), flush=True)
    is_met = True
    medians = {}
    for name, (configuration, batch, sequence, options) in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps(configuration))
        for mode in ("forward", "train"):
            for case, (ranks, degrees, peer, limit) in CASES.items():
                if arguments.only not in f"{name} {mode} {case}":
                    continue
                plan = folder / f"{name}-{mode}-{case}.json".replace(" ", "-")
                last_line([tpplan, "estimate", folder / f"{name}.json", hardware, *degrees.format(half=batch // 2).split(), "--batch", str(batch),
                           "--seq", str(sequence), "--mode", mode, *(LEAN.split() if mode == "train" else []), "-o", plan])
                a, b, memory, peer_memory, to_plan = [], [], [], [], []
                for _ in range(arguments.repetitions):
                    own = tpplan_step(tpplan, plan, arguments.steps)
                    other = torch_step(options, batch, sequence, ranks, peer, mode, arguments.steps)
                    a.append(own["median_step_seconds"])
                    b.append(other["median_s"])
                    memory.append(max(own["peak_rss_bytes"]) / 2**20)
                    peer_memory.append(max(x - y for x, y in zip(other["peak_rss_mb"], other["import_rss_mb"])))
                    to_plan.append(max((x / y - 1 for x, y in zip(own["peak_rss_bytes"], own["predicted_rss_bytes"])), key=abs))
                    pairs = list(zip(own["losses"], other["losses"]))
                    if not pairs or any(abs(x / y - 1) > 1e-5 for x, y in pairs[:5]):
                        sys.exit(f"{name}, {mode}, {case}: losses {own['losses']} and {other['losses']} differ: these are not the same model")
                a, b, memory, peer_memory, to_plan = map(statistics.median, (a, b, memory, peer_memory, to_plan))
                medians[name, mode, case] = a
                is_good = a / b <= limit * scale and memory / peer_memory <= MEMORY_LIMIT and abs(to_plan) <= PLAN_LIMIT
                is_met = is_met and is_good
                lines.append(
                    f"| {name} | {mode} | {case} | {a:.3f} s | {b:.3f} s | {a / b:.2f} | {limit * scale:.2f} | {memory:.0f} MiB | {peer_memory:.0f} MiB |"
                    f" {memory / peer_memory:.2f} | {MEMORY_LIMIT} | {100 * to_plan:+.1f} % | {'yes' if is_good else 'NO'} |")
                print(lines[-1], flush=True)
    configuration, batch, sequence, _ = MODELS["medium"]
    against = ["", "| medium | split | GFLOP/s | of as many OpenBLAS products | wanted | over one rank | wanted | met |", "|---" * 8 + "|"]
    for (name, mode, case), seconds in medians.items():
        if name != "medium":
            continue
        rate = operations(configuration, batch, sequence, mode) / seconds / 1e9
        share, speed_up = rate / (CASES[case][0] * ours), medians.get(("medium", mode, "one rank"), float("nan")) / seconds
        least, fastest = SHARES.get((mode, case)), SPEED_UPS.get((mode, case))
        is_good = (not least or share >= least) and (not fastest or not speed_up < fastest)
        is_met = is_met and is_good
        against.append(f"| {mode} | {case} | {rate:.0f} | {100 * share:.0f} % | {f'{100 * least:.0f} %' if least else '-'} | {speed_up:.2f} | {fastest or '-'} |"
                       f" {'yes' if is_good else 'NO'} |")
    if len(against) > 3:
        print("\n".join(against), flush=True)
        lines += against
    if arguments.results and not arguments.only:
        arguments.results.write_text("\n".join(lines) + "\n")
    sys.exit(0 if is_met else 1)


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


main()
