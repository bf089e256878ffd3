"""Training runs in MLflow, Weights & Biases and TensorBoard, by one interface: ``progress=``.

>>> from linocut.logging import Logger
>>> seen = {}
>>> cut = base.train(texts, labels, method="head", epochs=2, progress=Logger(lambda metrics, step: seen.update(metrics)))
>>> sorted(seen)
['bytes', 'loss', 'score', 'tokens_per_second']

Each hook is a callable for ``progress=``, which takes several, too: ``progress=[True, MLflow()]``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Logger:
    """Turns a run's events into numbers by step: ``loss`` and ``tokens_per_second`` of every step, of masks ``sparsity`` of
    every 50 and of each epoch's last, and ``score`` (``held_out_score`` where ``early_stop`` chooses by it) of those that
    ``eval_every`` asks for; at the end ``score`` and ``bytes`` of the cut.

    :param log: gets the numbers by name, and the step.
    :param every: steps between those that are logged; scores always are.
    """

    def __init__(self, log: Callable[[dict[str, float], int], Any], *, every: int = 1) -> None:
        self._log = log
        self._every = max(1, every)
        self._since = time.monotonic()
        self._tokens = 0

    def __call__(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "start":
            self._since, self._tokens = time.monotonic(), 0
        elif kind == "step":
            self._tokens += event["tokens"]
            if event["step"] % self._every:
                return
            now = time.monotonic()
            metrics = {"loss": event["loss"], "tokens_per_second": self._tokens / max(now - self._since, 1e-9)}
            self._since, self._tokens = now, 0
            if event["sparsity"] is not None:
                metrics["sparsity"] = event["sparsity"]
            self._log(metrics, event["step"])
        elif kind == "evaluated" and event["score"] is not None:
            name = "held_out_score" if event["held_out"] else "score"
            self._log({name: event["score"]}, event["step"])
        elif kind == "scored":
            score = {} if event["score"] is None else {"score": event["score"]}
            self._log({**score, "bytes": event["bytes"]}, event["step"])


class MLflow(Logger):
    """Logs to the active MLflow run, or starts one.

    :param every: as of :class:`Logger`.
    """

    def __init__(self, *, every: int = 1) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise ImportError("linocut.logging.MLflow needs MLflow: pip install mlflow-skinny") from error
        super().__init__(lambda metrics, step: mlflow.log_metrics(metrics, step=step), every=every)


class WandB(Logger):
    """Logs to a Weights & Biases run.

    :param run: what ``wandb.init`` gave.
    :param every: as of :class:`Logger`.
    """

    def __init__(self, run: Any, *, every: int = 1) -> None:
        super().__init__(lambda metrics, step: run.log(metrics, step=step), every=every)


class TensorBoard(Logger):
    """Logs to a TensorBoard writer.

    :param writer: a ``SummaryWriter`` of ``torch.utils.tensorboard`` or ``tensorboardX``.
    :param every: as of :class:`Logger`.
    """

    def __init__(self, writer: Any, *, every: int = 1) -> None:
        def log(metrics: dict[str, float], step: int) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, step)

        super().__init__(log, every=every)
