"""ONNX Runtime gives the logits that linocut gives. Every family: reference/onnx_parity.py."""

import json

import numpy as np
import pytest

import linocut

from conftest import LABELS, TEXTS

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

# Of unequal lengths, the longest beyond what is read.
MORE = [*TEXTS[:4], "parcel", "is it my parcel or another's? " * 20, "refund the money, " * 12]


def run(folder, texts):
    """Logits of texts in one padded batch."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding()
    found = tokenizer.encode_batch(texts)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    given = {
        "input_ids": [text.ids for text in found],
        "attention_mask": [text.attention_mask for text in found],
        "token_type_ids": [text.type_ids for text in found],
    }
    feed = {i.name: np.array(given[i.name], np.int64) for i in session.get_inputs()}
    return session, session.run(["logits"], feed)[0]


@pytest.mark.parametrize(("how", "pooling"), [
    ({"method": "mask"}, "first"), ({"method": "head", "objective": "pairs"}, "mean"), ({"compute": 0.5}, "mean"),
])
def test_logits_are_those_of_predict(base, tmp_path, how, pooling):
    base = linocut.Base(base.folder, pooling=pooling)
    cut = base.train(TEXTS, LABELS, epochs=1, max_length=24, name="queue", **how)
    base.export(cut, tmp_path / "onnx", format="onnx")
    session, logits = run(tmp_path / "onnx", MORE)
    expected = base.predict(cut, MORE).logits
    assert np.abs(logits - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    about = session.get_modelmeta().custom_metadata_map
    assert (about["task"], about["base_fingerprint"]) == ("queue", base.fingerprint)
    assert json.loads(about["id2label"]) == {"0": "parcel", "1": "refund"}


def test_other_formats_are_refused(base, cut, tmp_path):
    with pytest.raises(linocut.ConfigError, match="`format` is \"tflite\", expected transformers or onnx"):
        base.export(cut, tmp_path / "x", format="tflite")
    assert not (tmp_path / "x").exists()
