"""One pretrained language model, a thousand tasks: each stored as a small cut of the shared base.

>>> import linocut
>>> base = linocut.Base("models/all-minilm-l6-v2")
>>> texts = ["where is my parcel?", "it never arrived", "i want my money back", "please refund me"] * 4
>>> cut = base.train(texts, ["parcel", "parcel", "refund", "refund"] * 4, method="head", epochs=40)
>>> base.predict(cut, ["my parcel is late"]).labels
['parcel']
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ._bank import Bank
from ._base import Base, set_threads
from ._core import __version__
from ._cut import Cut, Predictions
from ._models import measure, pack
from ._report import Report
from ._study import Study
from ._errors import (
    BaseError,
    ConfigError,
    CutError,
    DataError,
    Diverged,
    Error,
    FileError,
    OutOfMemory,
    Stopped,
)

__all__ = [
    "Bank",
    "Base",
    "BaseError",
    "ConfigError",
    "Cut",
    "CutError",
    "DataError",
    "Diverged",
    "Error",
    "FileError",
    "OutOfMemory",
    "Predictions",
    "Report",
    "Stopped",
    "Study",
    "__version__",
    "measure",
    "pack",
    "set_threads",
]


def __getattr__(name: str) -> Any:
    # Imported when they are asked for: what they stand on may not be installed.
    if name in {"logging", "sklearn", "torch"}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
