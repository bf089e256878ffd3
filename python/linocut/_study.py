"""Many ways to train tasks, compared."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import _core, _html, _progress
from ._base import Base, core_of_base, dev_rows, metric_json, rows, tell
from ._cut import Cut, core_of
from ._errors import DataError
from ._texts import encodable, plain


class Study:
    """Tasks, and many runs on them: which layers a task needs, how many zeros it bears, how small it can be.

    :param base: the base of all runs.
    :param tasks: folders as of ``linocut study``, or a mapping from names to ``(texts, labels)``,
        ``(texts, pairs, labels)``, or a dict with ``texts``, ``labels`` and any of ``pairs``, ``dev``, ``problem`` and
        ``metric``, as :meth:`Base.train` takes them. Without dev rows a tenth is held out, the same for every run.
    :param out: the study's folder, which ``linocut study`` reads, too. What is in it already is not done again. Without
        one, only :meth:`train` works.
    :param epochs: passes over the rows; as :meth:`Base.train` chooses otherwise.
    :param limit: rows read of each file, for tasks in folders.

    >>> study = linocut.Study(base, {"queue": (texts, labels)}, "target/study", epochs=2)
    >>> study.run(arms=["head", "head+head_lr=0.01"], seeds=2)
    0
    >>> sorted({run["arm"] for run in study.runs})
    ['head', 'head+head_lr=0.01']
    """

    def __init__(
        self,
        base: Base,
        tasks: Mapping[str, Any] | Sequence[str | os.PathLike[str]],
        out: str | os.PathLike[str] | None = None,
        *,
        epochs: int | None = None,
        limit: int | None = None,
    ) -> None:
        folders, given = [], []
        if isinstance(tasks, Mapping):
            given = [_task(name, task) for name, task in tasks.items()]
        elif tasks is None:
            raise DataError("tasks is None, expected folders, or a mapping from names to rows")
        elif isinstance(tasks, (str, os.PathLike)):
            folders = [os.fsdecode(tasks)]
        else:
            folders = [os.fsdecode(task) for task in tasks]
        if not folders and not given:
            raise DataError("tasks is empty, expected one or more")
        place = None if out is None else os.fsdecode(out)
        epochs, limit = plain("epochs", epochs), plain("limit", limit)
        self._core = _core.Study(core_of_base(base), folders, given, place, epochs, limit)
        tell(self._core.remarks())
        #: The study's folder.
        self.path = place

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return self._core.tasks()

    @property
    def arms(self) -> list[str]:
        """The names of all arms, those that tell most first; each may have options, as in ``"mask+mask_lr=0.1"``."""
        return self._core.arms()

    def run(
        self,
        arms: str | Sequence[str] = "core",
        seeds: int = 3,
        *,
        jobs: int = 1,
        time_budget: float | None = None,
        progress: _progress.Progress = False,
    ) -> int:
        """Does the runs that are missing; Ctrl-C keeps those that are done.

        :param arms: ``"core"``, ``"all"``, names or patterns of :attr:`arms`.
        :param seeds: runs of every arm on every task.
        :param jobs: runs at a time.
        :param time_budget: seconds; no run is begun that would end later.
        :param progress: as of :meth:`Base.train`; a study has the events ``planned``, ``begun`` and ``ended``, too.
        :returns: how many runs did not fit the time budget: 0 if all are done. :attr:`runs` and :meth:`summary` say what
            came out.
        """
        how = {
            "arms": [arms] if isinstance(arms, str) else list(arms),
            "seeds": plain("seeds", seeds),
            "jobs": plain("jobs", jobs),
            "time_budget": plain("time_budget", time_budget),
        }
        observe = _progress.observer(progress)
        try:
            return self._core.run(json.dumps(how), observe)
        finally:
            if observe is not None:
                observe.close()

    def train(self, task: str, arm: str, seed: int = 0) -> tuple[dict[str, Any], Cut | None]:
        """Does one run and records it nowhere: what :meth:`add` takes. Runs that are spread over machines are trained by
        studies without a folder, and added to one that has it.

        :returns: the record, and the cut unless the run diverged.
        """
        record, core = self._core.train(task, arm, plain("seed", seed))
        found: dict[str, Any] = json.loads(record)
        return found, None if core is None else Cut._of(core)

    def add(self, record: dict[str, Any], cut: Cut | None) -> None:
        """Adds a run of :meth:`train`, in the place of an earlier one of its task, arm and seed.

        :raises linocut.DataError: if it is of other rows, options or epochs than this study's, or the cut is another one.
        """
        if not isinstance(record, Mapping):
            raise DataError(f"record is {type(record).__name__}, expected what Study.train gave")
        self._core.add(json.dumps(record), None if cut is None else core_of(cut))

    def close(self) -> None:
        """Lets go of the folder, which others cannot use while this is open; ``with`` does so, too."""
        self._core.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Every run so far, in the order in which they ended: ``task``, ``arm``, ``seed``, ``score``, ``bytes``, …."""
        found: list[dict[str, Any]] = json.loads(self._core.records())
        return found

    def summary(self, *, within: float = 0.5) -> dict[str, Any]:
        """What the runs come down to: ``summary`` (of each task, and their mean) and ``advice``.

        :param within: points below arm ``full`` that are accepted where the smallest is advised.
        """
        found: dict[str, Any] = json.loads(self._core.found(plain("within", within) / 100.0))
        return found

    def _repr_html_(self) -> str:
        found = self.summary()
        parts = [_html.paragraph(one["text"] + ".") for one in found["advice"]]
        for task in found["summary"]["tasks"]:
            header = ["arm", "what it trains", "seeds", task["metric"] or "score", "KB", "zeros"]
            cells = [
                [
                    row["arm"],
                    row["about"],
                    row["seeds"],
                    _html.points(row["mean"], row["deviation"]),
                    f"{row['bytes'] / 1e3:,.1f}",
                    "" if row["sparsity"] is None else f"{row['sparsity']:.2%}",
                ]
                for row in task["rows"]
            ]
            parts.append(_html.table(task["name"], header, cells))
        return "".join(parts)


def _task(name: str, task: Any) -> tuple[str, Any, Any, str]:
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"a task is named {name!r}, expected a text")
    if isinstance(task, (tuple, list)):
        names = ("texts", "labels") if len(task) == 2 else ("texts", "pairs", "labels")
        if len(task) != len(names):
            raise DataError(f"task {name!r} has {len(task)} parts, expected (texts, labels) or (texts, pairs, labels)")
        task = dict(zip(names, task))
    if not isinstance(task, Mapping) or not {"texts", "labels"} <= set(task):
        raise DataError(f"task {name!r} is {type(task).__name__}, expected (texts, labels) or a dict with both")
    unknown = set(task) - {"texts", "labels", "pairs", "dev", "problem", "metric"}
    if unknown:
        raise DataError(f"task {name!r} has {sorted(unknown)}, expected texts, labels, pairs, dev, problem and metric")
    encodable(name, "the name of a task")
    given, known_problem = rows(task["texts"], task.get("pairs"), task["labels"])
    about = {"problem": task.get("problem") or known_problem, "metric": metric_json(task.get("metric"))}
    dev = task.get("dev")
    return name, given, None if dev is None else dev_rows(dev), json.dumps(about)
