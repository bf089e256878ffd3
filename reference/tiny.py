"""Writes testdata/tiny: a tokenizer of 99 entries for the base in testdata/bert/base, and a made-up task.

    pip install -r reference/requirements.txt
    python reference/tiny.py
"""

import json
import random
import string
from pathlib import Path

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

FOLDER = Path(__file__).parent.parent / "testdata" / "tiny"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOPICS = {
    "food": ["bread", "cheese", "soup", "apple", "salt", "rice", "cook", "eat"],
    "travel": ["train", "ticket", "road", "map", "hotel", "ship", "bag", "go"],
    "weather": ["rain", "snow", "wind", "cloud", "sun", "storm", "cold", "warm"],
}
PLAIN = ["the", "to", "and", "is", "with", "for", "we", "my", "no", "very", "today", "one", "?", ",", "good", "of", "in", "new"]


def tokenizer():
    """WordPiece; letters make up every word that is not listed."""
    letters = list(string.ascii_lowercase)
    entries = SPECIAL + sum(TOPICS.values(), []) + PLAIN + letters + [f"##{letter}" for letter in letters]
    assert len(set(entries)) == len(entries) == 99, len(entries)
    tokenizer = Tokenizer(WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(FOLDER / "tokenizer.json"), pretty=False)


def task():
    rng = random.Random(0)

    def rows(n):
        for i in range(n):
            label = list(TOPICS)[i % len(TOPICS)]
            words = rng.sample(TOPICS[label], 3) + rng.sample(PLAIN, 3)
            rng.shuffle(words)
            yield f"{' '.join(words)}\t{label}\n"

    train = list(rows(48))
    # Rows of the training file with their first two words swapped: learnt by heart, their scores are the
    # same on every CPU, and no dev text stands among the training rows.
    swapped = [" ".join([b, a, *rest]) for a, b, *rest in (row.split(" ") for row in train[:12])]
    for name, chosen in [("train", train), ("dev", swapped)]:
        (FOLDER / "task" / f"{name}.tsv").write_text("sentence1\tlabel\n" + "".join(chosen))
    description = {"name": "topics", "kind": "single", "type": "classification", "labels": list(TOPICS), "metric": "accuracy"}
    (FOLDER / "task" / "task.json").write_text(json.dumps(description, indent=1) + "\n")


(FOLDER / "task").mkdir(parents=True, exist_ok=True)
tokenizer()
task()
