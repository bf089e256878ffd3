"""Models that others fine-tuned: measured and packed."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from . import _core
from ._base import Base, core_of_base
from ._cut import Cut
from ._texts import plain

Path = str | os.PathLike[str]


def measure(
    base: Base | Path,
    *tuned: Path,
    tolerance: float = 0.0,
    initializer_range: float | None = None,
    sample_baseline: int | None = None,
    allow_nan: bool = False,
) -> dict[str, Any]:
    """How far fine-tuned models lie from their base, tensor by tensor and layer by layer.

    :param base: the base, or its folder or safetensors file.
    :param tuned: model folders, safetensors files and cuts.
    :param tolerance: an entry counts as changed if it differs by more.
    :param initializer_range: deviation of the random baseline; the base's own otherwise.
    :param sample_baseline: draw the baseline with this seed instead of computing its expectation.
    :param allow_nan: leave out entries that are NaN or infinite.

    >>> cut.save("target/queue.cut", force=True)
    >>> report = linocut.measure(base, "target/queue.cut")
    >>> report["models"][0]["all"]["l1"]
    0.0
    """
    options = {
        "tolerance": plain("tolerance", tolerance),
        "initializer_range": plain("initializer_range", initializer_range),
        "sample_baseline": plain("sample_baseline", sample_baseline),
        "allow_nan": bool(allow_nan),
    }
    folder = base.folder if isinstance(base, Base) else os.fsdecode(base)
    found: dict[str, Any] = json.loads(
        _core.measure(folder, [os.fsdecode(path) for path in tuned], json.dumps(options))
    )
    return found


def pack(
    base: Base,
    folder: Path,
    *,
    budget: str | int | None = None,
    name: str | None = None,
    problem: str | None = None,
    labels: Sequence[str] | None = None,
    max_length: int | None = None,
    pairs: bool = False,
) -> Cut:
    """A fine-tuned model's folder, or that of a LoRA adapter by PEFT, as a cut of its base: to the bit, or as near as
    ``budget`` allows.

    :param budget: bytes, or such as ``"500KB"`` or ``"0.5%"``; for a model.
    :param labels: names of the outputs; for an adapter, whose files have none.
    :param name: the task's name; the folder's otherwise.
    :param problem: as of :meth:`Base.train`, where the files do not say.
    :param max_length: tokens beyond which a text is cut.
    :param pairs: the task takes pairs of texts.

    >>> base.export(cut, "target/queue-hf", force=True)
    >>> again = linocut.pack(base, "target/queue-hf")
    >>> (base.predict(again, texts).logits == base.predict(cut, texts).logits).all()
    np.True_
    """
    said = {
        "budget": None if budget is None else str(plain("budget", budget)),
        "name": name,
        "problem": problem,
        "labels": None if labels is None else list(labels),
        "max_length": plain("max_length", max_length),
        "pairs": bool(pairs),
    }
    return Cut._of(_core.pack_model(core_of_base(base), os.fsdecode(folder), json.dumps(said)))
