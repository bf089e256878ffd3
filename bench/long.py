"""One long text through a base of ModernBERT-base's shape, beside PyTorch: time and peak memory.

    make build && cargo bench -p linocut --bench step --no-run
    .venv/bin/python bench/long.py > bench/results/long-<date>.md

Random weights; the base, a tokenizer of one token a letter and a head-only cut are made by the script.
Time is of the forward pass alone, the median of three (ours: `benches/step.rs`; PyTorch: sdpa in inference
mode); memory of whole processes: `linocut predict` of one text, and PyTorch's with the model loaded. Run
nothing beside it.
"""

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTHS = [8192]


def peer(length, passes):
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    torch.set_num_threads(2)
    model = ModernBertModel(ModernBertConfig(attn_implementation="sdpa")).eval()
    ids = torch.randint(5, 30000, (1, length))
    times = []
    with torch.inference_mode():
        for _ in range(passes + 1):
            start = time.perf_counter()
            model(input_ids=ids).last_hidden_state.mean(1)
            times.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(dict(seconds=statistics.median(times[1:]), memory=memory)))


def make_base(folder):
    """ModernBERT-base with random weights and a tokenizer of single letters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
    tok = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    PreTrainedTokenizerFast(tokenizer_object=tok, model_max_length=8192, **special).save_pretrained(folder)
    ModernBertModel(ModernBertConfig()).save_pretrained(folder)


def child(argv):
    """(output, peak memory in bytes) of one process."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([str(a) for a in argv], stdout=out, stderr=subprocess.PIPE)
        error = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{argv}\n{error}")
        out.seek(0)
        return out.read().decode(), usage.ru_maxrss * 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--linocut", default="target/release/linocut")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--peer", type=int, help="only PyTorch, on so many tokens")
    # By itself: a process that once held a model would lend its children its peak of memory.
    p.add_argument("--make", type=Path, help="only write the base into this folder")
    args = p.parse_args()
    if args.make:
        return make_base(args.make)
    if args.peer:
        return peer(args.peer, 3)
    step = max((f for f in Path("target/release/deps").glob("step-*") if not f.suffix), key=lambda f: f.stat().st_mtime)
    print(f"# One long text, ModernBERT-base shape, {datetime.date.today()}\n")
    print(f"2 threads; medians of {args.runs} turns, the range is of the paired ratios.\n")
    print("| tokens | linocut s | PyTorch s | ratio | range | linocut predict, peak | PyTorch peak |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        child([sys.executable, __file__, "--make", place / "base"])
        letters = lambda n: " ".join("abcdefghijklmnopqrstuvwxyz"[i * i % 26] for i in range(n))
        (place / "train.tsv").write_text("text\tlabel\n" + "".join(f"{letters(3 + i)}\t{'ab'[i % 2]}\n" for i in range(8)))
        child([args.linocut, "train", "--base", place / "base", "--train", place / "train.tsv", "--method", "head",
               "--pooling", "mean", "--epochs", "1", "--max-length", "8192", "--out", place / "t.cut"])
        for length in LENGTHS:
            (place / "rows.tsv").write_text(f"text\n{letters(length - 2)}\n")
            memory = 0
            pairs = []
            for _ in range(args.runs):
                ours = json.loads(child([step, "modernbert-base", "1", str(length), "forward", "2", "3"])[0].splitlines()[-1])
                theirs = json.loads(child([sys.executable, __file__, "--peer", str(length)])[0].splitlines()[-1])
                pairs.append((ours["median_step_s"], theirs["seconds"], theirs["memory"]))
                memory = max(memory, child([args.linocut, "predict", place / "t.cut", "--base", place / "base", "--in", place / "rows.tsv"])[1])
            ours, theirs = (statistics.median(pair[i] for pair in pairs) for i in range(2))
            ratios = sorted(b / a for a, b, _ in pairs)
            print(f"| {length:,} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} | {ratios[0]:.2f}–{ratios[-1]:.2f} "
                  f"| {memory / 1e9:.2f} GB | {max(pair[2] for pair in pairs) / 1e9:.2f} GB |", flush=True)


if __name__ == "__main__":
    main()
