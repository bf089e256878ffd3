"""Makes linocut's cuts of the masks that `study.py` saved, and scores them by linocut itself.

    python bench/gpu/cuts.py --linocut target/release/linocut --base models/all-minilm-l6-v2 \
        --tasks $LINOCUT_TASKS --zeros runs.zeros --out cuts --runs runs.jsonl [--eval]

For each task a head is trained for a moment and exported, which gives a folder with the task's labels; in it the
matrices get their zeros and the head its weights, and `linocut pack` makes a cut of the folder, to the bit. One line
of JSON a mask: bytes of the cut and of its head, and with `--eval` the score of the stored cut beside that of the GPU.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from prepare import NAMES
from safetensors.numpy import load_file, save_file


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--linocut", type=Path, required=True)
    args.add_argument("--base", type=Path, required=True)
    args.add_argument("--tasks", type=Path, required=True)
    args.add_argument("--zeros", type=Path, required=True)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--runs", type=Path, required=True, help="the runs' lines, whose scores are compared")
    args.add_argument("--seeds", default="0")
    args.add_argument("--eval", action="store_true")
    args = args.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    runs = [json.loads(line) for line in args.runs.read_text().splitlines()]
    scores = {(r["task"], r["arm"], r["seed"]): r["score"] for r in runs}
    config = json.loads((args.base / "config.json").read_text())
    weights = load_file(args.base / "model.safetensors")
    places = {ours: name for ours, name in NAMES[config["model_type"]].items() if not ours.startswith("norm")}
    matrices = [
        f"encoder.layer.{layer}.{places[m]}.weight" for layer in range(config["num_hidden_layers"]) for m in "qkvoif"
    ]

    def linocut(*arguments):
        command = [str(args.linocut), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    for saved in sorted(args.zeros.glob("*.npz")):
        task, arm, seed = saved.stem.split(".")
        if seed not in args.seeds.split(","):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder, cut = Path(scratch) / "tuned", args.out / f"{task}.{arm}.{seed}.cut"
            head = Path(scratch) / "head.cut"
            linocut("train", "--base", args.base, "--task", args.tasks / task, "--method", "head", "--epochs", 1, "--limit", 3000, "--out", head)  # fmt: skip
            linocut("export", head, "--base", args.base, "--out", folder)
            tensors = load_file(folder / "model.safetensors")
            data = np.load(saved)
            positions, start = np.cumsum(data["gaps"].astype(np.int64)) - 1, 0
            prefix = next(name for name in tensors if name.endswith(matrices[0]))[: -len(matrices[0])]
            for name, zeros in zip(matrices, data["zeros"]):
                matrix = weights[name].copy()
                here = positions[(positions >= start) & (positions < start + matrix.size)] - start
                assert len(here) == zeros, f"{saved}: {len(here)} zeros in {name}, expected {zeros}"
                matrix.reshape(-1)[here] = 0.0
                tensors[prefix + name], start = matrix, start + matrix.size
            found = [name for name in tensors if name.startswith("classifier") and name.endswith("weight")]
            weight = found[0]
            tensors[weight] = data["head"]
            tensors[weight.replace("weight", "bias")] = data["bias"]
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
            linocut("pack", "--tuned", folder, "--base", args.base, "--out", cut, "--force")
            line = {"task": task, "arm": arm, "seed": int(seed), "bytes": cut.stat().st_size}
            said = json.loads(linocut("inspect", cut, "--json"))
            line |= {"zeros_bytes": said["bytes"]["zeros"], "zeros": int(sum(data["zeros"]))}
            if args.eval:
                data = args.tasks / task
                found = json.loads(linocut("eval", cut, "--base", args.base, "--task", data, "--json"))
                line |= {"score": round(100 * found["primary"]["value"], 4), "gpu": scores[(task, arm, int(seed))]}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
