"""Writes testdata/minilm/hidden.safetensors and testdata/mpnet-base/hidden.safetensors: what
Transformers computes for eight texts.

    pip install -r reference/requirements.txt
    make base base-large
    python reference/hidden.py [minilm] [mpnet-base]

Computed in float64 with eager attention, one text at a time, stored as float32:

    input_ids, type_ids   I64 [tokens]          all sequences back to back, special tokens included
    offsets               I64 [texts+1]         where each sequence begins
    rows                  I64 [kept]            tokens (of all) whose last hidden state is stored:
                                                all of a short text, every fourth of a longer one
    hidden                F32 [kept, hidden]    last hidden state of those
    pooler                F32 [texts, hidden]   tanh(pooler(first token)); not of mpnet-base, whose
                                                classifiers read no pooler
    mean                  F32 [texts, hidden]   mean over all tokens

The metadata key `texts` is a JSON list of [text] or [text, pair].
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import AutoModel

MODELS = {"minilm": "models/all-minilm-l6-v2", "mpnet-base": "models/all-mpnet-base-v2"}
TEXTS = [
    [""],
    ["linoleum"],
    ["Where can I change the PIN of my card?"],
    ["Ein schöner Tag – naïve café, Ångström & Zürich; ça coûte 12,50 €!"],
    ["東京は日本の首都です。 Москва, Αθήνα 🎉 non\u00adbreaking\u00a0space"],
    ["The cat sat on the mat.", "A cat was sitting on a mat, wasn't it?"],
    ["supercalifragilisticexpialidocious e=mc^2 http://example.org/?q=1&r=[2] --flag=C++17"],
    [
        "A block of linoleum is carved once for every print by cutting material away, and the printer "
        "who knows the block can tell from a few shallow grooves which of the many pictures it will "
        "become; the rest of the surface, untouched, is the same in all of them, and so nothing of it "
        "needs to be kept a second time."
    ],
]


def write(name):
    folder, path = Path(MODELS[name]), Path("testdata") / name / "hidden.safetensors"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    ids, types, offsets, rows, hidden, pooler, mean = [], [], [0], [], [], [], []
    for text in TEXTS:
        encoding = tokenizer.encode(*text)
        with torch.no_grad():
            types_of = {"token_type_ids": torch.tensor([encoding.type_ids])} if name == "minilm" else {}
            out = model(torch.tensor([encoding.ids]), **types_of)
        last = out.last_hidden_state[0].numpy()
        kept = range(0, len(last), 4 if len(last) > 12 else 1)
        rows += [offsets[-1] + i for i in kept]
        hidden.append(last[list(kept)])
        pooler.append(out.pooler_output[0].numpy())
        mean.append(last.mean(0))
        ids += encoding.ids
        types += encoding.type_ids
        offsets.append(len(ids))
    tensors = {
        "input_ids": np.array(ids),
        "type_ids": np.array(types),
        "offsets": np.array(offsets),
        "rows": np.array(rows),
        "hidden": np.concatenate(hidden).astype(np.float32),
        "pooler": np.stack(pooler).astype(np.float32),
        "mean": np.stack(mean).astype(np.float32),
    }
    if name != "minilm":
        del tensors["pooler"]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"texts": json.dumps(TEXTS, ensure_ascii=False)})
    print(f"{path}: {path.stat().st_size} bytes, lengths {np.diff(offsets).tolist()}, {len(rows)} hidden states")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        write(name)
