"""Does an exported folder give in Transformers the logits that linocut gives?

    pip install -r reference/requirements.txt
    linocut export task.cut --base models/all-minilm-l6-v2 --out exported
    linocut predict task.cut --base models/all-minilm-l6-v2 --file texts.tsv --json > logits.jsonl
    python reference/check_export.py exported logits.jsonl [--max-length 128]

Every line of the JSONL holds `text`, `text_pair` where there is one, and `logits`. The folder is
loaded as its users would: by AutoModelForSequenceClassification where config.json names such an
architecture; otherwise (mean or first-token pooling, which BERT's own class does not have) by
AutoModel, the pooling of 1_Pooling/config.json, and the head in 2_Dense/model.safetensors
(linear.weight, linear.bias), as sentence-transformers lays it out, or else in classifier.weight and
classifier.bias of model.safetensors. Prints one line; exits 1 if any logit differs by more than
1e-4 * max(1, |logit|): both sides compute in float32, in another order of summation.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

TOLERANCE = 1e-4


def load(folder):
    """The model as a function from tokenised inputs to logits, and what it was loaded by."""
    config = json.loads((folder / "config.json").read_text())
    if any(a.endswith("ForSequenceClassification") for a in config.get("architectures") or []):
        model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        missing = sorted(info["missing_keys"])
        if missing:
            sys.exit(f"{folder}: tensors missing from model.safetensors: {', '.join(missing)}")
        model.eval()
        return lambda inputs: model(**inputs).logits, "AutoModelForSequenceClassification"
    model = AutoModel.from_pretrained(folder).eval()
    pooling = json.loads((folder / "1_Pooling/config.json").read_text())
    mean = pooling["pooling_mode_mean_tokens"]
    if mean == pooling["pooling_mode_cls_token"]:
        sys.exit(f"{folder}/1_Pooling/config.json: expected mean or first-token pooling, not both or neither")
    if (folder / "2_Dense/model.safetensors").exists():
        tensors, name = load_file(folder / "2_Dense/model.safetensors"), "linear"
    else:
        tensors, name = load_file(folder / "model.safetensors"), "classifier"
    weight, bias = (tensors[f"{name}.{part}"].float() for part in ("weight", "bias"))

    def logits(inputs):
        hidden = model(**inputs).last_hidden_state  # one text at a time: no padding to leave out
        return F.linear(hidden.mean(1) if mean else hidden[:, 0], weight, bias)

    return logits, f"AutoModel + {'mean' if mean else 'first-token'} pooling + {name}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("logits", type=Path, help="JSONL by linocut predict")
    p.add_argument("--max-length", type=int, default=128)
    args = p.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    model, loaded_by = load(args.folder)
    rows = [json.loads(line) for line in args.logits.read_text(encoding="utf-8").splitlines() if line]
    if not rows:
        sys.exit(f"{args.logits}: no rows")
    largest, worst, same, good = 0.0, (0.0, 0), 0, True
    for number, row in enumerate(rows, 1):
        texts = [row["text"]] + [row[k] for k in ("text_pair",) if row.get(k) is not None]
        inputs = tokenizer(*texts, truncation=True, max_length=args.max_length, return_tensors="pt")
        with torch.inference_mode():
            found = model(inputs)[0]
        expected = torch.tensor(row["logits"])
        if found.shape != expected.shape:
            sys.exit(f"row {number}: {found.numel()} logits from the export, {expected.numel()} from linocut")
        difference = (found - expected).abs()
        largest = max(largest, difference.max().item())
        relative = (difference / expected.abs().clamp(min=1)).max().item()
        good = good and relative <= TOLERANCE  # NaN is not
        worst = max(worst, (relative, number))
        same += int(found.argmax() == expected.argmax())
    print(
        f"{'equal' if good else 'DIFFERENT'}: {len(rows)} rows, largest difference {largest:.2e}, relative to "
        f"max(1, |logit|) {worst[0]:.2e} (row {worst[1]}; at most {TOLERANCE:.0e}), same label in {same}; "
        f"{loaded_by}, Transformers {transformers.__version__}, PyTorch {torch.__version__}"
    )
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
