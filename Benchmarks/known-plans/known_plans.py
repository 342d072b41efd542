#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published splits beside what `tpplan search` finds.

usage: known_plans.py TPPLAN [--time-limit 60] [--only WORD]

For each plan of plans.json:
  published    what `tpplan estimate` predicts for the split as it was published. A micro-batch size that was not published is the best of 1, 2, 4, …
  same frame   what a search finds with the published mesh, stages, micro-batches and schedule: what is left to it are the operators' splits, ZeRO,
               recompute and cuts
  optimum      what a search finds with nothing given
  published / same frame is what the first changes, same frame / optimum what mesh, stages and micro-batches change.
A published plan is a point of the searched space: one that is better than the optimum, or than its bound, is an error (exit code 1).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent


class Runner:
    def __init__(self, tpplan, limit):
        self.tpplan, self.limit = tpplan, limit
        self.folder = tempfile.TemporaryDirectory()

    def call(self, verb, plan, *options):
        """The command's JSON with the written plan, None where nothing fits or the options make no sense for the model."""
        target = pathlib.Path(self.folder.name) / "plan.json"
        target.unlink(missing_ok=True)
        command = [
            self.tpplan, verb, f"models/{plan['model']}.json", f"hardware/{plan['hardware']}.json", "--batch", plan["batch"], "--seq",
            plan["sequence"], *options, "--format", "json", "-o", target,
        ]
        result = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)
        if result.returncode in (2, 3, 64):
            return None
        if result.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{result.stderr}")
        return json.loads(result.stdout) | {"written": json.loads(target.read_text())}

    def published(self, plan):
        """The published split; of several micro-batch sizes the one with the least step."""
        replica = plan["batch"] // plan["dp"]
        sizes = [plan["micro_batch"]] if "micro_batch" in plan else [s for s in (1, 2, 4, 8, 16) if replica % s == 0]
        degrees = [word for name in ("tp", "pp", "dp") for word in (f"--{name}", plan[name])]
        degrees += ["--recompute", plan["recompute"], "--zero", plan.get("zero", 0)]
        found = [self.call("estimate", plan, *degrees, "--micro-batch", size) for size in sizes]
        return min((f for f in found if f), key=lambda f: f["objective_seconds"], default=None)

    def search(self, plan, *options):
        return self.call("search", plan, "--devices", plan["tp"] * plan["pp"] * plan["dp"], "--time-limit", f"{self.limit}s", *options)


def seconds(value):
    return f"{value:#.4g}".rstrip(".") + " s"


def frame(found):
    stages = f"{found['stages']} x " if found["stages"] > 1 else ""
    schedule = f" {found['schedule']}" if found["stages"] > 1 else ""
    return f"{stages}({', '.join(map(str, found['mesh']))}) m={found['micro_batches']}{schedule}"


def describe(found):
    """What a plan's layers do: the first product of their MLP, their norms, ZeRO stages of their large weights, and recompute."""
    written = found["written"]
    layers = [o for o in written["operators"] if "{i" in o["name"]]

    def strategy(*endings):
        split = [o["strategy"] for o in layers if o["name"].endswith(endings)]
        return " / ".join(dict.fromkeys(degrees(words.split(","), written["mesh"]) for words in split))

    most = max(o["predicted"]["resident_bytes"] for o in layers)
    zero = sorted({o.get("zero", 0) for o in layers if o["predicted"]["resident_bytes"] > most / 20})
    recompute = dict.fromkeys(values(written.get("recompute", {})))
    return {
        "MLP up": strategy(".mlp.c_fc", ".mlp.up_proj"), "norm": strategy(".ln_1", ".input_layernorm"),
        "ZeRO": ", ".join(map(str, zero)), "recompute": " and ".join(recompute) or "none",
    }


def degrees(words, mesh):
    """The product of the axes that have each word: `data 32`, `data 4 x column 8`."""
    product = {}
    for word, size in zip(words, mesh):
        product[word] = product.get(word, 1) * size
    return " x ".join(f"{word} {size}" for word, size in product.items() if size > 1) or "none"


def values(node):
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return [v for part in node for v in values(part)]
    return [node] if node in ("none", "selective", "full") else []


def differences(published, optimum):
    a, b = describe(published), describe(optimum)
    return [f"{name} {a[name]} -> {b[name]}" for name in a if a[name] != b[name]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tpplan")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds for each search")
    parser.add_argument("--only", default="", help="plans whose name has this word")
    arguments = parser.parse_args()
    runner = Runner(pathlib.Path(arguments.tpplan).resolve(), arguments.time_limit)
    failed = False
    print("| plan | devices | published | predicted | same frame | optimum | predicted | gap | ratio | why |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for plan in json.loads((FOLDER / "plans.json").read_text())["plans"]:
        if arguments.only not in plan["plan"]:
            continue
        devices = plan["tp"] * plan["pp"] * plan["dp"]
        split = f"tp {plan['tp']} pp {plan['pp']} dp {plan['dp']}" + (f" ZeRO {plan['zero']}" if "zero" in plan else "")
        published = runner.published(plan)
        if published is None:
            print(f"| {plan['plan']} | {devices} | {split} | does not fit | | | | | | |", flush=True)
            failed = True
            continue
        step = published["objective_seconds"]
        mesh = ["--mesh", "x".join(map(str, published["mesh"])), "--pp", published["stages"], "--micro-batches", published["micro_batches"]]
        same = runner.search(plan, *mesh, "--schedule", published["schedule"])
        optimum = runner.search(plan)
        if optimum is None or same is None:
            print(f"| {plan['plan']} | {devices} | {split} | {seconds(step)} | | no plan within the limit | | | | |", flush=True)
            failed = True
            continue
        best, bound = optimum["objective_seconds"], optimum["lower_bound_seconds"]
        # Both are within the certificate's tolerance of what they state.
        bad = min(step - bound, step - best, step - same["lower_bound_seconds"]) < -1e-6 * step
        failed |= bad
        within = same["objective_seconds"]
        why = [f"in the same frame {step / within:.3f}, frame {within / best:.3f}"] + differences(published, optimum)
        gap = "0" if optimum["status"] == "optimal" else f"{100 * optimum['gap']:.2g} %"
        print(
            f"| {plan['plan']} | {devices} | {split}: {frame(published)} | {seconds(step)} | {seconds(within)} | {frame(optimum)} | {seconds(best)} "
            f"| {gap} in {optimum['search_seconds']:.1f} s | {step / best:.3f}{' WRONG' if bad else ''} | {'; '.join(why)} |",
            flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
