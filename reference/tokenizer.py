"""Writes testdata/data/tokenizer.json: token ids by Transformers for made-up texts at several
maximum lengths. Needs `pip install transformers` and the base in models/all-minilm-l6-v2.
Run from the repository's root: python reference/tokenizer.py"""

import json

from transformers import AutoTokenizer

TEXTS = [
    "A plain sentence.",
    "Ünïcödé, ÅNGSTRÖM and naïve café — 漢字 かな 한국어 🙂🙂",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "tabs\tand\nline breaks\r\nand\u00a0spaces\u200b",
    "[CLS] special [SEP] tokens [MASK] in [PAD] text [UNK]",
    "x" * 150,
    "1,234.56% #tag @user http://example.org/a?b=c&d=e",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
    "?",
]
PAIRS = [
    (TEXTS[0], TEXTS[7]),
    (TEXTS[7], TEXTS[0]),
    (TEXTS[7], TEXTS[1]),
    (TEXTS[7], TEXTS[7]),
    (TEXTS[2], TEXTS[3]),
    (TEXTS[8], TEXTS[8]),
]

tokenizer = AutoTokenizer.from_pretrained("models/all-minilm-l6-v2")
cases = []
for length in (5, 8, 15, 16, 64):
    for text, pair in [(t, None) for t in TEXTS] + PAIRS:
        whole = tokenizer(text, pair)
        cut = tokenizer(text, pair, truncation=True, max_length=length)
        cases.append({
            "text": text,
            "pair": pair,
            "max_length": length,
            "ids": cut["input_ids"],
            "type_ids": cut["token_type_ids"],
            "cut": len(whole["input_ids"]) > length,
        })
with open("testdata/data/tokenizer.json", "w", encoding="utf-8") as out:
    out.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
