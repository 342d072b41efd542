#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""`tpplan solve` on real problems of the ASPLOS 2025 contest on intra-operator parallelism, each within the contest's own time limit.

usage: solve_contest.py TPPLAN [--folder DIR] [--only B,G] [--time-limit 600s]
Prints a table beside the best costs that the contest published. Every solution is priced again here, moment by moment, with nothing of
tpplan's; the exit code is 1 where that disagrees. Where the folder has no problem it says so, and ends with 0.
"""
import argparse
import gzip
import json
import pathlib
import resource
import subprocess
import sys
import tempfile

# Instance, the contest's limit in seconds, the best cost that it published (github.com/google/iopddl).
INSTANCES = [
    ("B", 60, 532_843),
    ("G", 120, 217_039),
    ("A", 60, 6_548_641_531),
    ("P", 240, 662_197_407_330),
    ("M", 180, 49_928_460_991),
    ("S", 240, 1_534_613_444),
]
MARGIN = 3  # seconds of the contest's limit that are left for writing the solution and ending, on a busy machine too
FORBIDDEN = 10**18
COLUMNS = "{:<2} {:>15} {:>15} {:>8} {:>10} {:>7} {:>7} {:>5} {:>15} {:>8}"


def price(path, choice):
    """What a choice costs by the words of the format; an error where it is not legal."""
    with gzip.open(path) as file:
        problem = json.load(file)["problem"]
    nodes, edges = problem["nodes"], problem["edges"]
    if len(choice) != len(nodes["costs"]):
        raise ValueError(f"{len(choice)} strategies for {len(nodes['costs'])} nodes")
    costs = []
    changes = {}
    for node, strategy in enumerate(choice):
        costs.append(nodes["costs"][node][strategy])
        start, end = nodes["intervals"][node]
        if start < end:
            usage = nodes["usages"][node][strategy]
            changes[start] = changes.get(start, 0) + usage
            changes[end] = changes.get(end, 0) - usage
    for (tail, head), matrix in zip(edges["nodes"], edges["costs"]):
        costs.append(matrix[choice[tail] * len(nodes["costs"][head]) + choice[head]])
    if max(costs, default=0) >= FORBIDDEN:
        raise ValueError("the solution has a forbidden entry")
    used = 0
    for moment in sorted(changes):
        used += changes[moment]
        if used > problem["usage_limit"]:
            raise ValueError(f"{used} is used at {moment}, the limit is {problem['usage_limit']}")
    return sum(costs)


def solve(tpplan, path, limit, output):
    command = [tpplan, "solve", str(path), "--time-limit", limit, "--format", "json", "-o", str(output)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode not in (0, 3):
        sys.exit(f"tpplan: {' '.join(command)} ended with {result.returncode}")
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tpplan")
    parser.add_argument("--folder", default="../shared/iopddl", help="where the contest's files are")
    parser.add_argument("--only", help="some instances: B,G,A,P,M,S")
    parser.add_argument("--time-limit", help="instead of the contest's limits, for example 600s")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [name for name, _, _ in INSTANCES]
    unknown = set(wanted) - {name for name, _, _ in INSTANCES}
    if unknown:
        parser.error(f"--only: there is no instance {', '.join(sorted(unknown))}; expected some of B,G,A,P,M,S")

    folder = pathlib.Path(arguments.folder)
    wrong = 0
    has_title = False
    for name, limit, best in INSTANCES:
        if name not in wanted:
            continue
        path = folder / f"asplos-2025-iopddl-{name}.json.gz"
        if not path.exists():
            print(f"skipped: there is no {path}; it comes from github.com/google/iopddl", flush=True)
            continue
        if not has_title:
            print(COLUMNS.format("", "cost", "bound", "gap", "status", "seconds", "cpu s", "limit", "contest's best", "than it"))
            has_title = True
        with tempfile.TemporaryDirectory() as temporary:
            output = pathlib.Path(temporary) / "solution.json"
            limit_text = arguments.time_limit or f"{limit}s"
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            report = solve(arguments.tpplan, path, arguments.time_limit or f"{limit - MARGIN}s", output)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            # On a busy machine this says more than the time that has passed.
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times = (f"{report['solve_seconds']:.1f}", f"{used:.1f}", limit_text)
            if report["cost"] is None:
                bound = "-" if report["lower_bound"] is None else f"{report['lower_bound']:,}"
                line = ("-", bound, "-", report["status"], *times, f"{best:,}", "-")
                print(COLUMNS.format(name, *line), flush=True)
                continue
            solution = json.loads(output.read_text())["solution"]
        change = (report["cost"] - best) / best
        print(COLUMNS.format(
            name, f"{report['cost']:,}", f"{report['lower_bound']:,}", f"{report['gap']:.4%}" if report["gap"] else "0", report["status"],
            *times, f"{best:,}", f"{change:+.3%}" if change else "equal"), flush=True)
        try:
            cost = price(path, solution)
            if cost != report["cost"]:
                raise ValueError(f"the solution costs {cost}, not {report['cost']}")
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            wrong += 1
    sys.exit(1 if wrong else 0)


main()
