"""One base with many tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from . import _core, _html
from ._base import Base, core_of_base
from ._cut import Cut, Predictions, core_of, predictions
from ._errors import DataError
from ._texts import encodable, plain, same_length
from ._texts import texts as as_texts


class Bank(MutableMapping[str, Any]):
    """A base and any number of tasks on it, which share its memory and, where they do not differ, its work.

    With ``dtype="int8"`` matrices are multiplied in whole numbers of eight bits: quicker, and within the tolerance that
    each cut's probes are held to. Tasks are set and taken away as in a dict; each may be replaced while other threads predict.

    >>> bank = linocut.Bank(base)
    >>> bank["queue"] = cut
    >>> bank.predict(["where is my parcel?"])["queue"].labels
    ['parcel']
    """

    def __init__(self, base: Base, *, task_memory: int | None = None, dtype: str = "f32") -> None:
        self._core = _core.Bank(core_of_base(base), plain("task_memory", task_memory), str(dtype))
        self._base = base.name

    def __setitem__(self, name: str, cut: Cut) -> None:
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"the name of a task is {name!r}, expected a text")
        encodable(name, "the name of a task")
        self._core.put(name, core_of(cut))

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The card of a task."""
        if name not in self._core.names():
            raise KeyError(name)
        card: dict[str, Any] = json.loads(self._core.card(name))
        return card

    def __delitem__(self, name: str) -> None:
        if name not in self._core.names():
            raise KeyError(name)
        self._core.remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._core.names())

    def __len__(self) -> int:
        return len(self._core.names())

    @property
    def nbytes(self) -> int:
        """Bytes of memory of all tasks, beside the base's."""
        return self._core.size()

    def predict(
        self, texts: Any, tasks: Sequence[str] | str | None = None, *, pairs: Any = None
    ) -> dict[str, Predictions]:
        """What each of the tasks (all of them, where none is named) says of each text."""
        names = None if tasks is None else as_texts([tasks] if isinstance(tasks, str) else tasks, "tasks")
        rows = as_texts(texts)
        second = None if pairs is None else as_texts(pairs, "pairs")
        if rows:
            same_length(texts=rows, pairs=second)
        found = self._core.predict(rows, second, names)
        return {name: predictions(*said) for name, said in found}

    def _repr_html_(self) -> str:
        cards = {name: self[name] for name in self}
        rows = [
            [
                name,
                card["problem"],
                len(card["labels"]) or "",
                card["method"]["name"],
                _html.points(card["metrics"].get(card["metric_key"])),
            ]
            for name, card in cards.items()
        ]
        title = f"{len(rows)} tasks on {self._base}, {_html.size(self.nbytes)} of memory beside it"
        return _html.table(title, ["task", "problem", "labels", "method", "score"], rows)

    def __repr__(self) -> str:
        return f"<linocut.Bank: {len(self)} tasks, {self.nbytes:,} bytes>"
