"""What is heard of a training run while it goes on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


class Bar:
    """A line on standard error."""

    def __init__(self) -> None:
        self.steps = 0
        self.loss: float | None = None
        self.shown = 0.0
        self.wide = 0

    def __call__(self, text: str) -> None:
        event = json.loads(text)
        if event["event"] == "start":
            self.steps = event["steps"]
        elif event["event"] == "step":
            loss = event["loss"]
            self.loss = loss if self.loss is None else 0.95 * self.loss + 0.05 * loss
            if time.monotonic() - self.shown > 0.2 or event["step"] == self.steps:
                self.show(f"step {event['step']}/{self.steps}  loss {self.loss:.3f}")
        elif event["event"] == "trunk" and time.monotonic() - self.shown > 0.2:
            self.show(f"frozen layers {event['done']}/{event['rows']} rows")

    def show(self, line: str) -> None:
        self.shown = time.monotonic()
        sys.stderr.write("\r" + line.ljust(self.wide))
        sys.stderr.flush()
        self.wide = len(line)

    def close(self) -> None:
        """Ends the line."""
        if self.wide:
            sys.stderr.write("\n")


def observer(progress: bool | Callable[[dict[str, Any]], Any]) -> Callable[[str], Any] | None:
    """What the core calls with every event."""
    if callable(progress):
        return lambda text: progress(json.loads(text))
    return Bar() if progress else None
