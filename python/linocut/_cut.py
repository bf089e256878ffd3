"""Cuts, and what they predict."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core, _html, _report
from ._errors import DataError
from ._report import Report

if TYPE_CHECKING:  # its import takes longer than all else here
    import numpy as np


class Cut:
    """A task, stored as what it changes of its base.

    Read from a file, or what :meth:`Base.train` gives.

    >>> cut.save("target/queue.cut", force=True)
    >>> linocut.Cut("target/queue.cut").labels
    ['parcel', 'refund']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._core = _core.Cut.read(os.fsdecode(path))
        #: Of a cut just trained: scores on the dev rows, and how many texts were cut.
        self.training: dict[str, Any] | None = None
        #: Of a cut trained with folds: predictions of its training rows by cuts that were not trained on them.
        self.fold_predictions: Predictions | None = None
        #: Of a cut just calibrated: its decision, and the expected calibration error before and after.
        self.calibration: dict[str, Any] | None = None

    @classmethod
    def _of(cls, core: _core.Cut) -> Cut:
        cut = cls.__new__(cls)
        cut._core, cut.training, cut.calibration, cut.fold_predictions = core, None, None, None
        return cut

    def save(self, path: str | os.PathLike[str], force: bool = False) -> None:
        """Writes the file, whole or not at all; an existing one is replaced only with ``force``."""
        self._core.save(os.fsdecode(path), force)

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        return self._core.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Cut:
        """The cut of a file's bytes."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise DataError(f"data is {type(data).__name__}, expected the bytes of a cut")
        return cls._of(_core.Cut.from_bytes(bytes(data)))

    @property
    def card(self) -> dict[str, Any]:
        """What the cut says of itself: task, base, labels, method, training, scores. A copy: changing it changes nothing."""
        card: dict[str, Any] = json.loads(self._core.card())
        return card

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the outputs; none for a regression."""
        return list(self.card["labels"])

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return self._core.size()

    def report(self) -> Report:
        """Its scores: of a cut just trained those on the dev rows, with classes and confusions; of one from a file what
        its card keeps.

        :raises linocut.DataError: if nothing was held out and so nothing scored.

        >>> print(cut.report())  # doctest: +ELLIPSIS
        accuracy ...
        """
        evaluation = (self.training or {}).get("evaluation")
        if evaluation is not None:
            return Report(evaluation)
        card = self.card
        if not card["metrics"]:
            raise DataError("this cut has no scores: no row was held out", "base.evaluate(cut, texts, labels) scores it")
        return _report.of_card(card)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (self.to_bytes(), self.training))

    def _repr_html_(self) -> str:
        card = self.card
        facts = {
            "labels": ", ".join(card["labels"][:8]) + (", …" if len(card["labels"]) > 8 else "") or "a number",
            "method": card["method"]["name"],
            "base": card["base"]["name"],
            "size": _html.size(self.nbytes),
        }
        facts |= {name.replace("_", " "): _html.points(value) for name, value in card["metrics"].items() if name != "mse"}
        return _html.table(card["task"], ["", ""], [[name, value] for name, value in facts.items()])

    def __repr__(self) -> str:
        card = self.card
        kind = f"{len(card['labels'])} labels" if card["labels"] else "regression"
        return f"<linocut.Cut {card['task']!r}: {card['method']['name']}, {kind}, {self.nbytes:,} bytes>"


def _restored(data: bytes, training: dict[str, Any] | None) -> Cut:
    cut = Cut.from_bytes(data)
    cut.training = training
    return cut


def core_of(cut: Cut) -> _core.Cut:
    """The compiled part of a cut, and of nothing else."""
    if not isinstance(cut, Cut):
        raise DataError(f"expected a linocut.Cut, found {type(cut).__name__}", "read a file with linocut.Cut(path)")
    return cut._core


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a task says of texts, row by row."""

    #: The label of each text, ``None`` where the task is not sure enough to answer; for multi-label tasks the list of those
    #: above ½ or their thresholds; for a regression the number.
    labels: list[Any]
    #: Probabilities ``[texts, labels]`` as float32; for a regression the numbers ``[texts, 1]``.
    scores: np.ndarray
    #: Raw outputs ``[texts, outputs]`` as float32.
    logits: np.ndarray
    #: The labels' names, in the order of the columns of ``scores``.
    names: list[str]
    #: Texts longer than the task reads, of which only the beginning counted.
    texts_cut: int

    def __len__(self) -> int:
        return len(self.labels)


def predictions(kind: str, logits_: bytes, scores_: bytes, answered_: bytes, texts_cut: int) -> Predictions:
    """Predictions of a task of this kind, as the core tells them."""
    import numpy as np

    task = json.loads(kind)
    outputs, names, problem = task["outputs"], task["labels"], task["problem"]
    logits, scores = (np.frombuffer(data, dtype=np.float32).reshape(-1, outputs).copy() for data in (logits_, scores_))
    answered = np.frombuffer(answered_, dtype=np.bool_).reshape(-1, outputs)
    labels: list[Any]
    if problem == "regression":
        labels = scores[:, 0].tolist()
    elif problem == "multi-label":
        labels = [[names[i] for i in row.nonzero()[0]] for row in answered]
    else:
        labels = [names[i] if row[i] else None for i, row in zip(answered.argmax(axis=1), answered)]
    return Predictions(labels, scores, logits, names, texts_cut)
