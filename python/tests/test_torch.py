"""Cuts on models of Transformers; only where PyTorch and Transformers are installed."""

import numpy as np
import pytest

import linocut

from conftest import BASE, LABELS, TEXTS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import linocut.torch  # noqa: E402


@pytest.fixture(scope="module")
def mask(base):
    return base.train(TEXTS, LABELS, method="mask", epochs=3)


@pytest.fixture
def model():
    return transformers.AutoModel.from_pretrained(BASE).eval()


def logits(model, cut):
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
        kept = batch["attention_mask"].unsqueeze(2)
        return linocut.torch.head(cut)((states * kept).sum(1) / kept.sum(1)).numpy()


def test_logits_are_the_engines_and_the_model_comes_back(base, model, mask, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = logits(model, mask)
    expected = base.predict(mask, TEXTS).logits
    mask.save(tmp_path / "mask.cut")
    for cut in (mask, tmp_path / "mask.cut"):
        with linocut.torch.applied(model, cut) as on:
            assert np.allclose(logits(on, mask), expected, atol=2e-5)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    few = base.train(TEXTS, LABELS, method="mask", objective="pairs")
    with linocut.torch.applied(model, few) as on:
        # Its head reads vectors of length 1.
        assert few.card["unit"] and np.allclose(logits(on, few), base.predict(few, TEXTS).logits, atol=2e-5)
    full = base.train(TEXTS, LABELS, method="full", epochs=2)
    handle = linocut.torch.apply(model, full)
    assert np.allclose(logits(model, full), base.predict(full, TEXTS).logits, atol=2e-5)
    with pytest.raises(linocut.CutError, match="fingerprint"):
        linocut.torch.apply(model, mask)  # on another cut
    handle.undo()
    handle.undo()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert np.array_equal(logits(model, mask), plain)


def test_a_model_with_a_head_of_its_own(base, mask):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(BASE).eval()
    with linocut.torch.applied(model, mask):
        assert np.allclose(logits(model.base_model, mask), base.predict(mask, TEXTS).logits, atol=2e-5)


def test_another_model_is_refused(model, mask):
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0, 0] += 1e-3
    before = model.state_dict()["encoder.layer.1.output.dense.weight"].clone()
    with pytest.raises(linocut.CutError, match="dtype"):
        linocut.torch.apply(model, mask)
    assert torch.equal(model.state_dict()["encoder.layer.1.output.dense.weight"], before)
