"""Trains every method on the benchmark tasks and prints a table of score by bytes.

    LINOCUT_TASKS=<folder of tasks> python bench/quality.py [--methods mask,full] [--tasks cola,mrpc]

Each run is `linocut train` with its defaults, one line of JSON a run appended to `--out`; runs
already in that file are not repeated. The table is printed as Markdown at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TASKS = ["trec6", "tweet_irony", "cola", "banking77", "stsb", "mrpc"]
METHODS = {
    "head": ["--method", "head"],
    "layers 4-5": ["--method", "layers", "--layers", "4-5"],
    "mask": ["--method", "mask"],
    "full": ["--method", "full"],
}


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--linocut", default="target/release/linocut")
    args.add_argument("--base", default="models/all-minilm-l6-v2")
    args.add_argument("--tasks", default=",".join(TASKS))
    args.add_argument("--methods", default=",".join(METHODS))
    args.add_argument("--seeds", default="0")
    args.add_argument("--out", default="bench/results/quality.jsonl")
    args.add_argument("--extra", default="", help="further options of linocut train")
    args = args.parse_args()
    folder = Path(os.environ.get("LINOCUT_TASKS") or sys.exit("set LINOCUT_TASKS"))
    out = Path(args.out)
    runs = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(r["task"], r["arm"], r["seed"], r["extra"]) for r in runs}
    for arm in args.methods.split(","):
        for task in args.tasks.split(","):
            for seed in map(int, args.seeds.split(",")):
                if (task, arm, seed, args.extra) in done:
                    continue
                with tempfile.TemporaryDirectory() as scratch:
                    command = [args.linocut, "train", "--base", args.base, "--json", "--quiet"]
                    command += ["--task", str(folder / task), "--out", f"{scratch}/x.cut"]
                    command += ["--seed", str(seed), *METHODS[arm], *args.extra.split()]
                    result = subprocess.run(command, capture_output=True, text=True)
                if result.returncode:
                    print(task, arm, result.stderr, file=sys.stderr)
                    continue
                run = {"task": task, "arm": arm, "seed": seed, "extra": args.extra}
                run |= json.loads(result.stdout)
                for key in ["cut", "seconds", "tokens_per_second"]:
                    run.pop(key)
                run["evaluation"] = run["evaluation"]["primary"]
                runs.append(run)
                with out.open("a") as file:
                    file.write(json.dumps(run) + "\n")
                score = run["evaluation"]["value"]
                zeros = f" {100 * run['sparsity']:.2f}% zeros" if run["sparsity"] else ""
                print(f"{task} {arm} seed {seed}: {100 * score:.2f}{zeros}, {run['bytes']} bytes", file=sys.stderr)
    table(runs)


def table(runs):
    print("| task | metric | method | epochs | score | trained numbers | zeros | bytes without head | bytes |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    groups = {}
    for run in runs:
        groups.setdefault((run["task"], run["arm"], run["extra"]), []).append(run)
    mean = lambda runs, value: sum(map(value, runs)) / len(runs)
    for (task, arm, _), runs in groups.items():
        score = 100 * mean(runs, lambda r: r["evaluation"]["value"])
        size, head = mean(runs, lambda r: r["bytes"]), mean(runs, lambda r: r["head_bytes"])
        zeros = f"{100 * mean(runs, lambda r: r['sparsity']):.2f}%" if runs[0]["sparsity"] else ""
        metric = runs[0]["evaluation"]["name"].replace("_", " ")
        trained = f"{runs[0]['trained_parameters']:,}"
        epochs = runs[0]["training"]["epochs"]
        print(f"| {task} | {metric} | {arm} | {epochs} | {score:.2f} | {trained} | {zeros} | {size - head:,.0f} | {size:,.0f} |")


if __name__ == "__main__":
    main()
