"""Do the commands work on every family, and do Transformers and linocut give the same logits?

    pip install -r reference/requirements.txt
    python reference/check_families.py target/release/linocut [model_type ...] > reference/results/families.md

For each `model_type` a tiny random base and a fine-tuned ...ForSequenceClassification are made with
Transformers, with a tokenizer of the family's kind learned on the bundled data. Then, on 200 texts
and on 200 pairs of the bundled data, cut at a length that many exceed:

    train      a mask on the base, and its export: Transformers' logits beside `predict --logits`
    pack       the fine-tuned model, to the bit (--verify): its logits beside `predict --logits` of the
               cut, and the exported tensors beside the model's own
    measure, plan, verify, inspect, eval, study on what came of it

Prints a table; exits 1 if a command fails, a logit differs by more than 1e-5 * max(1, |logit|), or an
exported tensor by a bit.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import ByteLevelBPETokenizer, BertWordPieceTokenizer, SentencePieceUnigramTokenizer
from tokenizers.processors import RobertaProcessing, TemplateProcessing
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

ROWS, LENGTH, TOLERANCE = 200, 24, 1e-5
DATA = Path("data/debian/dev.tsv")
SMALL = dict(hidden_size=48, num_attention_heads=4, intermediate_size=80, num_hidden_layers=3)
# model_type, beginning of its classes, tokenizer, config
MODELS = [
    ("bert", "Bert", "wordpiece", dict(**SMALL, max_position_embeddings=64)),
    ("roberta", "Roberta", "bytes", dict(**SMALL, max_position_embeddings=66, type_vocab_size=1)),
    ("xlm-roberta", "XLMRoberta", "unigram", dict(**SMALL, max_position_embeddings=66, type_vocab_size=1)),
    ("camembert", "Camembert", "unigram", dict(**SMALL, max_position_embeddings=66, type_vocab_size=1)),
    (
        "distilbert",
        "DistilBert",
        "wordpiece",
        dict(dim=48, n_heads=4, hidden_dim=80, n_layers=3, max_position_embeddings=64),
    ),
    ("electra", "Electra", "wordpiece", dict(**SMALL, embedding_size=32, max_position_embeddings=64)),
    ("mpnet", "MPNet", "bytes", dict(**SMALL, max_position_embeddings=66)),
    (
        "albert",
        "Albert",
        "unigram",
        dict(**SMALL, embedding_size=32, num_hidden_groups=2, max_position_embeddings=64),
    ),
    (
        "modernbert",
        "ModernBert",
        "bytes",
        # A window that texts of 24 tokens reach beyond.
        dict(**SMALL, max_position_embeddings=64, local_attention=8, global_attn_every_n_layers=2),
    ),
    (
        "deberta-v2",
        "DebertaV2",
        "unigram",
        dict(
            **SMALL, max_position_embeddings=64, relative_attention=True, position_buckets=8,
            position_biased_input=False, share_att_key=True, norm_rel_ebd="layer_norm", pos_att_type="p2c|c2p",
        ),
    ),
    ("nomic_bert", "NomicBert", "wordpiece", dict(**SMALL, max_position_embeddings=64)),
]


def tokenizer(kind, texts):
    if kind == "wordpiece":
        tok = BertWordPieceTokenizer(lowercase=True)
        tok.train_from_iterator(texts, vocab_size=900, show_progress=False)
        special = dict(unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]")
        at = lambda t: tok.token_to_id(t)
        tok._tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", at("[CLS]")), ("[SEP]", at("[SEP]"))],
        )
    else:
        names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        if kind == "bytes":
            tok = ByteLevelBPETokenizer(add_prefix_space=False)
            tok.train_from_iterator(texts, vocab_size=900, special_tokens=names, show_progress=False)
        else:
            tok = SentencePieceUnigramTokenizer()
            tok.train_from_iterator(texts, vocab_size=900, special_tokens=names, unk_token="<unk>", show_progress=False)
        special = dict(
            unk_token="<unk>", cls_token="<s>", sep_token="</s>", pad_token="<pad>",
            mask_token="<mask>", bos_token="<s>", eos_token="</s>",
        )
        ends = [(t, tok.token_to_id(t)) for t in ("</s>", "<s>")]
        if kind == "bytes":
            tok._tokenizer.post_processor = RobertaProcessing(*ends)
        else:
            tok._tokenizer.post_processor = TemplateProcessing(
                single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[ends[1], ends[0]]
            )
    fast = PreTrainedTokenizerFast(tokenizer_object=tok._tokenizer, **special)
    fast.model_max_length = LENGTH
    return fast


def logits(folder, rows, pairs, own):
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=own).eval()
    tok = AutoTokenizer.from_pretrained(folder, trust_remote_code=own)
    out, cut = [], 0
    with torch.no_grad():
        for a, b in rows:
            given = (a, b) if pairs else (a,)
            inputs = tok(*given, truncation=True, max_length=LENGTH, return_tensors="pt")
            cut += len(tok(*given)["input_ids"]) > LENGTH
            out.append(model(**inputs).logits[0])
    return torch.stack(out), cut


def worst(found, expected):
    return ((found - expected).abs() / expected.abs().clamp(min=1)).max().item()


def asked():
    """The models named on the command line, or all."""
    return [m for m in MODELS if m[0] in sys.argv[2:] or not sys.argv[2:]]


def command(linocut, model_type, place):
    """Runs a command of linocut in the folder `place`; gives what it prints."""

    def run(*line):
        done = subprocess.run([linocut, *map(str, line)], capture_output=True, text=True, cwd=place)
        if done.returncode:
            sys.exit(f"{model_type}: {' '.join(map(str, line))}\n{done.stderr}")
        return done.stdout

    return run


def main():
    linocut = Path(sys.argv[1]).resolve()
    transformers.logging.set_verbosity_error()
    with DATA.open() as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    rows = list(zip(texts[:ROWS], texts[ROWS : 2 * ROWS]))
    failed = []
    print("# Every family, by its commands\n")
    print(f"transformers {transformers.__version__}, torch {torch.__version__}; {ROWS} texts and {ROWS} pairs, at most {LENGTH} tokens.")
    print("Largest difference of a logit, relative to max(1, |logit|).\n")
    print("| model_type | tokenizer | cut | trained, mean | packed, its own head | pairs, cut | trained | packed |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for model_type, begins, kind, config in asked():
        with tempfile.TemporaryDirectory() as place:
            place = Path(place)

            run = command(linocut, model_type, place)
            torch.manual_seed(1)
            tok = tokenizer(kind, texts)
            full = dict(config, vocab_size=len(tok), pad_token_id=tok.pad_token_id)
            make = getattr(transformers, begins + "Config")
            base = getattr(transformers, begins + "Model")(make(**full))
            names = {i: f"label{i}" for i in range(4)}
            tuned = getattr(transformers, begins + "ForSequenceClassification")(
                make(**full, num_labels=4, id2label=names, label2id={n: i for i, n in names.items()})
            )
            attribute = tuned.base_model_prefix
            with torch.no_grad():
                for module in (base, tuned):
                    for parameter in module.parameters():
                        parameter.add_(0.05 * torch.randn_like(parameter))
                # Fine-tuned from the base: near it.
                own = dict(base.named_parameters())
                for name, parameter in getattr(tuned, attribute).named_parameters():
                    if name in own:
                        parameter.copy_(own[name] + 1e-3 * torch.randn_like(parameter))
            base.save_pretrained(place / "base")
            tuned.save_pretrained(place / "tuned")
            for folder in ("base", "tuned"):
                tok.save_pretrained(place / folder)
            cells = [model_type, kind]
            for pairs in (False, True):
                with (place / "rows.tsv").open("w") as file:
                    file.write("sentence1\tsentence2\tlabel\n" if pairs else "sentence1\tlabel\n")
                    for i, (a, b) in enumerate(rows):
                        file.write("\t".join([a, b, f"label{i % 4}"] if pairs else [a, f"label{i % 4}"]) + "\n")
                on = ("--base", "base")
                run("train", *on, "--train", "rows.tsv", "--pooling", "mean", "--epochs", 1, "--max-length", LENGTH, "--force", "--out", "mask.cut")
                run("pack", *on, "--tuned", "tuned", "--out", "packed.cut", "--verify", "--force", *(["--pairs"] if pairs else []))
                worsts = []
                for cut, own_code in (("mask", True), ("packed", False)):
                    run("export", f"{cut}.cut", *on, "--out", cut, "--force")
                    found = run("predict", f"{cut}.cut", *on, "--in", "rows.tsv", "--logits", "--json")
                    found = torch.tensor([json.loads(line)["logits"] for line in found.splitlines()])
                    expected, count = logits(place / cut, rows, pairs, own_code)
                    worsts.append(worst(found, expected))
                    if cut == "packed":
                        worsts[-1] = max(worsts[-1], worst(found, logits(place / "tuned", rows, pairs, False)[0]))
                        before, after = load_file(place / "tuned/model.safetensors"), load_file(place / "packed/model.safetensors")
                        if before.keys() != after.keys() or any(not torch.equal(before[n], after[n]) for n in before):
                            failed.append(f"{model_type}: exported tensors differ")
                cells += [str(count), *(f"{w:.1e}" for w in worsts)]
                if max(worsts) > TOLERANCE:
                    failed.append(f"{model_type}: logits differ by {max(worsts):.1e}")
            run("measure", "base", "tuned", "mask.cut")
            run("verify", "mask.cut", "packed.cut", *on)
            run("inspect", "packed.cut")
            run("eval", "mask.cut", *on, "--data", "rows.tsv")
            (place / "cuts").mkdir()
            for cut in ("mask", "packed"):
                (place / f"{cut}.cut").rename(place / f"cuts/{cut}.cut")
            run("plan", *on, "--cuts", "cuts")
            (place / "task").mkdir()
            (place / "task/task.json").write_text("{}")
            for part in ("train", "dev"):
                (place / f"task/{part}.tsv").write_bytes((place / "rows.tsv").read_bytes())
            run("study", *on, "--task", "task", "--arms", "head,mask,layer-0", "--epochs", 1, "--seeds", 1, "--out", "study")
            print("| " + " | ".join(cells) + " |", flush=True)
    print("\n" + ("\n".join(failed) or "All agree; measure, verify, inspect, eval, plan and study ran on each."))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
