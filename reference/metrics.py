"""Writes testdata/metrics/metrics.json: scores by scikit-learn and SciPy of small made-up results.

    pip install -r reference/requirements.txt
    python reference/metrics.py

null stands for an undefined score (SciPy's NaN for a constant input).
"""

import json
import math
import warnings
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn import metrics

OUT = Path("testdata/metrics/metrics.json")


def single(name, truth, predicted, classes):
    truth, predicted = np.array(truth), np.array(predicted)
    labels = list(range(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    score = lambda average: float(metrics.f1_score(truth, predicted, average=average, zero_division=0))
    return dict(
        name=name,
        classes=classes,
        truth=truth.tolist(),
        predicted=predicted.tolist(),
        accuracy=metrics.accuracy_score(truth, predicted),
        f1_binary=score("binary") if classes == 2 else None,
        f1_macro=score("macro"),
        f1_micro=score("micro"),
        matthews=float(metrics.matthews_corrcoef(truth, predicted)),
        precision=precision.tolist(),
        recall=recall.tolist(),
        f1=f1.tolist(),
        support=[int(n) for n in support],
        confusion=metrics.confusion_matrix(truth, predicted, labels=labels).tolist(),
    )


def multi(name, truth, predicted):
    score = lambda average: float(metrics.f1_score(truth, predicted, average=average, zero_division=0))
    return dict(
        name=name,
        truth=truth.astype(int).tolist(),
        predicted=predicted.astype(int).tolist(),
        f1_micro=score("micro"),
        f1_macro=score("macro"),
        accuracy=metrics.accuracy_score(truth, predicted),
    )


def regression(name, truth, predicted):
    truth, predicted = np.float32(truth), np.float32(predicted)
    number = lambda x: None if math.isnan(x) else float(x)
    return dict(
        name=name,
        truth=truth.astype(float).tolist(),
        predicted=predicted.astype(float).tolist(),
        pearson=number(stats.pearsonr(truth.astype(float), predicted.astype(float)).statistic),
        spearman=number(stats.spearmanr(truth, predicted).statistic),
    )


def main():
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(5)
    t2, t5 = rng.integers(0, 2, 40), rng.integers(0, 5, 60)
    p2 = np.where(rng.random(40) < 0.7, t2, 1 - t2)
    p5 = np.where(rng.random(60) < 0.6, t5, rng.integers(0, 5, 60))
    multi_t = rng.random((30, 4)) < [0.5, 0.2, 0.1, 0.0]
    multi_p = multi_t ^ (rng.random((30, 4)) < 0.2)
    x = rng.standard_normal(50)
    y = 0.6 * x + rng.standard_normal(50)
    data = dict(
        single=[
            single("binary", t2, p2, 2),
            single("binary perfect", t2, t2, 2),
            single("binary inverted", t2, 1 - t2, 2),
            single("binary, one class predicted", t2, np.zeros_like(t2), 2),
            single("binary, positive class nowhere", [0, 0, 0], [0, 0, 0], 2),
            single("five classes", t5, p5, 5),
            single("five classes perfect", t5, t5, 5),
            single("five classes, one predicted", t5, np.full_like(t5, 3), 5),
            single("class 1 never true, class 3 in neither", [0, 0, 2, 2, 4], [0, 1, 2, 4, 4], 5),
            single("one row", [2], [0], 3),
        ],
        multi=[
            multi("noisy", multi_t, multi_p),
            multi("perfect", multi_t, multi_t),
            multi("inverted", multi_t, ~multi_t),
            multi("nothing predicted", multi_t, np.zeros_like(multi_t)),
            multi("nothing true", np.zeros_like(multi_t), multi_p),
        ],
        regression=[
            regression("noisy", x, y),
            regression("perfect", x, 3 * x + 1),
            regression("inverted", x, -x),
            regression("ties", np.round(2 * x), np.round(y)),
            regression("far from zero", x + 1e5, y + 1e5),
            regression("monotonic, not linear", x, np.exp(3 * x)),
            regression("constant prediction", x, np.full(50, 0.1)),
            regression("constant truth", np.full(50, 2.5), x),
            regression("two rows", [1, 2], [5, 4]),
        ],
    )
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(data) + "\n")
    for kind, cases in data.items():
        for case in cases:
            shown = {k: v for k, v in case.items() if isinstance(v, float | None)}
            print(kind, case["name"], shown)


if __name__ == "__main__":
    main()
