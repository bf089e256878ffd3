"""scikit-learn estimators: texts in, a cut inside.

>>> from linocut.sklearn import CutClassifier
>>> model = CutClassifier("models/all-minilm-l6-v2", method="head", epochs=40).fit(texts, labels)
>>> model.predict(["my parcel is late"]).tolist()
['parcel']
"""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import DataConversionWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import type_of_target
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:  # pragma: no cover
    raise ImportError("linocut.sklearn needs scikit-learn: pip install scikit-learn") from error

from ._base import Base
from ._cut import Cut, Predictions
from ._errors import BaseError, ConfigError, DataError
from ._texts import as_list, same_length
from ._texts import labels as as_labels
from ._texts import texts as as_texts
from ._texts import weights as as_weights

#: Bases by folder, so that clones of an estimator share one.
_BASES: dict[tuple[str, str | None], Base] = {}


def _base(name: Any, pooling: str | None) -> Base:
    if isinstance(name, Base):
        if pooling not in (None, name._pooling):
            raise ConfigError(f"pooling is {pooling}, and the base was opened with {name._pooling or 'its own'}")
        return name
    key = (os.fspath(name), pooling)
    if key not in _BASES:
        _BASES[key] = Base(name, pooling=pooling)
    return _BASES[key]


def _seed(random_state: Any) -> int:
    """A whole number; of a generator one that it draws."""
    if random_state is None:
        return 0
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _plain(name: str) -> bool:
    """Whether a label stands in a card as it is; others stand there as their numbers."""
    if name != " ".join(name.split()) or name != unicodedata.normalize("NFC", name) or not name:
        return False
    try:
        return str(int(name)) == name
    except ValueError:
        pass
    try:
        float(name)
    except ValueError:
        return True
    return False


def _targets(y: Any, texts: list[str]) -> list[Any]:
    """As many targets as there are texts, two or more."""
    if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected: y.ravel() is one"
        warnings.warn(message, DataConversionWarning, stacklevel=3)
    given = as_list(y, "y")
    same_length(X=texts, y=given)
    if len(texts) == 1:
        raise DataError("X has 1 sample, expected two or more")
    return given


class _Estimator(BaseEstimator):
    """What classifier and regressor share. Its parameters are those of :meth:`linocut.Base.train`."""

    cut_: Cut
    n_features_in_: int

    def __init__(
        self,
        base: str | os.PathLike[str] | Base = "models/all-minilm-l6-v2",
        *,
        pooling: str | None = None,
        method: str = "mask",
        layers: str | None = None,
        only: list[str] | None = None,
        sparsity: float | None = None,
        rank: int | None = None,
        objective: str | None = None,
        epochs: int | None = None,
        batch: int | None = None,
        lr: float | None = None,
        mask_lr: float | None = None,
        head_lr: float | None = None,
        dropout: float | None = None,
        warmup: float | None = None,
        max_length: int | None = None,
        long: str | None = None,
        early_stop: float | None = None,
        class_weights: str | Mapping[Any, float] | None = None,
        store: str | None = None,
        random_state: int | None = 0,
        progress: bool = False,
    ) -> None:
        self.base = base
        self.pooling = pooling
        self.method = method
        self.layers = layers
        self.only = only
        self.sparsity = sparsity
        self.rank = rank
        self.objective = objective
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.mask_lr = mask_lr
        self.head_lr = head_lr
        self.dropout = dropout
        self.warmup = warmup
        self.max_length = max_length
        self.long = long
        self.early_stop = early_stop
        self.class_weights = class_weights
        self.store = store
        self.random_state = random_state
        self.progress = progress

    def _trained(
        self, texts: list[str], labels: list[Any], problem: str, sample_weight: Any, names: dict[Any, str] | None = None
    ) -> Cut:
        own = {"base", "pooling", "random_state"}  # all else is Base.train's
        given = self.get_params(deep=False).items()
        choices = {name: value for name, value in given if name not in own and value is not None}
        if names is not None and isinstance(self.class_weights, Mapping):
            # The classes are the caller's own, and stand in the card by these names.
            choices["class_weights"] = {names.get(label, label): weight for label, weight in self.class_weights.items()}
        base = _base(self.base, self.pooling)
        # Every row is learned from: scores are for who holds rows out.
        return base.train(
            texts, labels, sample_weight=sample_weight, dev=False, problem=problem, seed=_seed(self.random_state), **choices
        )

    def _take(self, cut: Cut, **fitted: Any) -> None:
        """What was learned, all at once: a fit that fails leaves an earlier one whole."""
        self.cut_ = cut
        self.n_features_in_ = 1
        for name, value in fitted.items():
            setattr(self, name, value)

    def _predictions(self, texts: Any) -> Predictions:
        check_is_fitted(self, "cut_")
        return self._opened().predict(self.cut_, as_texts(texts))

    def _opened(self) -> Base:
        try:
            return _base(self.base, self.pooling)
        except BaseError as error:
            fingerprint = self.cut_.card["base"]["fingerprint"]
            message = f"the base of this estimator cannot be opened: {error.message}"
            hint = f"put it back, or set it: estimator.set_params(base=...); its fingerprint is {fingerprint}"
            raise BaseError(message, hint) from error

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        # The base by its folder: it is not this estimator's to carry.
        if isinstance(state["base"], Base):
            state["pooling"] = state["base"]._pooling
            state["base"] = state["base"].folder
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


class CutClassifier(ClassifierMixin, _Estimator):
    """A text classifier whose parameters are a cut of a shared base.

    Parameters are those of :meth:`linocut.Base.train`; ``base`` is a folder, a hub name or a :class:`linocut.Base`,
    and ``random_state`` the seed. Labels are texts, numbers or truth values, one a text, or an indicator matrix of 0 and 1,
    ``[texts, labels]``, for any number of labels. ``class_weights`` is ``"balanced"``, or a dict of numbers by class (by
    column of a matrix).

    After ``fit``: ``cut_`` (the :class:`linocut.Cut`), ``classes_``.
    """

    classes_: np.ndarray
    _indicator: bool
    _order: list[int]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CutClassifier:
        """Learns from texts (a list, array or one-column frame) and as many labels. ``sample_weight`` says how much each
        row counts beside the others.

        >>> CutClassifier(base, method="head", epochs=1).fit(texts, labels).classes_.tolist()
        ['parcel', 'refund']
        """
        texts = as_texts(X, "X")
        if y is None:
            raise ValueError("This CutClassifier estimator requires y to be passed, but the target y is None.")
        if hasattr(y, "toarray"):  # a sparse matrix
            y = y.toarray()
        if isinstance(y, (list, tuple)) and any(isinstance(labels, (list, tuple, set)) for labels in y):
            raise DataError("y holds lists of labels", "sklearn.preprocessing.MultiLabelBinarizer makes a matrix of them")
        if getattr(y, "ndim", 1) == 2 and type_of_target(y) == "multilabel-indicator":
            matrix = np.asarray(y)
            names = [str(i) for i in range(matrix.shape[1])]
            labels: list[Any] = [[names[i] for i in np.flatnonzero(row)] for row in matrix]
            same_length(X=texts, y=labels)
            seen = matrix.any(axis=0)
            if not seen.all():
                missing = np.flatnonzero(~seen).tolist()
                raise DataError(f"no row has the labels of columns {missing}", "leave those columns out")
            cut = self._trained(texts, labels, "multi-label", sample_weight, dict(enumerate(names)))
            order = [cut.labels.index(name) for name in names]
            self._take(cut, classes_=np.arange(matrix.shape[1]), _indicator=True, _order=order)
            return self
        given = _targets(y, texts)
        as_labels(given, "y")  # of one type, none missing
        if type_of_target(given) not in ("binary", "multiclass"):
            raise DataError("y is continuous: numbers that are no classes", "a CutRegressor learns numbers")
        classes, codes = np.unique(np.asarray(given), return_inverse=True)
        counted = codes if sample_weight is None else codes[np.array(as_weights(sample_weight, len(texts))) > 0]
        if len(set(counted.tolist())) < 2:
            raise DataError("y has one class, so there is nothing to learn", "give rows of two classes or more")
        names = [str(label) for label in classes.tolist()]
        if not all(isinstance(c, int) or (isinstance(c, str) and _plain(c)) for c in classes.tolist()):
            names = [str(i) for i in range(len(names))]
        of_classes = dict(zip(classes.tolist(), names))
        cut = self._trained(texts, [names[i] for i in codes], "single-label", sample_weight, of_classes)
        order = [cut.labels.index(name) for name in names]
        self._take(cut, classes_=classes, _indicator=False, _order=order)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, ``[texts, classes]``, in the order of ``classes_``."""
        return self._predictions(X).scores[:, self._order]

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits; of two classes the difference of the second and the first."""
        logits = self._predictions(X).logits[:, self._order]
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 and not self._indicator else logits

    def predict(self, X: Any) -> np.ndarray:
        """The label of each text, or an indicator matrix."""
        found = self._predictions(X)
        if self._indicator:
            return (found.scores[:, self._order] > 0.5).astype(int)
        labels: np.ndarray = self.classes_[found.logits[:, self._order].argmax(axis=1)]
        return labels


class CutRegressor(RegressorMixin, _Estimator):
    """A regression of texts whose parameters are a cut of a shared base; see :class:`CutClassifier`."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CutRegressor:
        """Learns from texts and as many numbers; see :meth:`CutClassifier.fit`."""
        texts = as_texts(X, "X")
        if y is None:
            raise ValueError("This CutRegressor estimator requires y to be passed, but the target y is None.")
        given = _targets(y, texts)
        as_labels(given, "y")  # of one type, none missing
        if not all(isinstance(value, (int, float)) for value in given):
            raise DataError("y holds labels that are no numbers", "a CutClassifier learns labels")
        self._take(self._trained(texts, [float(value) for value in given], "regression", sample_weight))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The number of each text."""
        return self._predictions(X).scores[:, 0]
