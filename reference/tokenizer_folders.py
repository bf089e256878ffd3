"""Writes testdata/tokenizers: folders with the files of small tokenizers learned on the bundled data, and of
each the tokens by Transformers of a few texts and pairs in expected.jsonl.

    pip install -r reference/requirements.txt
    python reference/tokenizer_folders.py
"""

import csv
import json
import shutil
from pathlib import Path

import transformers
from check_tokenizers import MADE_UP, Made, folders
from transformers import AutoTokenizer

FOLDER = Path("testdata/tokenizers")
KEPT = {
    "bert: vocab.txt": "words",
    "bert: vocab.txt, do_lower_case false": "words-capitals",
    "bert: vocab.txt, added_tokens_decoder": "words-decoder",
    "bert: vocab.txt, special_tokens_map.json": "words-special",
    "bert: vocab.txt, DistilBertTokenizer": "words-untyped",
    "mpnet: vocab.txt": "words-mpnet",
    "roberta: vocab.json": "bytes",
    "roberta: vocab.json, add_prefix_space": "bytes-space",
    "xlm-roberta: tokenizer.json": "pieces",
    "camembert: tokenizer.json": "pieces-camembert",
    "albert: tokenizer.json, settings changed after": "pieces-albert",
    "deberta-v2: tokenizer.json": "pieces-deberta",
    "modernbert: tokenizer.json": "bytes-modern",
    "bert: tokenizer.json, no normalizer": "file-class-decides",
    "bert: tokenizer.json, no normalizer, generic class": "file-generic",
    "bert: tokenizer.json, generic class, types asked for": "file-types-asked",
}


def main():
    transformers.logging.set_verbosity_error()
    with open("data/debian/dev.tsv", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    rows = [[text] for text in texts[:12] + MADE_UP] + [list(pair) for pair in zip(texts[:4] + MADE_UP, MADE_UP)]
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name, fill in folders(Made(texts[:300], 250)):
        if name not in KEPT:
            continue
        folder = FOLDER / KEPT[name]
        folder.mkdir(parents=True)
        fill(folder)
        tok = AutoTokenizer.from_pretrained(folder)
        with (folder / "expected.jsonl").open("w", encoding="utf-8") as out:
            for row in rows:
                tokens = tok(*row)
                types = tokens.get("token_type_ids", [0] * len(tokens["input_ids"]))
                out.write(json.dumps([row, tokens["input_ids"], types], ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
