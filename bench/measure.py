"""linocut measure beside numpy, and beside a plain sum over the same bytes; ratios from one run.

    make build && python3 -m venv .venv && .venv/bin/pip install -r reference/requirements.txt
    .venv/bin/python bench/measure.py > bench/results/measure-<date>.md

Two BERT-base-sized f32 checkpoints with random weights are made in a temporary folder (880 MB). The
page cache is warm. Three processes run in turn, `--runs` times each, on 2 threads; times are of whole
processes but for Python, whose start and imports are not counted. Run nothing beside it.
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
import threading
import time
from pathlib import Path

LAYERS, HIDDEN, FFN, VOCAB, POSITIONS = 12, 768, 3072, 30522, 512


def shapes():
    yield "embeddings.word_embeddings.weight", (VOCAB, HIDDEN)
    yield "embeddings.position_embeddings.weight", (POSITIONS, HIDDEN)
    yield "embeddings.token_type_embeddings.weight", (2, HIDDEN)
    yield "embeddings.LayerNorm.weight", (HIDDEN,)
    yield "embeddings.LayerNorm.bias", (HIDDEN,)
    for layer in range(LAYERS):
        parts = [("attention.self." + n, HIDDEN, HIDDEN) for n in ["query", "key", "value"]]
        parts += [("attention.output.dense", HIDDEN, HIDDEN), ("intermediate.dense", FFN, HIDDEN), ("output.dense", HIDDEN, FFN)]
        for name, rows, columns in parts:
            yield f"encoder.layer.{layer}.{name}.weight", (rows, columns)
            yield f"encoder.layer.{layer}.{name}.bias", (rows,)
        for name in ["attention.output", "output"]:
            yield f"encoder.layer.{layer}.{name}.LayerNorm.weight", (HIDDEN,)
            yield f"encoder.layer.{layer}.{name}.LayerNorm.bias", (HIDDEN,)
    yield "pooler.dense.weight", (HIDDEN, HIDDEN)
    yield "pooler.dense.bias", (HIDDEN,)


def make(base, tuned):
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02) for name, shape in shapes()}
    moved = {name: w + rng.standard_normal(w.shape, dtype=np.float32) * np.float32(1e-4) for name, w in weights.items()}
    for folder, tensors in [(base, weights), (tuned, moved)]:
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "bert", "initializer_range": 0.02}')
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def compare(base, tuned):
    """What a numpy script does: the same figures, tensor by tensor, sums in float64."""
    import numpy as np
    from concurrent.futures import ThreadPoolExecutor
    from safetensors import safe_open

    started = time.perf_counter()

    def figures(name):
        with safe_open(base / "model.safetensors", "np") as b, safe_open(tuned / "model.safetensors", "np") as t:
            u, v = b.get_tensor(name).astype(np.float64), t.get_tensor(name).astype(np.float64)
        delta = v - u
        a, b, d, e = (u * u).sum(), (v * v).sum(), (delta * delta).sum(), (delta * (u + v)).sum()
        size = np.abs(delta)
        lengths = e / (np.sqrt(a) + np.sqrt(b))
        sine = (d - lengths * lengths) / (4 * np.sqrt(a) * np.sqrt(b))
        angular = 2 * np.arcsin(np.sqrt(np.clip(sine, 0, 1))) / np.pi
        return name, (a, b, d, e, size.sum(), size.max(), np.count_nonzero(size > 0), angular)

    with safe_open(base / "model.safetensors", "np") as file:
        names = list(file.keys())
    with ThreadPoolExecutor(2) as pool:
        found = dict(pool.map(figures, names))
    seconds = time.perf_counter() - started
    angular = {name: float(f[-1]) for name, f in found.items()}
    print(json.dumps({"seconds": seconds, "angular": angular}))


def read(base, tuned):
    """A plain sum over the same bytes, mapped anew as by the others: the memory bandwidth reached."""
    import numpy as np
    from concurrent.futures import ThreadPoolExecutor

    started = time.perf_counter()
    block = 1 << 20
    parts = []
    for folder in [base, tuned]:
        words = np.memmap(folder / "model.safetensors", np.uint8, "r")
        words = words[len(words) % 8 :].view(np.uint64)
        parts += [words[i : i + block] for i in range(0, len(words), block)]
    with ThreadPoolExecutor(2) as pool:
        total = sum(int(x) for x in pool.map(np.add.reduce, parts))
    print(json.dumps({"seconds": time.perf_counter() - started, "total": total}))


def memory_beyond_maps(argv):
    """Peak of RssAnon in bytes, polled each millisecond, of one run."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak] + [int(l.split()[1]) * 1024 for l in status.splitlines() if l.startswith("RssAnon")])
        except OSError:
            pass
        time.sleep(0.001)
    return peak


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--linocut", default="target/release/linocut")
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--worker", choices=["compare", "read"])
    p.add_argument("folders", nargs="*", type=Path)
    args = p.parse_args()
    if args.worker:
        return {"compare": compare, "read": read}[args.worker](*args.folders)
    with tempfile.TemporaryDirectory() as scratch:
        base, tuned = Path(scratch) / "base", Path(scratch) / "tuned"
        make(base, tuned)
        size = sum((f / "model.safetensors").stat().st_size for f in [base, tuned])
        own = [args.linocut, "measure", base, tuned, "--threads", "2", "--quiet", "--json"]

        def worker(name):
            out = subprocess.run([sys.executable, __file__, "--worker", name, base, tuned], check=True, capture_output=True)
            return json.loads(out.stdout)

        def linocut():
            started = time.perf_counter()
            out = subprocess.run(own, check=True, capture_output=True)
            return {"seconds": time.perf_counter() - started, "report": json.loads(out.stdout)}

        rounds = [(linocut(), worker("compare"), worker("read")) for _ in range(args.runs)]
        mine, theirs = rounds[0][0]["report"]["models"][0]["tensors"], rounds[0][1]["angular"]
        assert len(mine) == len(theirs)
        off = max(abs(t["angular"] / theirs[t["name"]] - 1) for t in mine)
        assert off < 1e-9, off
        peak = memory_beyond_maps(own)
    seconds = [statistics.median(r[i]["seconds"] for r in rounds) for i in range(3)]
    ratio = lambda i: sorted(r[i]["seconds"] / r[0]["seconds"] for r in rounds)
    print(f"# measure, {datetime.date.today()}\n")
    print(f"{platform.machine()}, 2 threads; two BERT-base-sized f32 checkpoints, {size / 1e6:,.0f} MB; medians of {args.runs}.\n")
    print("| | seconds | GB/s | linocut is faster by | range | target |\n|---|--:|--:|--:|--:|--:|")
    rate = [size / s / 1e9 for s in seconds]
    print(f"| linocut measure, whole process | {seconds[0]:.3f} | {rate[0]:.1f} | | | |")
    for i, name, target in [(1, "numpy, the same figures", "≥ 5"), (2, "numpy, plain sum of the bytes", "≥ 0.6")]:
        r = ratio(i)
        print(f"| {name} | {seconds[i]:.3f} | {rate[i]:.1f} | {statistics.median(r):.2f} | {r[0]:.2f}–{r[-1]:.2f} | {target} |")
    print(f"\nPeak memory beyond the maps: {peak / 1e6:.0f} MB (target ≤ 100). Largest relative difference of an angle: {off:.1e}.")


if __name__ == "__main__":
    main()
