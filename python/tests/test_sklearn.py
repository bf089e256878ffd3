"""The estimators, in scikit-learn's own hands."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import linocut
from linocut.sklearn import CutClassifier, CutRegressor

from conftest import BASE, LABELS, TEXTS


@pytest.fixture
def quick(base):
    return CutClassifier(base, method="head", epochs=3)


def test_fit_and_predict(quick):
    assert quick.fit(TEXTS, LABELS) is quick
    assert quick.classes_.tolist() == ["parcel", "refund"]
    shares = quick.predict_proba(["my parcel", "money"])
    assert shares.shape == (2, 2) and np.allclose(shares.sum(axis=1), 1)
    assert quick.predict(["my parcel", "money back"]).tolist() == ["parcel", "refund"]
    assert quick.score(TEXTS, LABELS) > 0.7
    assert np.array_equal(quick.decision_function(["a"]) > 0, quick.predict(["a"]) == "refund")


@pytest.mark.parametrize("labels", [[10, 10, 9, 9] * 5, [True, True, False, False] * 5, [2.0, 2.0, 1.0, 1.0] * 5])
def test_classes_are_the_callers_own(quick, labels):
    quick.fit(TEXTS, labels)
    assert quick.classes_.dtype == np.asarray(labels).dtype
    assert quick.classes_.tolist() == sorted(set(labels))
    assert quick.predict(TEXTS[:1]).tolist() == labels[:1]


def test_weights_are_by_class(quick):
    plain = quick.fit(TEXTS, [10, 10, 9, 9] * 5).cut_.to_bytes()
    weighted = clone(quick).set_params(class_weights={9: 4.0}).fit(TEXTS, [10, 10, 9, 9] * 5)
    assert weighted.cut_.to_bytes() != plain and weighted.cut_.card["training"]["class_weights"] == {"9": 4.0}
    # Classes that a card keeps by their numbers.
    odd = clone(quick).set_params(class_weights={"a ": 2.0}).fit(TEXTS, ["a ", "a ", "b", "b"] * 5)
    assert odd.cut_.card["training"]["class_weights"] == {"0": 2.0}
    with pytest.raises(ValueError, match="not among the 2 labels"):
        clone(quick).set_params(class_weights={"c": 2.0}).fit(TEXTS, ["a", "a", "b", "b"] * 5)


def test_labels_that_no_file_would_keep(quick):
    quick.fit(TEXTS, ["a ", "a ", "b", "b"] * 5)
    assert set(quick.predict(TEXTS)) <= {"a ", "b"}


def test_a_base_keeps_its_pooling_in_a_pickle():
    model = CutClassifier(linocut.Base(BASE, pooling="first"), method="head", epochs=1).fit(TEXTS, LABELS)
    again = clone(pickle.loads(pickle.dumps(model))).fit(TEXTS, LABELS)
    assert again.cut_.card["pooling"] == "first"
    assert again.cut_.to_bytes() == model.cut_.to_bytes()
    with pytest.raises(linocut.ConfigError, match="pooling"):
        CutClassifier(linocut.Base(BASE), pooling="first").fit(TEXTS, LABELS)


def test_an_indicator_matrix(quick):
    matrix = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]] * 5)
    quick.set_params(epochs=10, head_lr=0.01).fit(TEXTS, matrix)
    assert quick.predict(TEXTS).shape == matrix.shape and quick.predict_proba(TEXTS).shape == matrix.shape
    assert (quick.predict(TEXTS)[:, :2] == matrix[:, :2]).mean() > 0.8
    with pytest.raises(linocut.DataError, match=r"columns \[1\]"):
        quick.fit(TEXTS, np.array([[1, 0]] * 10 + [[0, 0]] * 10))


def test_rows_of_every_kind(quick):
    frame = pd.DataFrame({"text": TEXTS})
    for texts in (TEXTS, np.array(TEXTS), frame, frame.text):
        assert quick.fit(texts, LABELS).predict(texts).shape == (20,)


def test_clones_parameters_and_pickles(quick, tmp_path):
    other = clone(quick.set_params(epochs=2))
    assert other.get_params()["epochs"] == 2 and other.base is quick.base
    with pytest.raises(NotFittedError):
        other.predict(["a"])
    shutil.copytree(BASE, tmp_path / "base")
    fitted = CutClassifier(tmp_path / "base", method="head", epochs=1).fit(TEXTS, LABELS)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    data = pickle.dumps(fitted)
    assert len(data) < 20_000, "the base is not inside"
    shutil.rmtree(tmp_path / "base")
    import linocut.sklearn

    linocut.sklearn._BASES.clear()  # as in another process
    with pytest.raises(linocut.BaseError, match="cannot be opened") as error:
        pickle.loads(data).predict(["a"])
    assert fitted.cut_.card["base"]["fingerprint"] in error.value.hint
    assert pickle.loads(data).set_params(base=str(BASE)).predict(["a"]).shape == (1,)


def test_in_scikit_learns_tools(quick):
    assert cross_val_score(quick, TEXTS, LABELS, cv=2).shape == (2,)
    pipe = make_pipeline(FunctionTransformer(lambda texts: [text.lower() for text in texts]), quick)
    grid = GridSearchCV(pipe, {"cutclassifier__epochs": [1, 3]}, cv=2).fit(TEXTS, LABELS)
    assert grid.best_params_["cutclassifier__epochs"] in {1, 3}
    calibrated = CalibratedClassifierCV(quick, cv=2).fit(np.array(TEXTS), LABELS)
    assert np.allclose(calibrated.predict_proba(np.array(TEXTS)).sum(axis=1), 1)


def test_a_regression(base):
    numbers = np.linspace(-3, 5, 20)
    model = CutRegressor(base, method="head", epochs=3).fit(TEXTS, numbers)
    assert model.predict(TEXTS).shape == (20,) and isinstance(model.score(TEXTS, numbers), float)


def test_bad_rows(quick):
    for rows, labels, message in [
        (TEXTS, LABELS[:3], "20 X, 3 y"),
        ([], [], "empty"),
        ([None] * 20, LABELS, r"X\[0\] is None"),
        (TEXTS, None, "requires y"),
        (TEXTS, ["a"] * 20, "nothing to learn"),
        (TEXTS, np.arange(20) / 7, "no classes"),
        (TEXTS, ["a", None] * 10, r"y\[1\] is None"),
    ]:
        with pytest.raises(ValueError, match=message):
            quick.fit(rows, labels)


def test_a_fit_that_fails_leaves_the_earlier_one_whole(quick):
    quick.fit(TEXTS, LABELS)
    before = quick.predict(TEXTS).tolist()
    with pytest.raises(ValueError, match="one class"):
        quick.fit(TEXTS, ["x"] * 20)

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick.set_params(progress=stop).fit(TEXTS, ["no", "yes"] * 10)
    assert quick.predict(TEXTS).tolist() == before


def test_labels_that_look_alike(quick):
    for labels in (["1", "1.0", "2", "3"] * 5, ["e\u0301", "\u00e9", "a", "b"] * 5, ["a\tb", "a\nb", "a b", "c"] * 5):
        assert set(quick.fit(TEXTS, labels).classes_) == set(labels)
        assert set(quick.predict(TEXTS)) <= set(labels)
    with pytest.raises(linocut.DataError, match="no numbers"):
        CutRegressor(quick.base).fit(TEXTS, LABELS)
