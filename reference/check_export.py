"""Does an exported folder give in Transformers the logits that linocut gives?

    pip install -r reference/requirements.txt
    linocut export task.cut --base models/all-minilm-l6-v2 --out exported
    linocut predict task.cut --base models/all-minilm-l6-v2 --in dev.tsv --logits --json > logits.jsonl
    python reference/check_export.py exported dev.tsv logits.jsonl

The folder is loaded as its users would: AutoTokenizer and AutoModelForSequenceClassification, the
latter with trust_remote_code=True where the folder brings its own class, which must then be refused
without. The texts are the columns sentence1, and sentence2 where there is one, of the TSV file;
texts are cut where the exported tokenizer says. Prints one line; exits 1 if any logit differs by
more than 1e-5 * max(1, |logit|): both sides compute in float32, in another order of summation; or
if padding one batch of unequal texts changes a logit by more than that.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TOLERANCE = 1e-5


def load(folder, own):
    """The model, and the name of its class."""
    if own:
        try:
            AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
        except ValueError:
            pass  # as it should: BERT's own class would read a pooler drawn at random
        else:
            sys.exit(f"{folder}: loads without trust_remote_code, as another model")
    model, info = AutoModelForSequenceClassification.from_pretrained(
        folder, trust_remote_code=own, output_loading_info=True
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            sys.exit(f"{folder}: {problem}: {', '.join(sorted(map(str, info[problem])))}")
    return model.eval(), type(model).__name__


def differences(found, expected):
    """Largest difference, and largest relative to max(1, |logit|)."""
    difference = (found - expected).abs()
    return difference.max().item(), (difference / expected.abs().clamp(min=1)).max().item()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("texts", type=Path, help="TSV with sentence1 and perhaps sentence2")
    p.add_argument("logits", type=Path, help="JSONL by linocut predict --logits --json, one line a row")
    p.add_argument("--limit", type=int, help="first rows only")
    args = p.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    own = "auto_map" in json.loads((args.folder / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(args.folder, trust_remote_code=own)
    model, loaded_as = load(args.folder, own)
    with open(args.texts, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    texts = [[row[k] for k in ("sentence1", "sentence2") if row.get(k) is not None] for row in rows]
    lines = args.logits.read_text(encoding="utf-8").splitlines()
    if not texts or len(texts) != len(lines):
        sys.exit(f"{len(texts)} rows in {args.texts}, {len(lines)} in {args.logits}")
    pairs = list(zip(texts, map(json.loads, lines)))[: args.limit]
    labels = model.config.id2label
    largest, worst, same, good = 0.0, (0.0, 0), 0, True
    logits = []
    for number, (text, row) in enumerate(pairs, 1):
        inputs = tokenizer(*text, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            found = model(**inputs).logits[0]
        expected = torch.tensor(row["logits"])
        if found.shape != expected.shape:
            sys.exit(f"row {number}: {found.numel()} logits from the export, {expected.numel()} from linocut")
        absolute, relative = differences(found, expected)
        largest = max(largest, absolute)
        good = good and relative <= TOLERANCE  # NaN is not
        worst = max(worst, (relative, number))
        same += "label" not in row or labels[found.argmax().item()] == row["label"]
        logits.append(found)
    batch = [text for text, _ in pairs[:32]]
    inputs = tokenizer(*map(list, zip(*batch)), truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        _, padded = differences(model(**inputs).logits, torch.stack(logits[:32]))
    good = good and padded <= TOLERANCE
    print(
        f"{'equal' if good else 'DIFFERENT'}: {len(pairs)} rows, largest difference {largest:.2e}, relative to "
        f"max(1, |logit|) {worst[0]:.2e} (row {worst[1]}; at most {TOLERANCE:.0e}), padded {padded:.2e}, same "
        f"label in {same}; {loaded_as}, Transformers {transformers.__version__}, PyTorch {torch.__version__}"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
