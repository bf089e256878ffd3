"""Does an exported ONNX model give in ONNX Runtime the logits that linocut gives, in every family?

    pip install -r reference/requirements.txt
    python reference/onnx_parity.py target/release/linocut [model ...] > reference/results/onnx.md

For each `model_type` a tiny random base and a fine-tuned model are made as check_families.py makes them, and of each
family that computes in several ways one more of another; then cuts of every kind (masks, low-rank factors, whole
tensors, slim ones, packed models with the family's own head) with every pooling. `minilm` is models/all-minilm-l6-v2,
whose cuts are trained on the bundled data. Every cut is exported with `--format onnx`, checked by
onnx.checker with shape inference, and run on padded batches of 16 texts of mixed lengths, tokenised by the exported
folder's tokenizer; its logits stand beside those of `predict --logits`. Where a task has a temperature, which an
export divides by, they are multiplied by it.

Prints a table; exits 1 if a command fails, a logit differs by more than 1e-5 * max(1, largest |logit|), or logits are
much the same for all texts, so that they show nothing.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from check_families import DATA, MODELS, SMALL, command, tokenizer
from transformers import AutoTokenizer

ROWS, BATCH, TOLERANCE = 208, 16, 1e-5
# A family's other ways, under the name of its model_type and one more word.
OTHERS = [
    (
        "modernbert biased", "ModernBert", "bytes",
        dict(
            **SMALL, max_position_embeddings=64, local_attention=8, global_attn_every_n_layers=2, norm_bias=True,
            attention_bias=True, mlp_bias=True, classifier_bias=True, classifier_pooling="mean",
        ),
    ),
    (
        "deberta-v2 convolution", "DebertaV2", "unigram",
        dict(
            **SMALL, max_position_embeddings=64, relative_attention=True, position_buckets=-1, type_vocab_size=2,
            position_biased_input=True, share_att_key=False, pos_att_type="c2p|p2c", conv_kernel_size=3,
            conv_act="gelu",
        ),
    ),
    (
        "deberta-v2 keys", "DebertaV2", "unigram",
        dict(
            **SMALL, max_position_embeddings=64, relative_attention=True, position_buckets=8, pos_att_type="c2p",
            share_att_key=False, norm_rel_ebd="layer_norm",
        ),
    ),
    ("bert tanh", "Bert", "wordpiece", dict(**SMALL, max_position_embeddings=64, hidden_act="gelu_new")),
    ("bert relu", "Bert", "wordpiece", dict(**SMALL, max_position_embeddings=64, hidden_act="relu")),
]
# What a cut is, and how it is trained.
LONG = ("--max-length", 60)
CUTS = [
    ("mask, mean", ("--method", "mask", "--pooling", "mean", "--epochs", 2)),
    ("head, first, vectors of length 1", ("--method", "head", "--pooling", "first", "--objective", "pairs", "--epochs", 1)),
    ("low rank, first", ("--method", "lora", "--only", "attention-output,output", "--pooling", "first", "--epochs", 2)),
    ("full, mean, temperature", ("--method", "full", "--pooling", "mean", "--epochs", 2, "--calibrate", 0.2)),
    ("slim, mean", ("--method", "full", "--pooling", "mean", "--epochs", 2, "--compute", 0.6)),
    ("slim, first", ("--method", "mask", "--pooling", "first", "--epochs", 2, "--compute", 0.15)),
]


def examples(kind):
    """Rows of the bundled data: texts of mixed lengths, alone or in pairs, with labels of this kind."""
    with DATA.open() as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    # Some of one word, and some of many.
    texts = [" ".join(([text.split()[0]] if i % 7 == 3 else [text] * (1 + i % 3))) for i, text in enumerate(texts)]
    for i in range(ROWS):
        label = {"numbers": f"{(i * 37) % 11 / 4}", "pairs": f"label{i % 4}"}.get(kind, f"label{i % 3}")
        yield ([texts[i], texts[ROWS + i]] if kind == "pairs" else [texts[i]]), label


def write_rows(path, kind):
    rows = list(examples(kind))
    with path.open("w") as file:
        file.write("sentence1\tsentence2\tlabel\n" if kind == "pairs" else "sentence1\tlabel\n")
        file.writelines("\t".join([*texts, label]) + "\n" for texts, label in rows)
    return [texts for texts, _ in rows]


def compare(run, place, cut, texts):
    """Of a cut on these texts: largest difference, largest logit, most that a logit moves from text to text, and the
    widest padded batch."""
    run("export", cut, "--base", "base", "--format", "onnx", "--out", "onnx", "--force")
    run("export", cut, "--base", "base", "--format", "onnx", "--out", "again", "--force")
    model = place / "onnx/model.onnx"
    if model.read_bytes() != (place / "again/model.onnx").read_bytes():
        sys.exit(f"{cut}: exported twice it is another")
    onnx.checker.check_model(model, full_check=True)
    said = run("predict", cut, "--base", "base", "--in", "rows.tsv", "--logits", "--json")
    expected = np.array([json.loads(line)["logits"] for line in said.splitlines()])
    decision = json.loads(run("inspect", cut, "--json"))["card"].get("decision")
    temperature = decision["temperature"] if decision else 1.0
    tok = AutoTokenizer.from_pretrained(place / "onnx")
    session = onnxruntime.InferenceSession(model)
    names = [i.name for i in session.get_inputs()]
    found, widest = [], 0
    for at in range(0, len(texts), BATCH):
        batch = tok(*map(list, zip(*texts[at : at + BATCH])), truncation=True, padding=True, return_tensors="np")
        feed = {name: batch[name].astype(np.int64) for name in names}
        found.append(session.run(["logits"], feed)[0])
        widest = max(widest, batch["input_ids"].shape[1])
    found = np.concatenate(found) * temperature
    if found.shape != expected.shape:
        sys.exit(f"{cut}: {found.shape} from ONNX Runtime, {expected.shape} from linocut")
    return np.abs(found - expected).max(), np.abs(expected).max(), np.ptp(expected, axis=0).max(), widest


def tiny(name, begins, kind, config, place):
    """A base and a model fine-tuned from it, in folders."""
    torch.manual_seed(1)
    with DATA.open() as file:
        tok = tokenizer(kind, [row["text"] for row in csv.DictReader(file, delimiter="\t")])
    tok.model_max_length = 60
    full = dict(config, vocab_size=len(tok), pad_token_id=tok.pad_token_id)
    make = getattr(transformers, begins + "Config")
    base = getattr(transformers, begins + "Model")(make(**full))
    labels = {i: f"label{i}" for i in range(4)}
    of_labels = dict(num_labels=4, id2label=labels, label2id={label: i for i, label in labels.items()})
    tuned = getattr(transformers, begins + "ForSequenceClassification")(make(**full, **of_labels))
    with torch.no_grad():
        for module in (base, tuned):
            for parameter in module.parameters():
                # Large enough for every tensor to matter.
                parameter.add_(0.2 * torch.randn_like(parameter))
        own = dict(base.named_parameters())
        for name, parameter in getattr(tuned, tuned.base_model_prefix).named_parameters():
            if name in own:
                parameter.copy_(own[name] + 1e-2 * torch.randn_like(parameter))
    for folder, model in (("base", base), ("tuned", tuned)):
        model.save_pretrained(place / folder)
        tok.save_pretrained(place / folder)


def of_family(run, place):
    """Cuts of a tiny base, one after the other, each with its texts."""
    model_type = json.loads((place / "base/config.json").read_text())["model_type"]
    for name, how in CUTS:
        if (model_type, name) == ("modernbert", "slim, first"):
            how = (*how[:-1], 0.3)  # with less its first token sees no other, and all texts are alike
        texts = write_rows(place / "rows.tsv", "texts")
        run("train", "--base", "base", "--train", "rows.tsv", *how, *LONG, "--force", "--out", "t.cut")
        yield name, "t.cut", texts
    texts = write_rows(place / "rows.tsv", "numbers")
    run(
        "train", "--base", "base", "--train", "rows.tsv", "--problem", "regression", "--method", "full", "--pooling",
        "mean", "--epochs", 2, *LONG, "--force", "--out", "t.cut",
    )
    yield "full, mean, regression", "t.cut", texts
    texts = write_rows(place / "rows.tsv", "pairs")
    run("pack", "--base", "base", "--tuned", "tuned", "--out", "p.cut", "--max-length", 60, "--pairs", "--force")
    yield "packed, its own head, pairs of texts", "p.cut", texts


def of_minilm(run, place):
    """Cuts of the real base on the bundled task."""
    (place / "base").symlink_to(Path("models/all-minilm-l6-v2").resolve())
    debian = DATA.parent.resolve()
    with DATA.open() as file:
        texts = [[row["text"]] for row in csv.DictReader(file, delimiter="\t")]
    (place / "rows.tsv").write_bytes(DATA.read_bytes())
    for name, how in [
        ("mask, mean", ("--method", "mask", "--pooling", "mean")),
        ("mask, cls", ("--method", "mask", "--pooling", "cls")),
        ("head, first, vectors of length 1", ("--method", "head", "--pooling", "first", "--objective", "pairs")),
        ("low rank, mean", ("--method", "lora", "--pooling", "mean")),
        ("full, mean", ("--method", "full", "--pooling", "mean")),
        ("slim, mean", ("--method", "full", "--pooling", "mean", "--compute", 0.5)),
    ]:
        run(
            "train", "--base", "base", "--train", debian / "train.tsv", "--dev", debian / "dev.tsv", "--text", "text",
            "--label", "section", *how, "--limit", 500, "--epochs", 1, "--force", "--out", "t.cut",
        )
        yield name, "t.cut", texts


def main():
    linocut = Path(sys.argv[1]).resolve()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    asked, failed = sys.argv[2:], []
    version = subprocess.run([linocut, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print("# Exported ONNX models in ONNX Runtime\n")
    print(
        f"{version}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, transformers "
        f"{transformers.__version__}. Padded batches of {BATCH}; {ROWS} texts or pairs of a tiny random base, all dev "
        "rows of the bundled task of MiniLM. Every model passes `onnx.checker` with shape inference, and exported again "
        f"is the same to the byte. Bound: {TOLERANCE:.0e} · max(1, largest \\|logit\\|).\n"
    )
    print("| model | cut | rows | widest batch, tokens | largest \\|logit\\| | from text to text | largest difference |")
    print("|---|---|--:|--:|--:|--:|--:|")
    models = [*MODELS, *OTHERS, ("minilm", None, None, None)]
    for name, *how in [m for m in models if not asked or m[0] in asked]:
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)
            run = command(linocut, name, place)
            if name == "minilm":
                cuts = of_minilm(run, place)
            else:
                tiny(name, *how, place)
                cuts = of_family(run, place)
            for cut, file, texts in cuts:
                difference, largest, moved, widest = compare(run, place, file, texts)
                if not difference <= TOLERANCE * max(1, largest):
                    failed.append(f"{name}, {cut}: differs by {difference:.1e}")
                if moved < 1000 * TOLERANCE:
                    failed.append(f"{name}, {cut}: logits move by {moved:.1e} from text to text")
                print(
                    f"| {name} | {cut} | {len(texts)} | {widest} | {largest:.3g} | {moved:.2g} | {difference:.1e} |",
                    flush=True,
                )
    print("\n" + ("\n".join(failed) or "All agree."))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
