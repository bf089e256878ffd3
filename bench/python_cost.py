"""What the Python package costs beside the command, and what of its time lies outside the core.

    make build wheel && pip install target/wheels/*.whl
    python bench/python_cost.py [--pairs 5] [--data data/debian/train.tsv]

Training and prediction: the same task by `linocut train` and `linocut predict`, and by the package in a process of its own,
in turns; whole processes, with what Python needs to start. `Bank.predict`: of 1,000 short texts the time outside the core.
"""

import argparse
import cProfile
import hashlib
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = """
import csv, sys, linocut
rows = list(csv.DictReader(open({data!r}), delimiter="\\t", quoting=csv.QUOTE_NONE))[:{rows}]
base = linocut.Base({base!r})
cut = base.train([r["text"] for r in rows], [r["role"] for r in rows], name="role", epochs=1)
cut.save({out!r})
"""
PREDICT = """
import csv, linocut
rows = list(csv.DictReader(open({data!r}), delimiter="\\t", quoting=csv.QUOTE_NONE))
found = linocut.Base({base!r}).predict(linocut.Cut({cut!r}), [r["text"] for r in rows])
with open({out!r}, "w") as out:
    for label, scores in zip(found.labels, found.scores):
        out.write(f"{{label}}\\t{{scores.max()}}\\n")
"""


def seconds(command):
    """Of a whole process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def in_turns(name, command, package, pairs):
    """Median times of both, and of their ratio pair by pair."""
    times = [(seconds(command(i)), seconds(package(i))) for i in range(pairs)]
    ratios = sorted(there / here for here, there in times)
    medians = [statistics.median(column) for column in zip(*times)]
    print(
        f"| {name} | {medians[0]:.2f} s | {medians[1]:.2f} s | {statistics.median(ratios):.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f}) |"
    )


def outside_the_core(base, cut, rows):
    """Share of `Bank.predict` that is not spent in the compiled part."""
    import linocut

    bank = linocut.Bank(linocut.Base(base))
    bank["role"] = linocut.Cut(cut)
    shares = []
    for _ in range(7):
        profile = cProfile.Profile()
        profile.enable()
        bank.predict(rows)
        profile.disable()
        stats = pstats.Stats(profile)
        core = sum(entry[2] for (_, _, name), entry in stats.stats.items() if "logits" in name and "_core" in name)
        shares.append(1 - core / stats.total_tt)
    return statistics.median(shares)


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--linocut", default="target/release/linocut")
    args.add_argument("--base", default="models/all-minilm-l6-v2")
    args.add_argument("--data", default="data/debian/train.tsv")
    args.add_argument("--dev", default="data/debian/dev.tsv")
    args.add_argument("--rows", type=int, default=2000)
    args.add_argument("--pairs", type=int, default=5)
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        lines = Path(args.data).read_text().splitlines()[: args.rows + 1]
        (out / "rows.tsv").write_text("\n".join(lines) + "\n")
        print(f"{len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}, {args.pairs} pairs\n")
        print("| work | command | package | ratio |\n|---|--:|--:|--:|")

        def train(i):
            rows = ["--train", str(out / "rows.tsv"), "--text", "text", "--label", "role", "--epochs", "1"]
            return [args.linocut, "train", "--base", args.base, *rows, "--out", str(out / f"c{i}.cut"), "--quiet"]

        def train_there(i):
            given = {"data": str(out / "rows.tsv"), "rows": args.rows, "base": args.base, "out": str(out / f"p{i}.cut")}
            return [sys.executable, "-c", TRAIN.format(**given)]

        in_turns(f"train, {args.rows} rows, one epoch", train, train_there, args.pairs)
        cuts = {hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.cut")}
        cut = str(out / "c0.cut")

        def predict(i):
            return [args.linocut, "predict", cut, "--base", args.base, "--in", args.dev, "--text", "text", "--quiet",
                    "--out", str(out / f"c{i}.tsv")]  # fmt: skip

        def predict_there(i):
            given = {"data": args.dev, "base": args.base, "cut": cut, "out": str(out / f"p{i}.tsv")}
            return [sys.executable, "-c", PREDICT.format(**given)]

        texts = [line.split("\t")[0] for line in Path(args.dev).read_text().splitlines()[1:]]
        in_turns(f"predict, {len(texts)} texts", predict, predict_there, args.pairs)
        bare = [seconds([sys.executable, "-c", "pass"]) for _ in range(11)]
        both = [seconds([sys.executable, "-c", "import linocut"]) for _ in range(11)]
        light = 1000 * (statistics.median(both) - statistics.median(bare))
        share = outside_the_core(args.base, cut, texts[:1000])
        print(f"\ncuts: {'the same to the byte' if len(cuts) == 1 else 'DIFFERENT'}")
        print(f"`import linocut`: {light:.0f} ms; `Bank.predict` of 1,000 texts outside the core: {100 * share:.1f}%")


if __name__ == "__main__":
    main()
