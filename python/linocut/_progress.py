"""What is heard of training runs and studies while they go on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ._errors import ConfigError

#: One who gets every event as a dict; ``False`` stops the run.
Observer = Callable[[dict[str, Any]], Any]
#: What ``progress=`` takes: whether there is a bar, an observer, or several of both.
Progress = bool | Observer | Sequence[bool | Observer]


class Heard:
    """Hands on the core's events to all who observe."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self.observers = observers

    def __call__(self, text: str) -> bool:
        return self.hear(json.loads(text))

    def hear(self, event: dict[str, Any]) -> bool:
        """Hands on one event; whether the run goes on."""
        answers = [observer(event) for observer in self.observers]
        # False alone stops, Python's own or NumPy's.
        return not any(isinstance(answer, bool) and not answer or _numpys_false(answer) for answer in answers)

    def close(self) -> None:
        """Ends what was shown."""
        for observer in self.observers:
            if isinstance(observer, Bar):
                observer.close()


class Bar:
    """A line on standard error, of a run or of the runs of a study, whose results stay above it."""

    def __init__(self) -> None:
        self.steps = 0
        self.loss: float | None = None
        self.shown = 0.0
        self.wide = 0
        self.run = ""
        self.told = False

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "planned":
            self.line(f"{event['missing']} of {event['runs']} runs to do, about {event['seconds']:.0f} s")
        elif kind == "begun":
            self.run = f"[{event['at']}/{event['of']}] {event['task']}: {event['arm']}, seed {event['seed']}  "
            self.loss = None
        elif kind == "ended" and event["record"] is not None:
            record = event["record"]
            value = "undefined" if record["score"] is None else f"{100 * record['score']:.2f}"
            score = record.get("failed") or f"{record['metric'].replace('_', ' ')} {value}, {record['bytes']:,} bytes"
            self.line(f"{record['task']}: {record['arm']}, seed {record['seed']}: {score}")
        elif kind == "tokens" and not self.run and not self.told:
            self.told = True  # folds and trials are of the same texts
            self.line(event["text"])
        elif kind == "fold":
            self.line(f"fold {event['fold'] + 1} of {event['folds']}")
        elif kind == "tried":
            what = ", ".join(f"{name}={value}" for name, value in event["change"].items()) or "as it is"
            score = "undefined" if event["score"] is None else f"{100 * event['score']:.2f}"
            self.line(f"tried {what}: {score}")
        elif kind == "start":
            self.steps = event["steps"]
        elif kind == "step":
            loss = event["loss"]
            self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
            if time.monotonic() - self.shown > 0.2 or event["step"] == self.steps:
                self.show(f"{self.run}step {event['step']}/{self.steps}  loss {self.loss:.3f}")
        elif kind == "trunk" and time.monotonic() - self.shown > 0.2:
            self.show(f"{self.run}frozen layers {event['done']}/{event['rows']} rows")

    def show(self, line: str) -> None:
        """Shows a line in the place of the last."""
        self.shown = time.monotonic()
        sys.stderr.write("\r" + line.ljust(self.wide))
        sys.stderr.flush()
        self.wide = len(line)

    def line(self, line: str) -> None:
        """A line that stays."""
        self.show(line)
        self.close()

    def close(self) -> None:
        """Ends the line."""
        if self.wide:
            sys.stderr.write("\n")
            self.wide = 0


def _numpys_false(answer: Any) -> bool:
    return type(answer).__module__ == "numpy" and getattr(answer, "shape", None) == () and answer.dtype == bool and not answer


def observer(progress: Progress) -> Heard | None:
    """What the core calls with every event."""
    parts = progress if isinstance(progress, (list, tuple)) else [progress]
    for part in parts:
        if not callable(part) and not isinstance(part, bool) and part is not None:
            raise ConfigError(f"progress is {part!r}, expected True, a callable, or a list of these")
    observers = [part if callable(part) else Bar() for part in parts if part]
    return Heard(observers) if observers else None
