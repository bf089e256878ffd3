"""Do PEFT and linocut give the same logits for an adapter?

    pip install -r reference/requirements.txt
    python reference/check_adapters.py target/release/linocut [model_type ...] > reference/results/adapters.md

For each `model_type` a tiny random base is made with Transformers, and adapters on it with PEFT, of factors
and heads drawn at random. Each is packed with `linocut pack --adapter --verify`. Then, on 200 texts of the
bundled data, cut at a length that many exceed, the logits of `predict --logits` are put beside those of
PEFT's model as it is loaded from the adapter's folder, with its factors apart and merged.

Prints a table; exits 1 if a command fails or a logit differs by more than 1e-5 * max(1, |logit|).
"""

import csv
import json
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from check_families import DATA, LENGTH, ROWS, TOLERANCE, asked, command, tokenizer, worst
from transformers import AutoModelForSequenceClassification, AutoTokenizer

# What stands for query and value, for the first matrix of the feed-forward block and for a LayerNorm; some
# matrices of two layers.
USUAL = ["query", "value"], "intermediate.dense", "LayerNorm", r".*encoder\.layer\.[02]\..*(dense|query|value)"
NAMES = {
    "distilbert": (["q_lin", "v_lin"], "lin1", "output_layer_norm", r".*layer\.[02]\.(attention\.(q|out)_lin|ffn\.lin2)"),
    "albert": (["query", "value"], "ffn", "LayerNorm", r".*albert_layer_groups\.0\..*(dense|query|value)"),
    "modernbert": (["Wqkv", "Wo"], "Wi", "mlp_norm", r".*layers\.[02]\..*(Wqkv|attn\.Wo)"),
    "deberta-v2": (
        ["query_proj", "value_proj"], "intermediate.dense", "attention.output.LayerNorm",
        r".*encoder\.layer\.[02]\..*(dense|query_proj|value_proj)",
    ),
    "mpnet": (["q", "v"], "intermediate.dense", "LayerNorm", r".*encoder\.layer\.[02]\..*(dense|attn\.[qo])"),
}
# PEFT saves these whole and trips over factors that all-linear puts there first.
HEADS = {"distilbert": ["pre_classifier", "classifier"], "modernbert": ["head.dense", "classifier"], "deberta-v2": ["pooler.dense", "classifier"]}
# What Transformers draws at random beside the head, and an adapter must bring.
SAVED = {"modernbert": ["head"], "deberta-v2": ["pooler"]}
# Transformers calls its matrices otherwise than its files do.
WITHOUT = ["nomic_bert"]


def adapters(model_type):
    """Name and options of every adapter."""
    pair, wide, norm, regex = NAMES.get(model_type, USUAL)
    yield "query and value", dict(r=8, lora_alpha=16, target_modules=pair)
    yield (
        "patterns, rslora",
        dict(
            r=4,
            lora_alpha=7,
            target_modules=[*pair, wide],
            rank_pattern={pair[0]: 6, rf"layer\.1\..*{pair[1]}": 3},
            alpha_pattern={wide: 5.5, rf"layer.[12].*{pair[1]}": 11},
            use_rslora=True,
        ),
    )
    yield "all-linear", dict(r=3, lora_alpha=10, target_modules="all-linear", exclude_modules=HEADS.get(model_type))
    pooler = ["pooler"] if model_type in ("bert", "albert") else []
    yield "regex, modules saved", dict(r=2, lora_alpha=3, target_modules=regex, modules_to_save=[norm, *pooler])
    # ALBERT's groups count as layers.
    numbers = [0] if model_type == "albert" else [1, 2]
    biases = dict(target_modules=[pair[1], wide], layers_to_transform=numbers, bias="lora_only")
    yield "some layers, their biases", dict(r=5, lora_alpha=1, **biases)


def logits(model, tok, texts):
    with torch.no_grad():
        rows = [model(**tok(t, truncation=True, max_length=LENGTH, return_tensors="pt")).logits[0] for t in texts]
    return torch.stack(rows)


def main():
    linocut = Path(sys.argv[1]).resolve()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    with DATA.open() as file:
        learnt = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    texts, failed = learnt[:ROWS], []
    print("# Adapters of PEFT, family by family\n")
    print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}; {ROWS} texts, at most {LENGTH} tokens.")
    print("Largest difference of a logit, relative to max(1, |logit|); beside it that of PEFT's own two ways.\n")
    print("| model_type | adapter | edits | cut, bytes | factors apart | merged | apart and merged | verified |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for model_type, begins, kind, config in (m for m in asked() if m[0] not in WITHOUT):
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)

            run = command(linocut, model_type, place)
            torch.manual_seed(1)
            tok = tokenizer(kind, learnt)
            full = dict(config, vocab_size=len(tok), pad_token_id=tok.pad_token_id)
            base = getattr(transformers, begins + "Model")(getattr(transformers, begins + "Config")(**full))
            with torch.no_grad():
                for parameter in base.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            base.save_pretrained(place / "base")
            tok.save_pretrained(place / "base")
            tok = AutoTokenizer.from_pretrained(place / "base")
            (place / "rows.tsv").write_text("text\n" + "".join(f"{text}\n" for text in texts))
            for number, (name, options) in enumerate(adapters(model_type)):
                saved = [*options.pop("modules_to_save", []), *SAVED.get(model_type, [])]
                options |= dict(modules_to_save=saved) if saved else {}
                whole = lambda: AutoModelForSequenceClassification.from_pretrained(place / "base", num_labels=4)
                model = peft.get_peft_model(whole(), peft.LoraConfig(task_type="SEQ_CLS", init_lora_weights=False, **options))
                with torch.no_grad():
                    for parameter_name, parameter in model.named_parameters():
                        if parameter.requires_grad:
                            parameter.mul_(0 if "lora_" in parameter_name else 1).add_(0.1 * torch.randn_like(parameter))
                folder = place / f"adapter-{number}"
                model.save_pretrained(folder)
                apart = peft.PeftModel.from_pretrained(whole(), folder).eval()
                expected = logits(apart, tok, texts)
                merged = logits(apart.merge_and_unload(), tok, texts)
                cut = f"{number}.cut"
                packed = json.loads(run("pack", "--base", "base", "--adapter", folder, "--max-length", LENGTH, "--out", cut, "--verify", "--json"))
                found = run("predict", cut, "--base", "base", "--in", "rows.tsv", "--logits", "--json")
                found = torch.tensor([json.loads(line)["logits"] for line in found.splitlines()])
                edits = ", ".join(f"{n} {kind}" for kind, n in packed["edits"].items())
                worsts = [worst(found, expected), worst(found, merged), worst(merged, expected)]
                shown = [f"{w:.1e}" for w in [*worsts, packed["verified_difference"]]]
                print(f"| {model_type} | {name} | {edits} | {packed['bytes']:,} | " + " | ".join(shown) + " |", flush=True)
                if max(worsts[:2]) > TOLERANCE:
                    failed.append(f"{model_type}, {name}: logits differ by {max(worsts[:2]):.1e}")
            (place / "cuts").mkdir()
            for cut in place.glob("*.cut"):
                cut.rename(place / "cuts" / cut.name)
            run("verify", *sorted((place / "cuts").glob("*.cut")), "--base", "base")
            # The bank computes with the factors apart, and checks every probe.
            run("plan", "--base", "base", "--cuts", "cuts")
    print("\n" + ("\n".join(failed) or "All agree; verify and plan ran on each."))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
