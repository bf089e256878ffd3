"""Texts and labels as lists, from whatever holds them in Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._errors import ConfigError, DataError

#: Arguments that are whole numbers, and those that are numbers.
WHOLE = {
    "epochs", "batch", "seed", "max_length", "eval_every", "rank", "save_every", "trunk_memory", "limit", "seeds", "jobs", "folds",
    "task_memory", "sample_baseline", "threads",
}  # fmt: skip
REAL = {
    "lr", "mask_lr", "head_lr", "dropout", "warmup", "early_stop", "sparsity", "init_sparsity", "candidates", "init_scale", "compute",
    "tolerance", "initializer_range", "time_budget", "within", "search", "calibrate", "target_precision", "target_recall",
}  # fmt: skip


def plain(name: str, value: Any) -> Any:
    """An argument as JSON takes it: numbers of NumPy as Python's own, and what is wrong by its name."""
    value = value.item() if getattr(value, "shape", None) == () else value
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in WHOLE and (not number or not isinstance(value, int) or not 0 <= value < 2**63):
        raise ConfigError(f"{name} is {value!r}, expected a whole number, 0 or more")
    if name in REAL and (not number or not -1.8e308 < value < 1.8e308):
        raise ConfigError(f"{name} is {value!r}, expected a number")
    return value


def as_list(values: Any, what: str) -> list[Any]:
    """The items of a list, array, series, one-column frame or Arrow column."""
    if isinstance(values, (str, bytes)):
        raise DataError(f"{what} is a single text, expected a list of them", f"give {what} as [text]")
    if hasattr(values, "__array__") and not hasattr(values, "tolist"):
        import numpy as np

        values = np.asarray(values)
    if values is None or isinstance(values, (dict, set, frozenset)) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) == 0:
        raise DataError(f"{what} is {type(values).__name__}, expected a list, array or column")
    if hasattr(values, "to_pylist"):  # Arrow
        return list(values.to_pylist())
    if getattr(values, "ndim", 1) == 2:
        if values.shape[1] != 1:
            raise DataError(f"{what} has {values.shape[1]} columns, expected one")
        values = values.iloc[:, 0] if hasattr(values, "iloc") else values[:, 0]
    if hasattr(values, "tolist"):  # NumPy, pandas: to Python's own types
        return list(values.tolist())
    return list(values)


def texts(values: Any, what: str = "texts") -> list[str]:
    """Texts, every one of them a text."""
    found = as_list(values, what)
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise DataError(f"{what}[{i}] is {shown(text)}, expected a text", "give every row a text, or leave it out")
        encodable(text, f"{what}[{i}]")
    return found


def encodable(text: str, place: str) -> None:
    """Refuses halves of characters, which no text file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place} holds half a character (a lone surrogate) at {error.start}") from error


def labels(values: Any, what: str = "labels") -> tuple[list[str | list[str]], str | None]:
    """Labels as the library reads them: text, numbers as text, or lists of texts; and the problem that their type alone
    decides: texts that look like numbers are labels all the same."""
    found = as_list(values, what)
    kinds: dict[str, int] = {}
    read: list[str | list[str]] = []
    value: str | list[str]
    for i, label in enumerate(found):
        if getattr(label, "shape", None) == ():  # a number of NumPy
            label = label.item()
        if isinstance(label, str):
            encodable(label, f"{what}[{i}]")
            kind, value = "text", label
        elif isinstance(label, bool):
            kind, value = "a truth value", str(label)
        elif isinstance(label, (int, float)):
            if isinstance(label, float) and not math.isfinite(label):
                raise DataError(f"{what}[{i}] is {shown(label)}, expected a label or a finite number")
            kind, value = "a number", repr(label)
        elif isinstance(label, Sequence) or hasattr(label, "tolist"):
            items = label.tolist() if hasattr(label, "tolist") else label
            if isinstance(label, (bytes, bytearray)) or not all(isinstance(item, str) for item in items):
                raise DataError(f"{what}[{i}] is {shown(label)}, expected a text, a number or a list of texts")
            for item in items:
                encodable(item, f"{what}[{i}]")
            kind, value = "a list", list(items)
        else:
            raise DataError(f"{what}[{i}] is {shown(label)}, expected a label", "give every row a label, or leave it out")
        kinds.setdefault(kind, i)
        read.append(value)
    if len(kinds) > 1:
        (one, i), (other, j), *_ = kinds.items()
        raise DataError(
            f"{what} are of different types: {what}[{i}] is {one}, {what}[{j}] is {other}",
            f"make them one, such as [str(label) for label in {what}]",
        )
    if "text" in kinds or "a truth value" in kinds:
        return read, "single-label"
    broken = any(isinstance(value, str) and not float(value).is_integer() for value in read) if "a number" in kinds else False
    return read, "regression" if broken else None


def weights(values: Any, rows: int, what: str = "sample_weight") -> list[float]:
    """How much each row counts."""
    found = as_list(values, what)
    found = [value.item() if getattr(value, "shape", None) == () else value for value in found]
    for i, value in enumerate(found):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 3e38:
            raise DataError(f"{what}[{i}] is {value!r}, expected a number, 0 or more")
    if len(found) != rows:
        raise DataError(f"there are {rows} texts, {len(found)} of {what}: expected as many of each")
    return found


def by_label(values: Mapping[Any, Any], what: str = "class_weights") -> dict[str, float]:
    """Numbers by label, each label as the library reads it."""
    found: dict[str, float] = {}
    for label, value in values.items():
        label = label.item() if getattr(label, "shape", None) == () else label
        value = value.item() if getattr(value, "shape", None) == () else value
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 3e38:
            raise ConfigError(f"{what}[{label!r}] is {value!r}, expected a number above 0")
        whole = isinstance(label, float) and label.is_integer()
        found[str(int(label) if whole else label)] = float(value)
    return found


def same_length(**columns: Sequence[Any] | None) -> None:
    """Refuses columns of different lengths."""
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{n} {name}" for name, n in lengths.items())
        raise DataError(f"there are {shown}: expected as many of each")
    if lengths and not next(iter(lengths.values())):
        raise DataError(f"{next(iter(lengths))} is empty, expected one row or more")


def shown(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return f"{text[:60]}… ({type(value).__name__})" if len(text) > 60 else f"{text} ({type(value).__name__})"
