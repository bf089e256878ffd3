"""The bank beside ONNX Runtime and PEFT, as ratios from one run.

    make base build && cargo bench -p linocut --bench bank --no-run
    python3 -m venv .venv && .venv/bin/pip install -r reference/requirements.txt onnx onnxruntime
    LINOCUT_TASKS=<folder of tasks> .venv/bin/python bench/bank.py > bench/results/bank-<date>.md

Texts are dev rows of the shared tasks, cut at 128 tokens, the same for all. Each side is a process of
its own, run in turn, `--runs` times; ours gives the median of 15 passes, theirs of 5. ONNX Runtime
has the better of its own graph optimisation and its transformer optimiser, and PEFT and it the better
of batches of 32 and of 8 texts sorted by length. Tokenising is not timed. Run nothing beside it.
The adapters are PEFT's own (rank 8, query and value, a head each), drawn once; ours are the same ones, packed.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASKS = ["sst2", "trec6", "banking77", "cola", "tweet_irony", "mrpc"]
PASSES = 5
ADAPTERS = 100


def median_ms(run):
    times = []
    for _ in range(PASSES + 1):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def padded(tokenizer, texts, size):
    """Batches of `size` texts, sorted by length, each padded to its longest."""
    rows = sorted((tokenizer(t, truncation=True, max_length=128)["input_ids"] for t in texts), key=len)
    return [tokenizer.pad({"input_ids": rows[i:i + size]}, return_tensors="np") for i in range(0, len(rows), size)]


def peer_onnx(base, texts, int8=False):
    """With `int8` the fastest of its dynamic quantisations: signed or unsigned weights, a scale a matrix or a column."""
    import onnx
    import onnxruntime
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModel.from_pretrained(base, attn_implementation="eager").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = model

        def forward(self, ids, mask, types):
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    best = None
    with tempfile.TemporaryDirectory() as folder:
        plain, fused = f"{folder}/plain.onnx", f"{folder}/fused.onnx"
        ones = torch.ones(2, 8, dtype=torch.long)
        axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "hidden"]}
        torch.onnx.export(Hidden(), (ones, ones, 0 * ones), plain, input_names=names, output_names=["hidden"],
                          dynamic_axes=axes, dynamo=False, opset_version=17)
        config = model.config
        optimizer.optimize_model(plain, model_type="bert", num_heads=config.num_attention_heads,
                                 hidden_size=config.hidden_size).save_model_to_file(fused)
        paths = [plain, fused]
        if int8:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            # Shapes of fused nodes are not known to onnx; what they give is float.
            known = {"DefaultTensorType": onnx.TensorProto.FLOAT}
            paths = []
            for source in [plain, fused]:
                for kind, columns in [(QuantType.QInt8, False), (QuantType.QUInt8, False), (QuantType.QInt8, True)]:
                    paths.append(f"{source[:-5]}-{kind.name}{'-columns' if columns else ''}.onnx")
                    quantize_dynamic(source, paths[-1], weight_type=kind, per_channel=columns, extra_options=known)
        for path in paths:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for size in [32, 8] if len(texts) > 1 else [1]:
                feeds = [
                    {n: b[n] if n in b else 0 * b["input_ids"] for n in names}
                    for i in range(0, len(texts), 32) for b in padded(tokenizer, texts[i:i + 32], size)
                ]
                ms = median_ms(lambda: [session.run(None, feed) for feed in feeds])
                if best is None or ms < best["ms"]:
                    best = {"ms": ms, "batch": size, "graph": Path(path).stem,
                            "version": f"onnxruntime {onnxruntime.__version__}"}
    return best


def cheaper(own, peer, texts, runs):
    """What a task costs in time, whole and slim, in f32 and int8, beside ONNX Runtime in both; all in turns."""
    ways = ["whole_ms", "slim_ms", "whole_int8_ms", "slim_int8_ms"]
    names = ["mask", "slim", "int8", "slim and int8", "ONNX Runtime f32", "ONNX Runtime int8"]
    print("| work | " + " | ".join(f"{name}, ms" for name in names) + " | int8 / f32 | int8 / ONNX Runtime int8 | "
          "slim and int8 / ONNX Runtime f32 | its int8 |")
    print("|---|" + "--:|" * 9 + "---|")
    for work, path in texts:
        turns = [(own(path), peer("onnx", path), peer("onnx8", path)) for _ in range(runs)]
        times = [[mine[way] for way in ways] + [f32["ms"], int8["ms"]] for mine, f32, int8 in turns]
        medians = [statistics.median(column) for column in zip(*times)]

        def speed(of, than):
            ratios = sorted(row[than] / row[of] for row in times)
            return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"

        how = turns[-1][2]
        cells = [f"{ms:.2f}" for ms in medians] + [speed(2, 0), speed(2, 5), speed(3, 4)]
        print(f"| {work} | " + " | ".join(cells) + f" | {how['graph']}, batches of {how['batch']} |", flush=True)


def make_adapters(base, folder):
    """Adapters drawn at random, a folder each."""
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(3)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=8, target_modules=["query", "value"])
    model = peft.get_peft_model(AutoModelForSequenceClassification.from_pretrained(base, num_labels=4), config)
    trained = [p for p in model.parameters() if p.requires_grad]
    for i in range(ADAPTERS):
        with torch.no_grad():
            for p in trained:
                p.normal_(0, 0.02)
        model.save_pretrained(Path(folder) / f"{i:03}")


def peer_peft(base, texts, adapters):
    import peft
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=4)
    folders = sorted(Path(adapters).iterdir())
    model = peft.PeftModel.from_pretrained(model, folders[0], adapter_name="0")
    for i, folder in enumerate(folders[1:], 1):
        model.load_adapter(folder, str(i))
    model.eval()
    draw = random.Random(3)
    best = None
    for size in [32, 8]:
        batches = [b for i in range(0, len(texts), 32) for b in padded(tokenizer, texts[i:i + 32], size)]
        feeds = [
            ({k: torch.tensor(v) for k, v in b.items()}, [str(draw.randrange(ADAPTERS)) for _ in b["input_ids"]])
            for b in batches
        ]

        def run():
            with torch.inference_mode():
                for feed, names in feeds:
                    model(**feed, adapter_names=names)

        ms = median_ms(run)
        if best is None or ms < best["ms"]:
            best = {"ms": ms, "batch": size, "version": f"peft {peft.__version__}"}
    return best


def sample(base, tasks):
    """64 dev texts of the tasks, and one of exactly 32 tokens."""
    from transformers import AutoTokenizer

    texts = []
    for task in TASKS:
        with open(tasks / task / "dev.tsv", newline="") as rows:
            reader = csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)
            column = reader.fieldnames[0]
            texts += [row[column] for row in reader if row[column].strip()]
    random.Random(7).shuffle(texts)
    tokenizer = AutoTokenizer.from_pretrained(base)
    one = next(t for t in texts if len(tokenizer(t)["input_ids"]) == 32)
    return texts[:64], [one]


def bert_base(folder, base):
    """A model folder with random weights."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig()).save_pretrained(folder)
    for file in ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]:
        if (Path(base) / file).exists():
            shutil.copy(Path(base) / file, folder)
    return str(folder)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--base", default="models/all-minilm-l6-v2")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--bert-base", action="store_true", help="the dense rows on random weights of this shape; the tokenizer is the base's")
    p.add_argument("--linocut", default="target/release/linocut", help="packs the adapters")
    p.add_argument("--only", choices=["dense", "tasks", "adapters", "cheaper"], help="some of the rows")
    p.add_argument("--peer", choices=["onnx", "onnx8", "peft", "adapters"], help=argparse.SUPPRESS)
    p.add_argument("--texts", help=argparse.SUPPRESS)
    p.add_argument("--adapters", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.peer == "adapters":
        return make_adapters(args.base, args.adapters)
    if args.peer:
        texts = Path(args.texts).read_text().splitlines()
        int8 = args.peer == "onnx8"
        done = peer_peft(args.base, texts, args.adapters) if args.peer == "peft" else peer_onnx(args.base, texts, int8)
        return print(json.dumps(done))

    tasks = Path(os.environ.get("LINOCUT_TASKS") or sys.exit("set LINOCUT_TASKS"))
    bench = max((f for f in Path("target/release/deps").glob("bank-*") if not f.suffix), key=lambda f: f.stat().st_mtime)
    folder = tempfile.TemporaryDirectory()
    many, one = Path(folder.name) / "many", Path(folder.name) / "one"
    for path, texts in zip([many, one], sample(args.base, tasks)):
        path.write_text("\n".join(" ".join(t.split()) for t in texts) + "\n")
    base = str(Path(args.base).resolve())
    if args.bert_base:
        base = bert_base(Path(folder.name) / "bert-base", base)

    def output(argv, **env):
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, env={**os.environ, **env})
        if done.returncode:
            sys.exit(f"{' '.join(map(str, argv))}\n{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def own(what, texts, **env):
        return next(line for line in output([bench, base, what, "2", texts], **env) if line["bench"] == what)

    adapters, cuts = Path(folder.name) / "adapters", Path(folder.name) / "cuts"
    python = [sys.executable, __file__, "--base", base, "--adapters", adapters, "--peer"]

    def peer(name, texts):
        return output([*python, name, "--texts", texts])[-1]

    if args.only not in ("dense", "cheaper") and not args.bert_base:
        output([*python, "adapters"])
        cuts.mkdir()
        for adapter in sorted(adapters.iterdir()):
            output([args.linocut, "pack", "--base", base, "--adapter", adapter, "--max-length", 128, "--out", cuts / f"{adapter.name}.cut", "--quiet"])
    packed = {"LINOCUT_CUTS": str(cuts)}
    rows = [
        ("dense, one text of 32 tokens", "onnx", "≥ 1.0", lambda: own("dense", one)["ms"], lambda: peer("onnx", one)),
        ("dense, 32 mixed texts (of 64)", "onnx", "≥ 1.2", lambda: own("dense", many)["ms"], lambda: peer("onnx", many)),
        (f"{ADAPTERS} tasks, masks, 32 mixed texts (of 64)", "peft", "≥ 2", lambda: own("tasks", many)["ms"], lambda: peer("peft", many)),
        (f"{ADAPTERS} adapters, the same, 32 mixed texts (of 64)", "peft", "≥ 2.5", lambda: own("low-rank", many, **packed)["ms"], lambda: peer("peft", many)),
    ]
    rows = {"dense": rows[:2], "tasks": rows[2:3], "adapters": rows[3:]}.get(args.only, rows)
    if args.bert_base:
        rows = [(name, peer_name, "", mine, theirs) for name, peer_name, _, mine, theirs in rows[:2]]
    shape = ", BERT-base shape with random weights" if args.bert_base else ""
    print(f"# The bank beside others{shape}, {datetime.date.today()}\n")
    print(f"{platform.machine()}, 2 threads. Medians of {args.runs} runs; the range is of the paired ratios.\n")
    if args.only == "cheaper":
        texts = [("one text of 32 tokens", one), ("32 mixed texts (of 64)", many)]
        return cheaper(lambda path: own("slim", path), peer, texts, args.runs)
    print("| work | linocut ms | peer ms | ratio | range | target | peer |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for name, _, target, mine, theirs in rows:
        pairs = [(mine(), theirs()) for _ in range(args.runs)]
        a, b = statistics.median(x for x, _ in pairs), statistics.median(y["ms"] for _, y in pairs)
        ratios = sorted(y["ms"] / x for x, y in pairs)
        best = pairs[-1][1]
        how = ", ".join(str(best[k]) for k in ["version", "graph"] if k in best) + f", batches of {best['batch']}"
        print(f"| {name} | {a:.2f} | {b:.2f} | {b / a:.2f} | {ratios[0]:.2f}–{ratios[-1]:.2f} | {target} | {how} |", flush=True)


if __name__ == "__main__":
    main()
