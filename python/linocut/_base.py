"""Bases: pretrained models in memory, and what is done on them."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from . import _core, _progress
from ._cut import Cut, Predictions, core_of, predictions
from ._errors import BaseError, ConfigError, DataError
from ._report import Report
from ._texts import by_label, encodable, plain, same_length
from ._texts import labels as as_labels
from ._texts import texts as as_texts
from ._texts import weights as as_weights

LOG = logging.getLogger("linocut")


class Base:
    """A pretrained encoder, from its folder or by its name on the Hugging Face hub.

    :param name: a folder with ``config.json``, ``model.safetensors`` and the tokenizer's files, or ``owner/name``.
    :param pooling: how hidden states become one vector when a task is trained: ``"mean"``, ``"first"`` or ``"cls"``;
        the model's own where nothing is said.
    :param progress: show how far a download is.

    >>> base = linocut.Base("models/all-minilm-l6-v2")
    >>> base.hidden
    384
    """

    def __init__(self, name: str | os.PathLike[str], *, pooling: str | None = None, progress: bool = False) -> None:
        self._core = _core.Base(os.fsdecode(name), pooling, progress)
        self._pooling = pooling
        tell(self._core.remarks())
        about = json.loads(self._core.about())
        #: Name for people, and the folder it was read from.
        self.name: str = about["name"]
        self.folder: str = about["folder"]
        #: Identity of its weights and architecture.
        self.fingerprint: str = about["fingerprint"]
        self.pooling: str = about["pooling"]
        #: ``model_type``, layers, width, and number of weights.
        self.family: str = about["family"]
        self.layers: int = about["layers"]
        self.hidden: int = about["hidden"]
        self.parameters: int = about["parameters"]

    def train(
        self,
        texts: Any,
        labels: Any,
        *,
        pairs: Any = None,
        sample_weight: Any = None,
        dev: tuple[Any, ...] | bool | None = None,
        name: str = "task",
        problem: str | None = None,
        classes: Any = None,
        other: str | None = None,
        metric: str | tuple[str, str] | None = None,
        method: str = "mask",
        layers: str | int | Sequence[int] | None = None,
        only: Sequence[str] | None = None,
        budget: str | int | None = None,
        study: str | os.PathLike[str] | None = None,
        state: str | os.PathLike[str] | None = None,
        resume: bool = False,
        save_every: int | None = None,
        trunk_memory: int = 2048,
        folds: int | None = None,
        search: float | None = None,
        distill: Cut | str | os.PathLike[str] | None = None,
        unlabelled: Any = None,
        progress: _progress.Progress = False,
        **choices: Any,
    ) -> Cut:
        """Learns a task and gives it as a cut.

        :param texts: a list, array, series, one-column frame or Arrow column of texts.
        :param labels: as many labels: texts, truth values or whole numbers (one label a text), lists of texts (any number
            of labels), or numbers of which some are not whole (regression).
        :param pairs: second texts, for a task on pairs.
        :param sample_weight: as many numbers, 0 or more: how much a row counts beside the others; only their ratios matter.
            Rows of weight 0 are left out.
        :param dev: ``(texts, labels)`` or ``(texts, pairs, labels)`` to score on; a tenth of the rows is held out where
            nothing is said; with ``False`` every row is learned from and nothing scored. Nothing is selected by them.
        :param name: the task's name in the card.
        :param problem: ``"single-label"``, ``"multi-label"`` or ``"regression"``; seen from the labels otherwise.
        :param classes: the labels in the order of the logits, as texts; rows of any other are refused. Those of the rows,
            sorted, where nothing is said.
        :param other: the label that rows of labels not in ``classes`` count as; added at the end unless it is among them.
        :param metric: the score to report: ``"accuracy"``, ``"macro-f1"``, ``"micro-f1"``, ``"matthews"``,
            ``"pearson-spearman"``, or ``("binary-f1", label)``.
        :param method: ``"mask"``, ``"layers"``, ``"bias"``, ``"lora"``, ``"head"`` or ``"full"``.
        :param layers: layers to train: ``"4-5"``, ``"-2"`` or ``[0, 2]``.
        :param only: kinds of tensors, or patterns of names.
        :param budget: bytes that the cut may take, or such as ``"200KB"`` or ``"0.5%"`` of the base; it decides the
            method.
        :param study: folder of a :class:`Study`, whose best method within ``budget`` is taken.
        :param state: a file that keeps the run resumable; Ctrl-C leaves it there.
        :param resume: go on from ``state``.
        :param save_every: steps between saved states; about one a minute otherwise.
        :param trunk_memory: MB for frozen layers' outputs; more go to a temporary file.
        :param folds: cross-validate: train so many more cuts, each on all but one part of the rows, and score each on the
            rest (``cut.training["folds"]``, predictions in ``cut.fold_predictions``). The cut is trained on all rows;
            temperature and thresholds are fitted on the predictions of rows not trained on.
        :param search: seconds to try in what scores better on a fifth of the rows, or by ``folds``: pairs or labels, the
            head alone, half and double the rate, double the epochs, dropout. What is given is not changed.
        :param distill: a teacher to learn from, too: a cut of this base, its file, or the folder of a fine-tuned model. Half of
            the loss is how far the answers are from its own.
        :param unlabelled: texts without labels, of a task on pairs ``(texts, pairs)``: of these the teacher's answers alone
            are learned.
        :param progress: a bar on standard error, or a callable that gets every event as a dict (the last is ``scored``,
            where dev rows are) and stops the run by ``False`` (see :mod:`linocut.logging`), or several of these.
        :param choices: ``objective``, ``epochs``, ``batch``, ``lr``, ``mask_lr``, ``head_lr``, ``dropout``, ``warmup``, ``seed``,
            ``max_length``, ``long``, ``early_stop``, ``eval_every``, ``calibrate``, ``target_precision``, ``target_recall``, ``class_weights``, ``store``, ``sampling``, ``sparsity``,
            ``sparsity_scope``, ``init_sparsity``, ``candidates``, ``init_scale``, ``rank``, ``compute``, as the
            command's options. ``class_weights`` may also be a dict of numbers by label, as the command's ``--weights``.
        :raises linocut.DataError: what is wrong with texts or labels.
        :raises linocut.ConfigError: an argument out of its range.

        >>> cut = base.train(texts, labels, method="mask", epochs=1, name="queue")
        >>> cut.card["task"]
        'queue'
        """
        if layers is not None and not isinstance(layers, str):
            layers = ",".join(str(layer) for layer in (layers if isinstance(layers, (list, tuple, range)) else [layers]))
        kinds = [only] if isinstance(only, str) else None if only is None else list(only)
        if isinstance(choices.get("class_weights"), Mapping):
            choices["class_weights"] = by_label(choices["class_weights"])
        given = {"method": method, "layers": layers, "only": kinds, "folds": folds, "search": search, **choices}
        given = {key: plain(key, value) for key, value in given.items() if value is not None}
        if budget is not None and (method, layers, only) != ("mask", None, None):
            raise ConfigError("budget decides the method, and method, layers or only is given, too", "leave one out")
        if study is not None and budget is None:
            raise ConfigError("study has no meaning without budget", "give the bytes that the cut may take: budget=...")
        if resume and state is None:
            raise ConfigError("resume has no meaning without state", "name the file that the run left: state=...")
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"name is {name!r}, expected the task's name")
        encodable(name, "name")
        task = {
            "name": name,
            "metric": metric_json(metric),
            "budget": None if budget is None else str(plain("budget", budget)),
            "study": None if study is None else os.fsdecode(study),
            "state": None if state is None else os.fsdecode(state),
            "resume": resume,
            "save_every": plain("save_every", save_every),
            "trunk_memory": plain("trunk_memory", trunk_memory),
            "hold_out": dev is None or dev is True,
        }
        given_rows, known_problem = rows(texts, pairs, labels)
        task["problem"] = problem or known_problem
        if other is not None and classes is None:
            raise ConfigError("other stands for labels that are not in classes, and classes is not given", "list them: classes=[...]")
        if classes is not None and task["problem"] == "regression":
            raise ConfigError("classes names labels, and the task has a number a row (problem=\"regression\")", "leave classes out")
        task["classes"] = [] if classes is None else as_texts(classes, "classes")
        task["other"] = other
        weights = None if sample_weight is None else as_weights(sample_weight, len(given_rows[0]))
        if not (dev is None or isinstance(dev, (bool, tuple, list))):
            raise DataError(f"dev is {type(dev).__name__}, expected (texts, labels), (texts, pairs, labels) or False")
        given_dev = dev_rows(dev) if isinstance(dev, (tuple, list)) else None
        teacher = None
        if distill is not None:
            teacher = (core_of(distill) if isinstance(distill, Cut) else os.fsdecode(distill), unlabelled_rows(unlabelled, pairs is not None))
        elif unlabelled is not None:
            raise ConfigError("unlabelled has no meaning without distill", "give the teacher that answers: distill=...")
        observe = _progress.observer(progress)
        try:
            core, about, in_folds, remarks = self._core.train(
                (given_rows, weights, given_dev), teacher, json.dumps(task), json.dumps(given), observe
            )
        finally:
            if observe is not None:
                observe.close()
        tell(remarks)
        cut = Cut._of(core)
        cut.training = json.loads(about)
        cut.fold_predictions = None if in_folds is None else predictions(*in_folds)
        evaluation = cut.training["evaluation"]
        if observe is not None and evaluation is not None:
            score, steps = evaluation["primary"]["value"], cut.card["training"]["steps"]
            observe.hear({"event": "scored", "step": steps, "score": score, "bytes": cut.nbytes})
        return cut

    def predict(self, cut: Cut, texts: Any, *, pairs: Any = None) -> Predictions:
        """What a task says of texts: the same numbers as ``linocut predict`` prints.

        For many tasks, or texts of many tasks, a :class:`Bank` shares what they have in common.

        >>> base.predict(cut, ["where is my parcel?"]).scores.shape
        (1, 2)
        """
        first = as_texts(texts)
        second = None if pairs is None else as_texts(pairs, "pairs")
        if first:
            same_length(texts=first, pairs=second)
        return predictions(*self._core.predict(core_of(cut), first, second))

    def explain(
        self, cut: Cut, text: str, *, pair: str | None = None, label: str | None = None
    ) -> list[dict[str, Any]]:
        """What each word of a text, or of a pair of texts, adds to its prediction: the probability of ``label``, by
        default its most probable one (of a regression the number), with the word less without.

        Each of 256 words of a text, the first ones (or, as the cut reads it, the last), is left out in turn. ``start`` and ``end`` are places in the text's UTF-8
        bytes, ``change`` is ``None`` where nothing is left to read without the word, and of a pair ``in`` is ``"text"`` or
        ``"pair"``.

        >>> [word["word"] for word in base.explain(cut, "where is my parcel?")]
        ['where', 'is', 'my', 'parcel', '?']
        """
        first = as_texts([text], "text")[0]
        second = None if pair is None else as_texts([pair], "pair")[0]
        found, remarks = self._core.explain(core_of(cut), first, second, label)
        tell(remarks)
        words: list[dict[str, Any]] = json.loads(found)
        return words

    def evaluate(
        self, cut: Cut, texts: Any, labels: Any, *, pairs: Any = None, metric: str | tuple[str, str] | None = None
    ) -> Report:
        """Scores of a cut on labelled rows: ``primary``, ``metrics``, ``classes`` and ``confusion``, and as a table when
        it is printed.

        >>> base.evaluate(cut, texts, labels)["primary"]["name"]
        'accuracy'
        """
        chosen = json.dumps({"metric": metric_json(metric)})
        found, remarks = self._core.evaluate(core_of(cut), rows(texts, pairs, labels)[0], chosen)
        tell(remarks)
        return Report(json.loads(found))

    def compare(
        self,
        first: Cut,
        second: Cut,
        texts: Any,
        labels: Any,
        *,
        pairs: Any = None,
        metric: str | tuple[str, str] | None = None,
    ) -> Report:
        """Whether one cut is better than another on the same rows: ``scores``, ``difference`` (the second less the first),
        ``interval`` (95%, both scored on the same draws of rows), ``alone_right`` and ``p`` (McNemar's exact test), and as
        a table when it is printed.

        >>> base.compare(cut, cut, texts, labels)["difference"]
        0.0
        """
        chosen = json.dumps({"metric": metric_json(metric)})
        of_rows = rows(texts, pairs, labels)[0]
        found, remarks = self._core.compare(core_of(first), core_of(second), of_rows, chosen)
        tell(remarks)
        return Report(json.loads(found))

    def calibrate(
        self,
        cut: Cut,
        texts: Any,
        labels: Any,
        *,
        pairs: Any = None,
        target_precision: float | None = None,
        target_recall: float | None = None,
    ) -> Cut:
        """The cut with probabilities that are as sure as they say, and thresholds, fitted on rows it was not trained on.

        A temperature is fitted always. With several labels a row thresholds are fitted, for the F1 that the task is
        judged by where no target is given. With one label a row ``target_precision`` has it answer as often as that share of its answers is
        right: what is less sure gets the label ``None``.

        :param target_precision: the share of answers that is to be right, 0.01 to 0.999.
        :param target_recall: the share of each label's rows that is to be found; of multi-label tasks.
        :raises linocut.DataError: too few rows (30 at least, for a precision more), or a target that they do not reach.

        >>> sure = base.calibrate(cut, texts * 2, labels * 2, target_precision=0.6)
        >>> sure.card["decision"]["fitted"]
        {'rows': 40, 'for': 'precision 0.6'}
        """
        if target_precision is not None and target_recall is not None:
            raise ConfigError("target_precision and target_recall cannot be given together")
        goal = json.dumps({"precision": target_precision, "recall": target_recall})
        core, about, remarks = self._core.calibrate(core_of(cut), rows(texts, pairs, labels)[0], goal)
        tell(remarks)
        calibrated = Cut._of(core)
        calibrated.calibration = json.loads(about)
        return calibrated

    def verify(self, cut: Cut) -> float:
        """Checks that a cut belongs here and gives the logits it was stored with; the largest difference of one.

        :raises linocut.CutError: if it does not.
        """
        return self._core.verify(core_of(cut))

    def export(
        self,
        cut: Cut,
        out: str | os.PathLike[str],
        *,
        format: str = "transformers",
        force: bool = False,
    ) -> None:
        """Writes base and cut together into a folder, whose model gives the same logits.

        :param format: ``"transformers"``, a Hugging Face model folder, or ``"onnx"``, ``model.onnx`` and the tokenizer.
        :param force: replace an earlier export.
        """
        self._core.export(core_of(cut), os.fsdecode(out), format, force)

    def __reduce__(self) -> tuple[Any, ...]:
        # Weights are not copied into a pickle: the folder is opened again.
        return (_reopened, (self.folder, self._pooling, self.fingerprint))

    def __deepcopy__(self, memo: dict[int, Any]) -> Base:
        return self  # nothing about it changes

    def __repr__(self) -> str:
        return f"<linocut.Base {self.name!r}: {self.family}, {self.parameters:,} weights>"


def core_of_base(base: Base) -> _core.Base:
    """The compiled part of a base, and of nothing else."""
    if not isinstance(base, Base):
        raise ConfigError(f"base is {type(base).__name__}, expected a linocut.Base", "open one with linocut.Base(folder)")
    return base._core


def rows(texts: Any, pairs: Any, labels: Any) -> tuple[_core.Rows, str | None]:
    """Texts, second texts and labels as lists of one length, and the problem that the type of the labels decides, where it
    does."""
    first = as_texts(texts)
    second = None if pairs is None else as_texts(pairs, "pairs")
    targets, problem = as_labels(labels)
    same_length(texts=first, pairs=second, labels=targets)
    return (first, second, targets), problem


def dev_rows(dev: Sequence[Any]) -> _core.Rows:
    """The rows of ``(texts, labels)`` or ``(texts, pairs, labels)``."""
    if len(dev) == 2:
        return rows(dev[0], None, dev[1])[0]
    if len(dev) == 3:
        return rows(dev[0], dev[1], dev[2])[0]
    raise DataError(f"dev has {len(dev)} parts, expected (texts, labels) or (texts, pairs, labels)")


def unlabelled_rows(unlabelled: Any, are_pairs: bool) -> tuple[list[str], list[str] | None] | None:
    """Texts without labels, or ``(texts, pairs)`` of them."""
    if unlabelled is None:
        return None
    if not are_pairs:
        first, second = as_texts(unlabelled, "unlabelled"), None
    elif isinstance(unlabelled, (tuple, list)) and len(unlabelled) == 2 and not any(isinstance(part, str) for part in unlabelled):
        first, second = as_texts(unlabelled[0], "unlabelled[0]"), as_texts(unlabelled[1], "unlabelled[1]")
    else:
        raise DataError(f"unlabelled is {type(unlabelled).__name__}, expected (texts, pairs), since the rows are pairs")
    same_length(unlabelled=first, pairs=second)
    for i, text in enumerate(first):
        if not text.strip():
            raise DataError(f"unlabelled[{i}] is blank, expected a text", "leave it out")
    return first, second


def _reopened(folder: str, pooling: str | None, fingerprint: str) -> Base:
    base = Base(folder, pooling=pooling)
    if base.fingerprint != fingerprint:
        raise BaseError(f"the base in {folder} has fingerprint {base.fingerprint}, expected {fingerprint}", "it was changed or replaced")
    return base


def metric_json(metric: str | tuple[str, str] | None) -> Any:
    """A metric as the core reads it."""
    if isinstance(metric, tuple) and len(metric) == 2 and metric[0] == "binary-f1":
        return {"binary-f1": {"positive": str(metric[1])}}
    if metric == "binary-f1":
        raise ConfigError("metric is 'binary-f1' without its label", 'give both: metric=("binary-f1", "spam")')
    return metric


def set_threads(threads: int) -> None:
    """Sets how many threads compute, once and before anything is computed; as many as there are cores otherwise.

    :raises linocut.ConfigError: if it is too late.
    """
    if threads is None:
        raise ConfigError("threads is None, expected a whole number, 1 or more")
    _core.set_threads(plain("threads", threads))


def tell(remarks: list[tuple[bool, str]]) -> None:
    for is_warning, text in remarks:
        if is_warning:
            warnings.warn(text, stacklevel=3)
        else:
            LOG.info(text)
