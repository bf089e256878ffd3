"""Cuts on models of Transformers: set in place, taken off again bit for bit.

>>> from transformers import AutoModel  # doctest: +SKIP
>>> model = AutoModel.from_pretrained("models/all-minilm-l6-v2")  # doctest: +SKIP
>>> with linocut.torch.applied(model, "queue.cut"):  # doctest: +SKIP
...     ...
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import torch
except ImportError as error:  # pragma: no cover
    raise ImportError("linocut.torch needs PyTorch and Transformers: pip install torch transformers") from error

from . import _core
from ._cut import Cut
from ._errors import BaseError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Applied:
    """What a cut overwrote in a model."""

    def __init__(self, model: PreTrainedModel, overwritten: dict[str, torch.Tensor]) -> None:
        self._model = model
        self._overwritten = overwritten

    def undo(self) -> None:
        """Puts back what was overwritten, bit for bit; a second time does nothing."""
        with torch.no_grad():
            for name, before in self._overwritten.items():
                self._model.get_parameter(name).copy_(before)
        self._overwritten = {}


def apply(model: PreTrainedModel, cut: Cut | str | os.PathLike[str]) -> Applied:
    """Sets a cut into a loaded ``AutoModel`` or ``AutoModelForSequenceClassification``, in place.

    The model's own head stays as it is: the cut's is :func:`head`. The model is compared with the cut's base by the
    fingerprint of its weights as they are in memory, so it must be loaded in the type of its files, and have no other
    cut on.

    :raises linocut.CutError: if the weights are not those of the cut's base; nothing is changed then.
    """
    task = cut if isinstance(cut, Cut) else Cut(cut)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        edited = _core.edited(folder, task._core)
    known = dict(model.named_parameters())
    for name, _, _ in edited:
        if name not in known:
            raise BaseError(
                f"{type(model).__name__} has no parameter {name}, which its files have",
                "linocut export writes a folder with the cut in it",
            )
    overwritten: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for name, shape, data in edited:
            parameter = known[name]
            overwritten[name] = parameter.detach().clone()
            values = torch.from_numpy(np.frombuffer(data, dtype=np.float32).reshape(shape).copy())
            parameter.copy_(values)
    return Applied(model, overwritten)


@contextmanager
def applied(model: PreTrainedModel, cut: Cut | str | os.PathLike[str]) -> Iterator[PreTrainedModel]:
    """:func:`apply` for the time of a ``with``."""
    handle = apply(model, cut)
    try:
        yield model
    finally:
        handle.undo()


def head(cut: Cut | str | os.PathLike[str]) -> Any:
    """The cut's head, a :class:`torch.nn.Linear` from the pooled vector to the logits; where ``cut.card["unit"]`` is true
    (few rows, learned in pairs) after a module that divides the vector by its length.

    What it reads is what ``cut.card["pooling"]`` says: the mean of the last hidden states over a text's tokens, the
    first of them, or that through the model's pooler.
    """
    task = cut if isinstance(cut, Cut) else Cut(cut)
    weight, bias = (np.frombuffer(data, dtype=np.float32).copy() for data in task._core.head())
    linear = torch.nn.Linear(weight.size // bias.size, bias.size)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight.reshape(bias.size, -1)))
        linear.bias.copy_(torch.from_numpy(bias))
    return torch.nn.Sequential(_Unit(), linear) if task.card.get("unit") else linear


class _Unit(torch.nn.Module):
    """Vectors over their lengths."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(vectors, dim=-1)
