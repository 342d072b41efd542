#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicted beside measured on this machine: calibrates, prices plans of three models, runs them, and compares.

usage: validate_local.py TPPLAN [--only WORD] [--steps N] [--rounds N] [--patience S] [--hardware FILE] [--results FILE]
Writes plans, the calibrated hardware file and every figure under build/local; exits with 1 where a bar is missed.

The plans of a model are run in turn, round after round, so that what changes the machine's speed for minutes changes it for all of them. A step counts where every
rank had its core for 97 % of it: on a machine that other work shares, what other processes took is no error of the
prediction. A plan of which no two steps count is run again, after a wait for a quieter moment; one for which that never comes is listed as disturbed, and
left out of the figures. For every plan the processor time stands beside: of a step's ranks the one that got least, in the step that took least. Without
others it is the step's time; with them it is the nearest to it that can be had.
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
WARMUP = 1  # steps of a run that never count
UNDISTURBED = 0.97
BARS = {"median": 0.10, "p95": 0.25, "spearman": 0.9, "regret": 0.05, "memory": 0.05}

GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", "tie_word_embeddings": True,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "layer_norm_epsilon": 1e-5}
MODELS = {
    "gpt2-small": (GPT2 | {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}, 4, 256),
    "gpt2-medium-4": (GPT2 | {"n_layer": 4, "n_embd": 1024, "n_head": 16, "n_inner": 4096, "n_positions": 1024, "vocab_size": 8192}, 2, 512),
    "llama-4": ({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 1024, "num_hidden_layers": 4,
                 "num_attention_heads": 16, "num_key_value_heads": 4, "intermediate_size": 2816, "vocab_size": 8192,
                 "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
                 "attention_bias": False}, 2, 512),
}

# Name, mode, ranks, options of `estimate`; None: searched, with options of `search`.
PLANS = [
    ("one rank", "forward", 1, "--tp 1 --pp 1 --dp 1"),
    ("one rank", "train", 1, "--tp 1 --pp 1 --dp 1"),
    ("TP 2", "forward", 2, "--tp 2 --pp 1 --dp 1"),
    ("DP 2", "forward", 2, "--tp 1 --pp 1 --dp 2"),
    ("PP 2", "forward", 2, "--tp 1 --pp 2 --dp 1 --micro-batch 1"),
    ("TP 2", "train", 2, "--tp 2 --pp 1 --dp 1"),
    ("TP 2 + SP", "train", 2, "--tp 2 --pp 1 --dp 1 --sp"),
    ("DP 2", "train", 2, "--tp 1 --pp 1 --dp 2"),
    ("DP 2, ZeRO 1", "train", 2, "--tp 1 --pp 1 --dp 2 --zero 1"),
    ("DP 2, ZeRO 3", "train", 2, "--tp 1 --pp 1 --dp 2 --zero 3"),
    ("CP 2", "train", 2, "--tp 1 --pp 1 --dp 1 --cp 2"),
    ("PP 2, 1F1B", "train", 2, "--tp 1 --pp 2 --dp 1 --micro-batch 1"),
    ("TP 2, recompute", "train", 2, "--tp 2 --pp 1 --dp 1 --recompute full"),
    ("attention by heads, MLP by data", "train", 2, "search --pp 1 --pin *.attn.core=heads|*.self_attn.core=heads --pin *.mlp.*=data"),
    ("searched", "forward", 2, "search"),
    ("searched", "train", 2, "search"),
    ("DP 2 x TP 2", "train", 4, "--tp 2 --pp 1 --dp 2"),
    ("PP 2 x TP 2", "train", 4, "--tp 2 --pp 2 --dp 1 --micro-batch 1"),
]


def note(text):
    print(text, file=sys.stderr, flush=True)


def call(command):
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr}")
    return json.loads(result.stdout)


def busy():
    """The part of all cores' time that was used in the last second."""
    def read():
        numbers = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]
    (total, idle) = read()
    time.sleep(1)
    (later, later_idle) = read()
    return 1 - (later_idle - idle) / max(later - total, 1)


def await_quiet(seconds):
    end = time.monotonic() + seconds
    while busy() > 0.15 and time.monotonic() < end:
        pass


def plan_file(tpplan, folder, model, hardware, plan):
    name, mode, ranks, options = plan
    _, batch, sequence = MODELS[model]
    words = options.split()
    verb = "search" if words[0] == "search" else "estimate"
    words = words[1:] if verb == "search" else words
    if verb == "search":
        words += ["--devices", str(ranks)]
    # Of the patterns of a pin, the one that the model has operators for.
    words = [next(p for p in word.split("|") if ("self_attn" in p) == model.startswith("llama")) if "|" in word else word for word in words]
    path = folder / f"{model} {name} {mode}.json".replace(" ", "-").replace(",", "")
    call([tpplan, verb, folder / f"{model}.json", hardware, *words, "--batch", str(batch), "--seq", str(sequence), "--mode", mode,
          "--format", "json", "-o", path])
    return path


class Measured:
    """The runs of one plan: steps that count and others, and what does not depend on the time."""

    def __init__(self, path):
        self.path, self.seen, self.report = path, [], None

    def run(self, tpplan, steps):
        self.report = call([tpplan, "run", self.path, "--steps", str(WARMUP + steps), "--format", "json"])
        self.seen += list(zip(self.report["step_core_share"], self.report["step_seconds"]))[WARMUP:]

    def counted(self):
        return [seconds for share, seconds in self.seen if share >= UNDISTURBED]

    def result(self):
        """The last report, with the median of the steps that count; the best there are, marked as disturbed, where too few do."""
        counted = self.counted()
        is_disturbed = len(counted) < 2
        return self.report | {
            "seconds": max(self.seen)[1] if is_disturbed else statistics.median(counted),
            "processor": min(share * seconds for share, seconds in self.seen), "share": max(self.seen)[0], "counted": len(counted),
            "disturbed": is_disturbed}


def measure(tpplan, paths, steps, rounds, patience):
    """Runs the plans in turn, round after round: what changes the machine's speed for minutes changes it for all of them."""
    plans = [Measured(path) for path in paths]
    for number in range(rounds):
        for plan in plans:
            await_quiet(min(10, patience))
            plan.run(tpplan, steps)
        note(f"  round {number + 1} of {rounds}")
    for plan in plans:
        end = time.monotonic() + patience
        while len(plan.counted()) < 2 and time.monotonic() < end:
            await_quiet(min(30, max(0, end - time.monotonic())))
            plan.run(tpplan, steps)
    return [plan.result() for plan in plans]


def ranks_of(values):
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = [0.0] * len(values)
    for place, index in enumerate(order):
        places[index] = place
    return places


def spearman(a, b):
    """Of values without ties."""
    a, b = ranks_of(a), ranks_of(b)
    n = len(a)
    return 1 - 6 * sum((x - y) ** 2 for x, y in zip(a, b)) / (n * (n * n - 1)) if n > 1 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tpplan", type=pathlib.Path)
    parser.add_argument("--only", default="", help="models whose name has this word")
    parser.add_argument("--steps", type=int, default=2, help="steps of a run that may count")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each plan, in turn with those of the same model's others")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait and repeat for one plan on a machine that others use")
    parser.add_argument("--hardware", type=pathlib.Path, help="a calibrated file, in place of calibrating")
    parser.add_argument("--results", type=pathlib.Path, help="write the table to this file too")
    arguments = parser.parse_args()
    tpplan = arguments.tpplan.resolve()
    folder = ROOT / "build" / "local"
    folder.mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1

    hardware = arguments.hardware
    if hardware is None:
        hardware = folder / "hardware.json"
        await_quiet(arguments.patience)
        note(subprocess.run([tpplan, "calibrate", "--ranks", str(min(2, cores)), "-o", hardware], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                            check=True).stdout.rstrip())
    hardware = hardware.resolve()
    record = json.loads(hardware.read_text())["calibration"]

    rows = []
    for model, (configuration, _, _) in MODELS.items():
        if arguments.only not in model:
            continue
        (folder / f"{model}.json").write_text(json.dumps(configuration))
        timed = [plan for plan in PLANS if plan[2] <= min(cores, 2)]
        paths = [plan_file(tpplan, folder, model, hardware, plan) for plan in timed]
        note(f"{model}: {len(timed)} plans")
        for (name, mode, ranks, _), report in zip(timed, measure(tpplan, paths, arguments.steps, arguments.rounds, arguments.patience)):
            row = {"model": model, "plan": name, "mode": mode, "ranks": ranks, "predicted": report["predicted_step_seconds"],
                   "rss": max(report["peak_rss_bytes"]), "predicted_rss": max(report["predicted_rss_bytes"]),
                   "program_rss": max(report["program_rss_bytes"]), "tensors": max(report["peak_tensor_bytes"])}
            row |= {key: report[key] for key in ("seconds", "counted", "disturbed", "share", "processor", "parts")}
            note(f"{model}, {name}, {mode}: predicted {row['predicted']:.3f} s, measured {row['seconds']:.3f} s "
                 f"({row['predicted'] / row['seconds'] - 1:+.1%}){', disturbed' if row['disturbed'] else ''}")
            rows.append(row)
        for plan in PLANS:
            name, mode, ranks, _ = plan
            if ranks <= min(cores, 2):
                continue
            report = call([tpplan, "run", plan_file(tpplan, folder, model, hardware, plan), "--steps", "2", "--verify", "--format", "json"])
            rows.append({"model": model, "plan": name, "mode": mode, "ranks": ranks, "verified": report["verify"]["first_difference"] is None,
                         "seconds": report["step_seconds"][-1], "predicted": report["predicted_step_seconds"]})
            note(f"{model}, {name}, {mode}: verified {rows[-1]['verified']}")
        (folder / "results.json").write_text(json.dumps(rows, indent=1))

    text, is_met = summary(rows, record)
    print(text)
    if arguments.results:
        arguments.results.write_text(text + "\n")
    sys.exit(0 if is_met else 1)


def summary(rows, record):
    lines = ["# Predicted beside measured on one machine", "",
             f"`make validate-local`, {datetime.date.today()}: {record['machine']}, {record['cores']} cores, {record['blas']}, {record['mpi']};"
             f" calibrated on {record['ranks']} ranks at once, system load {record['load']:.2g} before.", "",
             "A model's plans are run in turn, three times each. The step time is the median of the steps in which every rank had its core for 97 % of the time; `steps`",
             "says how many those are. Memory is that of the rank with most: the plan's, and what calibration found a process to have beside its tensors, against the peak resident size; `program` is what the",
             "executor's blocks take by the program on paper, and the same process.",
             "`processor` is the processor time of the rank that had least, in the step that took least: what is left of the measured time where other processes",
             "take the cores.", "",
             "| model | plan | mode | ranks | predicted | measured | error | steps | processor | error | memory, plan | measured | error | program | error |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    timed = [row for row in rows if "rss" in row]
    for row in timed:
        lines.append(
            f"| {row['model']} | {row['plan']} | {row['mode']} | {row['ranks']} | {row['predicted']:.3f} s | {row['seconds']:.3f} s | "
            + ("disturbed" if row["disturbed"] else f"{row['predicted'] / row['seconds'] - 1:+.1%}")
            + f" | {row['counted']} | {row['processor']:.3f} s | {row['predicted'] / row['processor'] - 1:+.1%} | {row['predicted_rss'] / 2**20:.0f} MiB | {row['rss'] / 2**20:.0f} MiB | {row['predicted_rss'] / row['rss'] - 1:+.1%} "
            + f"| {row['program_rss'] / 2**20:.0f} MiB | {row['program_rss'] / row['rss'] - 1:+.1%} |")
    quiet = [row for row in timed if not row["disturbed"]]
    figures, is_met = [], len(quiet) >= 24

    def figure(name, value, bar, is_good, shown="{:.1%}"):
        nonlocal is_met
        is_met = is_met and is_good
        figures.append(f"| {name} | {shown.format(value)} | {bar} | {'yes' if is_good else 'NO'} |")

    errors = sorted(abs(row["predicted"] / row["seconds"] - 1) for row in quiet)
    if errors:
        p95 = errors[min(len(errors) - 1, max(0, -(-95 * len(errors) // 100) - 1))]
        figure("step time, median error", statistics.median(errors), "10 %", statistics.median(errors) <= BARS["median"])
        figure("step time, 95th percentile", p95, "25 %", p95 <= BARS["p95"])
    processor = sorted(abs(row["predicted"] / row["processor"] - 1) for row in timed)
    if processor:
        figure("predicted step against processor time, median error, all plans", statistics.median(processor), "", True)
        figure("predicted step against processor time, worst error, all plans", processor[-1], "", True)
    for model in MODELS:
        for ranks in (1, 2):
            group = [row for row in quiet if row["model"] == model and row["ranks"] == ranks]
            rho = spearman([row["predicted"] for row in group], [row["seconds"] for row in group])
            if rho is not None:
                figure(f"Spearman, {model}, {len(group)} plans on {ranks} rank{'s' if ranks > 1 else ''}", rho, "0.9", rho >= BARS["spearman"], "{:.3f}")
    for model in MODELS:
        for mode in ("forward", "train"):
            group = [row for row in quiet if row["model"] == model and row["mode"] == mode]
            own = [row for row in group if row["plan"] == "searched"]
            if own:
                regret = own[0]["seconds"] / min(row["seconds"] for row in group) - 1
                figure(f"searched plan behind the fastest, {model}, {mode}", regret, "5 %", regret <= BARS["regret"])
    memory = sorted((abs(row["predicted_rss"] / row["rss"] - 1) for row in timed))
    if memory:
        figure("peak memory, median error", statistics.median(memory), "", True)
        figure("peak memory, worst error", memory[-1], "5 %", memory[-1] <= BARS["memory"])
    programs = sorted(abs(row["program_rss"] / row["rss"] - 1) for row in timed)
    if programs:
        figure("peak memory by the program on paper, worst error", programs[-1], "", True)
    lines += ["", f"{len(quiet)} plans are compared, {len(timed) - len(quiet)} were disturbed by other processes all the time.", "",
              "| figure | value | bar | met |", "|---|---|---|---|", *figures]
    more = [row for row in rows if "rss" not in row]
    if more:
        lines += ["", "More ranks than cores take turns, so that their times say nothing; they are run and compared with one rank, tensor by tensor:", "",
                  "| model | plan | ranks | predicted with a core each | measured | verified |", "|---|---|---|---|---|---|"]
        lines += [f"| {row['model']} | {row['plan']} | {row['ranks']} | {row['predicted']:.3f} s | {row['seconds']:.3f} s | "
                  f"{'yes' if row['verified'] else 'NO'} |" for row in more]
        is_met = is_met and all(row["verified"] for row in more)
    return "\n".join(lines), is_met


main()
