"""Full fine-tunes packed: without loss beside `zstd -19` and byte-plane entropies, and to budgets.

    export LINOCUT_TASKS=<folder of tasks>
    for task in trec6 tweet_irony cola mrpc; do
        python bench/torch_train.py --task $task --epochs 3 --lr 1e-4 --eval --save tuned/$task > tuned/$task.json
    done
    python bench/pack.py --tuned tuned

Each folder of `--tuned` is a model that PyTorch fine-tuned, its score before the one that PyTorch
gave. It is packed without loss (verified) and to each budget; `linocut train` with its defaults, the
mask, is set beside the budgets (or `--masks DIR` has `<task>.cut`). Scores are those of `linocut
eval` on the dev rows. One line of JSON a task is appended to `--out`; tasks already in that file are
not repeated. Needs zstd, numpy and safetensors. The tables are printed as Markdown at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

BUDGETS = ["5MB", "1MB", "500KB", "200KB"]


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--linocut", default="target/release/linocut")
    args.add_argument("--base", default="models/all-minilm-l6-v2")
    args.add_argument("--tuned", type=Path, required=True, help="folder of fine-tuned models by task")
    args.add_argument("--masks", type=Path, help="folder of mask cuts by task")
    args.add_argument("--out", default="bench/results/pack.jsonl")
    args = args.parse_args()
    tasks = Path(os.environ.get("LINOCUT_TASKS") or sys.exit("set LINOCUT_TASKS"))
    out = Path(args.out)
    runs = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for task in sorted(path.name for path in args.tuned.iterdir() if path.is_dir()):
        if task in {run["task"] for run in runs}:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            run = measure(args, tasks / task, Path(scratch))
        runs.append(run)
        with out.open("a") as file:
            file.write(json.dumps(run) + "\n")
    tables(runs)


def measure(args, task, scratch):
    def linocut(command, *more):
        line = [args.linocut, command, "--base", args.base, "--quiet", *map(str, more)]
        result = subprocess.run(line, capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"{' '.join(line)}\n{result.stderr}")
        return json.loads(result.stdout) if "--json" in more else result.stdout

    def score(cut):
        return linocut("eval", cut, "--task", task, "--json")["primary"]

    print(task.name, file=sys.stderr)
    tuned, packed, mask = args.tuned / task.name, scratch / "packed.cut", scratch / "mask.cut"
    if args.masks:
        mask = args.masks / f"{task.name}.cut"
    else:
        linocut("train", "--task", task, "--out", mask, "--json")
    before = json.loads((args.tuned / f"{task.name}.json").read_text())
    said = linocut("pack", "--tuned", tuned, *pairs(task), "--out", packed, "--verify", "--json")
    run = {"task": task.name, "metric": before["metric"], "full": before["score"]}
    run |= {"lossless": {"bytes": said["bytes"], "score": score(packed)["value"], "edits": said["edits"]}}
    run["tuned_bytes"] = (tuned / "model.safetensors").stat().st_size
    run["zstd_bytes"] = zstd(tuned / "model.safetensors")
    run["plane_entropy_bytes"] = plane_entropy(Path(args.base) / "model.safetensors", tuned / "model.safetensors")
    run["mask"] = {"bytes": mask.stat().st_size, "score": score(mask)["value"]}
    run["budgets"] = {}
    # The last one is the mask cut's own size.
    for budget in [*BUDGETS, str(run["mask"]["bytes"])]:
        cut = scratch / "budget.cut"
        said = linocut("pack", "--tuned", tuned, *pairs(task), "--out", cut, "--force", "--budget", budget, "--json")
        name = budget if budget in BUDGETS else "mask's size"
        run["budgets"][name] = {"bytes": said["bytes"], "score": score(cut)["value"], "edits": said["edits"]}
    print(json.dumps(run), file=sys.stderr)
    return run


def pairs(task):
    """What a model's files do not say: whether texts come in pairs."""
    return ["--pairs"] if json.loads((task / "task.json").read_text())["kind"] == "pair" else []


def zstd(path):
    """Bytes of `zstd -19` of the file."""
    result = subprocess.Popen(["zstd", "-q", "-19", "-c", path], stdout=subprocess.PIPE)
    size = sum(map(len, iter(lambda: result.stdout.read(1 << 20), b"")))
    assert result.wait() == 0
    return size


def plane_entropy(base, tuned):
    """Sum over tensors and byte planes of the differences of ordered bits of n·H(bytes)/8."""
    base, total = load_file(base), 0.0
    for name, values in load_file(tuned).items():
        name = name.removeprefix("bert.")
        if name not in base:
            total += values.nbytes
            continue
        step = (ordered(values) - ordered(base[name])).astype(np.int32)
        step = ((step << 1) ^ (step >> 31)).view(np.uint32)
        for plane in range(4):
            counts = np.bincount((step >> (8 * plane)) & 255, minlength=256)
            share = counts[counts > 0] / step.size
            total -= step.size * (share * np.log2(share)).sum() / 8
    return round(total)


def ordered(values):
    bits = np.ascontiguousarray(values, dtype=np.float32).ravel().view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint32)


def tables(runs):
    mb = lambda n: f"{n / 1e6:.1f} MB"
    print("\n| task | model | zstd -19 | byte planes' entropy | lossless cut | score before | after |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for run in runs:
        sizes = [run["tuned_bytes"], run["zstd_bytes"], run["plane_entropy_bytes"], run["lossless"]["bytes"]]
        scores = [run["full"], run["lossless"]["score"]]
        print(f"| {run['task']} | {' | '.join(map(mb, sizes))} | {' | '.join(f'{100 * s:.2f}' for s in scores)} |")
    names = [*BUDGETS, "mask's size"]
    print(f"\n| task | metric | full | {' | '.join(names)} | mask | its bytes |")
    print("|---|---|--:|" + "--:|" * (len(names) + 2))
    for run in runs:
        scores = [run["full"], *(run["budgets"][name]["score"] for name in names), run["mask"]["score"]]
        cells = " | ".join(f"{100 * s:.2f}" for s in scores)
        print(f"| {run['task']} | {run['metric'].replace('_', ' ')} | {cells} | {run['mask']['bytes']:,} |")


if __name__ == "__main__":
    main()
