#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Training steps of GPT-2 at tensor parallelism 2: tpplan beside torch_tp.py, in turn, at the same sizes.

usage: compare_torch.py TPPLAN [--batch B] [--seq S] [--steps N] [--repetitions R]
Prints each repetition's median step, the median of those, and the ratio tpplan / PyTorch. One thread a rank on both sides.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

WARMUP = 2  # steps that neither side counts


def last_line(command):
    # What torchrun sets anyway, with a warning.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return result.stdout.strip().splitlines()[-1]


def torch_step(arguments):
    script = pathlib.Path(__file__).with_name("torch_tp.py")
    report = json.loads(last_line([
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), "--tp", "2", "--mode", "train",
        "--batch", str(arguments.batch), "--seq", str(arguments.seq), "--warmup", str(WARMUP), "--steps", str(arguments.steps),
    ]))
    return report["median_s"], report["losses"][0]


def tpplan_step(arguments, plan):
    command = [arguments.tpplan, "run", plan, "--steps", str(WARMUP + arguments.steps), "--format", "json"]
    report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return report["median_step_seconds"], report["losses"][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tpplan")
    for name, default in dict(batch=4, seq=256, steps=5, repetitions=3).items():
        parser.add_argument("--" + name, type=int, default=default)
    arguments = parser.parse_args()

    folder = pathlib.Path("build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    plan = str(folder / "gpt2-tp2.json")
    subprocess.run(
        [arguments.tpplan, "estimate", "models/gpt2.json", "hardware/local.json", "--tp", "2", "--pp", "1", "--dp", "1",
         "--batch", str(arguments.batch), "--seq", str(arguments.seq), "-o", plan],
        stdout=subprocess.DEVNULL, check=True)

    print(f"GPT-2, tensor parallelism 2, batch {arguments.batch}, sequence {arguments.seq}, fp32, a training step")
    ours, theirs = [], []
    for repetition in range(arguments.repetitions):
        (a, loss_a), (b, loss_b) = tpplan_step(arguments, plan), torch_step(arguments)
        ours.append(a)
        theirs.append(b)
        print(f"  {repetition + 1}: tpplan {a:.3f} s, PyTorch {b:.3f} s, ratio {a / b:.2f}; first loss {loss_a:.6f}, {loss_b:.6f}", flush=True)
        if abs(loss_a / loss_b - 1) > 1e-5:
            sys.exit("the first losses differ by more than 1e-5: these are not the same model")
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"  median: tpplan {a:.3f} s, PyTorch {b:.3f} s, ratio {a / b:.2f}")


main()
