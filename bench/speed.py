"""Training speed beside PyTorch + Transformers, as ratios from one run.

    make build base && cargo bench -p linocut --bench step --no-run
    python3 -m venv .venv && .venv/bin/pip install -r reference/requirements.txt
    LINOCUT_TASKS=<folder of tasks> python bench/speed.py --torch .venv/bin/python > bench/results/speed-<date>.md

Each row runs linocut and the peer in turn, `--runs` times each, and compares the medians of
tokens/s (real tokens, padding not counted; tokenising and evaluation not timed). PyTorch runs with
the better of eager and sdpa attention, found by one run of each. Run nothing beside it.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def command(argv, env=None):
    """(last line of JSON, peak memory in bytes) of one process."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.PIPE, env=env)
        error = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(argv)}\n{error}")
        out.seek(0)
        return json.loads(out.read().decode().strip().splitlines()[-1]), usage.ru_maxrss * 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--linocut", default="target/release/linocut")
    p.add_argument("--base", default="models/all-minilm-l6-v2")
    p.add_argument("--large", default="models/all-mpnet-base-v2")
    p.add_argument("--torch", default=".venv/bin/python", help="Python with torch and transformers")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--only", default="", help="rows whose name contains this")
    args = p.parse_args()
    tasks = Path(os.environ.get("LINOCUT_TASKS") or sys.exit("set LINOCUT_TASKS"))
    step = max(
        (f for f in Path("target/release/deps").glob("step-*") if not f.suffix),
        key=lambda f: f.stat().st_mtime,
    )

    def own(task, method, rows, epochs, *options, base=args.base):
        with tempfile.TemporaryDirectory() as scratch:
            argv = [args.linocut, "train", "--base", base, "--task", str(tasks / task)]
            argv += ["--out", f"{scratch}/x.cut", "--json", "--quiet", "--threads", "2", "--limit", str(rows)]
            argv += ["--method", *method.split(), "--epochs", str(epochs), *options]
            result, memory = command(argv)
        return result["tokens_per_second"], memory, result["seconds"]

    def own_fixed(shape, texts, length, method="full", steps=9):
        result, memory = command([str(step), shape, str(texts), str(length), method, "2", str(steps)])
        return result["tokens_per_s"], memory, result["median_step_s"]

    def peer(*options):
        attn = best_attention(options)
        result, memory = command([args.torch, "bench/torch_train.py", "--threads", "2", "--attn", attn, *options])
        return result["tokens_per_s"], memory, result["seconds"]

    attention = {}

    def best_attention(options):
        if options not in attention:
            rate = {}
            # Transformers' DeBERTa and MPNet attend in one way.
            one = "deberta-v3-base" in options or args.large in options
            for attn in ["eager"] if one else ["eager", "sdpa"]:
                argv = [args.torch, "bench/torch_train.py", "--threads", "2", "--attn", attn, *options]
                rate[attn] = command(argv)[0]["tokens_per_s"]
            attention[options] = max(rate, key=rate.get)
        return attention[options]

    def torch_rows(task, method, rows, epochs, *options, base=args.base):
        method = method.split(" --")
        options = list(options) + [o for m in method[1:] for o in ("--" + m).split()]
        # One epoch: as many steps, spread over the epoch's lengths, after a few untimed ones.
        passes = ["--steps", str(rows // 32)] if epochs == 1 else ["--epochs", str(epochs)]
        return peer("--model", base, "--task", str(tasks / task), "--method", method[0],
                    "--limit", str(rows), *passes, *options)

    layers = "layers --layers 4-5"
    rows = [
        ("full, sst2 rows", 2.0, lambda: own("sst2", "full", 1024, 1), lambda: torch_rows("sst2", "full", 1024, 1)),
        ("full, mrpc rows", 1.2, lambda: own("mrpc", "full", 256, 1), lambda: torch_rows("mrpc", "full", 256, 1)),
        ("full, MiniLM 32 × 64, random weights", 1.0, lambda: own_fixed("minilm", 32, 64),
         lambda: peer("--random", "minilm", "--fixed", "64", "--steps", "9")),
        ("full, 4 BERT-base layers 16 × 128, random weights", 1.0, lambda: own_fixed("bert-base-4-layers", 16, 128),
         lambda: peer("--random", "bert-base-4-layers", "--fixed", "128", "--batch", "16", "--steps", "5")),
        ("full, MPNet-base, trec6 rows", 1.0, lambda: own("trec6", "full", 320, 1, base=args.large),
         lambda: torch_rows("trec6", "full", 320, 1, base=args.large)),
        ("full, RoBERTa-base 16 × 128, random weights", 1.0, lambda: own_fixed("roberta-base", 16, 128, steps=3),
         lambda: peer("--random", "roberta-base", "--fixed", "128", "--batch", "16", "--steps", "3", "--warm", "1")),
        ("full, ModernBERT-base 16 × 128, random weights", 1.0, lambda: own_fixed("modernbert-base", 16, 128, steps=3),
         lambda: peer("--random", "modernbert-base", "--fixed", "128", "--batch", "16", "--steps", "3", "--warm", "1")),
        ("full, DeBERTa-v3-base 16 × 128, random weights", 1.0, lambda: own_fixed("deberta-v3-base", 16, 128, steps=3),
         lambda: peer("--random", "deberta-v3-base", "--fixed", "128", "--batch", "16", "--steps", "3", "--warm", "1")),
        ("mask over own full, sst2 rows (time, ≤ 1.2)", None, lambda: own("sst2", "full", 1024, 1), lambda: own("sst2", "mask", 1024, 1)),
        ("mask over own full, mrpc rows (time, ≤ 1.2)", None, lambda: own("mrpc", "full", 256, 1), lambda: own("mrpc", "mask", 256, 1)),
        ("mask, sst2 rows", 2.5, lambda: own("sst2", "mask", 1024, 1), lambda: torch_rows("sst2", "mask", 1024, 1)),
        ("mask, mrpc rows", 2.5, lambda: own("mrpc", "mask", 256, 1), lambda: torch_rows("mrpc", "mask", 256, 1)),
        ("layers 4-5, 3 epochs, sst2 rows", 2.2, lambda: own("sst2", layers, 1024, 3), lambda: torch_rows("sst2", layers, 1024, 3)),
        ("layers 4-5, 3 epochs, mrpc rows", 1.4, lambda: own("mrpc", layers, 256, 3), lambda: torch_rows("mrpc", layers, 256, 3)),
        ("layers 4-5, 3 epochs, mrpc rows, first-token pooling", None,
         lambda: own("mrpc", layers, 256, 3, "--pooling", "first"), lambda: torch_rows("mrpc", layers, 256, 3, "--pooling", "first")),
    ]
    print(f"# Training speed, {datetime.date.today()}\n")
    print(f"{platform.machine()}, 2 threads, batch 32 (BERT-base: 16). Medians of {args.runs}; the range is of the paired ratios.\n")
    print("| work | linocut tokens/s | peer tokens/s | ratio | range | target | linocut peak | peer peak |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, target, mine, theirs in rows:
        if args.only not in name:
            continue
        pairs = [(mine(), theirs()) for _ in range(args.runs)]
        a, b = ([pair[i] for pair in pairs] for i in range(2))
        rate = [statistics.median(r[0] for r in side) for side in (a, b)]
        ratios = sorted(x[0] / y[0] for x, y in pairs)
        memory = [max(r[1] for r in side) / 1e9 for side in (a, b)]
        wanted = f"≥ {target}" if target else ""
        print(f"| {name} | {rate[0]:,.0f} | {rate[1]:,.0f} | {rate[0] / rate[1]:.2f} | {ratios[0]:.2f}–{ratios[-1]:.2f} "
              f"| {wanted} | {memory[0]:.2f} GB | {memory[1]:.2f} GB |", flush=True)
    print(f"\nPyTorch's attention per row: {sorted(set(attention.values()))}.")


if __name__ == "__main__":
    main()
