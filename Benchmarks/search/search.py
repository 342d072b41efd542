#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time, CPU time, memory and gap of searches over the whole space.

usage: search.py TPPLAN [--time-limit 120] [--only WORD] [--mesh-axes 3]
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# Model, hardware, devices; batch and sequence are the model's workload.
SEARCHES = [
    ("gpt2", "dgx-a100", 8), ("llama-3-8b", "dgx-h100", 64), ("gpt3-175b", "dgx-a100", 1024), ("gpt-39b", "aws-p3", 64),
    ("llama-3-405b", "dgx-h100", 16384), ("mixtral-8x7b", "dgx-h100", 256),
]


def measured(command):
    """Exit status, output, errors, CPU seconds and peak bytes of one process."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        return process.returncode, output.read(), errors.read(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tpplan", type=pathlib.Path)
    parser.add_argument("--time-limit", type=float, default=120, help="seconds for each search")
    parser.add_argument("--only", default="", help="models whose name has this word")
    parser.add_argument("--mesh-axes", help="the most axes of a mesh, where not as usual")
    arguments = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    plan = os.path.join(folder.name, "plan.json")
    print("| model | devices | status | step | bound | gap | seconds | CPU seconds | peak memory | solved | excluded | plan |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for model, hardware, devices in SEARCHES:
        if arguments.only not in model:
            continue
        code, output, errors, cpu, memory = measured([
            str(arguments.tpplan.resolve()), "search", f"models/{model}.json", f"hardware/{hardware}.json", "--devices", str(devices),
            "--time-limit", f"{arguments.time_limit}s", "--format", "json", "-o", plan,
        ] + (["--mesh-axes", arguments.mesh_axes] if arguments.mesh_axes else []))
        if code not in (0, 3):
            sys.exit(f"{model} on {hardware}: exit code {code}\n{errors}")
        found = json.loads(output)
        mebibytes = f"{memory / 2**20:.0f} MiB"
        start = f"| {model} | {devices} {hardware} | {found['status']}"
        times = f"{found['search_seconds']:.1f} | {cpu:.1f} | {mebibytes}"
        if code == 3:
            print(f"{start}, no plan | | {found['lower_bound_seconds']:.4g} s | | {times} | | | |", flush=True)
            continue
        counts = found["configurations"]
        mesh = " x ".join(map(str, found["mesh"]))
        print(
            f"{start} | {found['objective_seconds']:.4g} s | {found['lower_bound_seconds']:.4g} s | {100 * found['gap']:.2g} % | {times} "
            f"| {counts['priced']} | {counts['pruned']} | {found['stages']} stages, mesh {mesh}, {found['micro_batches']} micro-batches |",
            flush=True)


if __name__ == "__main__":
    main()
