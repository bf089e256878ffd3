"""Writes what `study.py` needs: the base's tensors in plain pieces, and the tasks' tokens.

    LINOCUT_TASKS=<folder of tasks> python bench/gpu/prepare.py --base models/all-minilm-l6-v2 --out DATA
"""

import argparse
import csv
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

PIECE = 44_000_000  # bytes of a piece of the base
MOST_TOKENS = 128
NAMES = {
    "bert": {
        "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
        "o": "attention.output.dense", "i": "intermediate.dense", "f": "output.dense",
        "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
    },
    "mpnet": {
        "q": "attention.attn.q", "k": "attention.attn.k", "v": "attention.attn.v", "o": "attention.attn.o",
        "i": "intermediate.dense", "f": "output.dense", "norm1": "attention.LayerNorm", "norm2": "output.LayerNorm",
    },
}  # fmt: skip


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--base", type=Path, required=True)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--tasks", help="names, by commas; all by default")
    args.add_argument("--rows", type=int, default=10_000, help="training rows of a task, drawn once for all arms")
    args.add_argument("--short", action="store_true", help="weights in 20 bits, of which TF32 products keep 19, as three planes of bytes: gzip makes them smaller")
    args = args.parse_args()
    folder = Path(os.environ.get("LINOCUT_TASKS") or sys.exit("set LINOCUT_TASKS"))
    (args.out / "tasks").mkdir(parents=True, exist_ok=True)
    config = json.loads((args.base / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(args.base / "tokenizer.json"))
    tokenizer.enable_truncation(MOST_TOKENS)
    tokenizer.no_padding()
    names = args.tasks.split(",") if args.tasks else sorted(p.parent.name for p in folder.glob("*/task.json"))
    used = set()
    for name in names:
        used |= task(folder / name, name, args.base.name, tokenizer, args.rows, args.out / "tasks")
    base(args.base, config, sorted(used), args.short, args.out)


def task(folder, name, base, tokenizer, most, out):
    about = json.loads((folder / "task.json").read_text())
    arrays, used = {}, set()
    lines = {part: (folder / f"{part}.tsv").read_text("utf-8").split("\n") for part in ["train", "dev"]}
    quoting = csv.QUOTE_MINIMAL if all(map(well_quoted, lines["train"] + lines["dev"])) else csv.QUOTE_NONE
    for part in ["train", "dev"]:
        rows = list(csv.DictReader(lines[part], delimiter="\t", quoting=quoting))
        if part == "train":
            # Files may be sorted; a fixed draw of rows for every arm.
            order = np.random.default_rng(0).permutation(len(rows))[:most]
            rows = [rows[i] for i in order]
        texts = [(r["sentence1"], r["sentence2"]) if "sentence2" in r else r["sentence1"] for r in rows]
        found = tokenizer.encode_batch(texts)
        second = [next((i for i, s in enumerate(e.sequence_ids) if s == 1), len(e.ids)) for e in found]
        arrays[f"{part}_ids"] = np.concatenate([np.array(e.ids, np.uint16) for e in found])
        arrays[f"{part}_lens"] = np.array([len(e.ids) for e in found], np.uint16)
        arrays[f"{part}_first"] = np.array(second, np.uint16)
        if about["labels"]:
            arrays[f"{part}_labels"] = np.array([about["labels"].index(r["label"]) for r in rows], np.int64)
        else:
            arrays[f"{part}_labels"] = np.array([float(r["label"]) for r in rows], np.float32)
        used |= set(np.unique(arrays[f"{part}_ids"]).tolist())
    np.savez_compressed(out / f"{name}.{base}.npz", **arrays)
    keep = ["name", "labels", "metric", "f1_average", "positive_label"]
    (out / f"{name}.json").write_text(json.dumps({k: about[k] for k in keep if k in about}))
    print(name, {part: len(arrays[f"{part}_lens"]) for part in ["train", "dev"]}, file=sys.stderr)
    return used


def well_quoted(line):
    """Whether marks enclose every cell that begins with one; else they are text (linocut's rule for such files)."""
    return all(re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in line.split("\t") if cell.startswith('"'))


def base(folder, config, rows, short, out):
    theirs = load_file(folder / "model.safetensors")
    tensors = {
        "words": theirs["embeddings.word_embeddings.weight"][rows],
        "positions": theirs["embeddings.position_embeddings.weight"],
        "emb.scale": theirs["embeddings.LayerNorm.weight"],
        "emb.shift": theirs["embeddings.LayerNorm.bias"],
    }
    kind = config["model_type"]
    if kind == "bert":
        tensors["types"] = theirs["embeddings.token_type_embeddings.weight"]
    else:
        tensors["relative"] = theirs["encoder.relative_attention_bias.weight"]
    for layer in range(config["num_hidden_layers"]):
        for ours, name in NAMES[kind].items():
            ends = ("scale", "shift") if ours.startswith("norm") else ("w", "b")
            for end, their_end in zip(ends, ("weight", "bias")):
                tensors[f"{layer}.{ours}.{end}"] = theirs[f"encoder.layer.{layer}.{name}.{their_end}"]
    flat = np.concatenate([t.reshape(-1).astype(np.float32) for t in tensors.values()])
    if short:
        flat = np.ascontiguousarray(((flat.view(np.uint32) + 0x800) & ~np.uint32(0xFFF)).view(np.uint8).reshape(-1, 4)[:, 1:].T)
    flat = flat.tobytes()
    for i, at in enumerate(range(0, len(flat), PIECE)):
        (out / f"{folder.name}.{i}").write_bytes(flat[at : at + PIECE])
    about = {
        "name": folder.name, "layers": config["num_hidden_layers"], "heads": config["num_attention_heads"],
        "eps": config["layer_norm_eps"], "first_position": 0 if kind == "bert" else config["pad_token_id"] + 1,
        "rows": rows, "short": short, "tensors": {name: list(t.shape) for name, t in tensors.items()},
    }  # fmt: skip
    (out / f"{folder.name}.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main()
