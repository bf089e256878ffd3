"""Studies, budgets, reports and logs."""

import json
import pickle
import subprocess

import numpy as np
import pytest

import linocut

from conftest import BASE, LABELS, ROOT, TEXTS

COMMAND = ROOT / "target" / "debug" / "linocut"
TASKS = {"queue": (TEXTS, LABELS), "length": {"texts": TEXTS, "labels": [len(text) / 10 for text in TEXTS]}}


@pytest.fixture(scope="module")
def study(base, tmp_path_factory):
    study = linocut.Study(base, TASKS, tmp_path_factory.mktemp("study") / "out", epochs=1)
    assert study.run(["head", "mask", "head+head_lr=0.01"], seeds=2) == 0
    return study


def test_runs_are_cuts_with_cards(study):
    assert [(run["task"], run["arm"], run["seed"]) for run in study.runs] == [
        (task, arm, seed) for seed in (0, 1) for arm in ("head", "mask", "head+head_lr=0.01") for task in TASKS
    ]
    heard = []
    assert study.run(["head"], seeds=2, progress=heard.append) == 0
    assert heard == [{"event": "planned", "runs": 4, "missing": 0, "seconds": 0.0, "fitting": None}], "all is there"
    found = study.summary()
    assert [row["arm"] for row in found["summary"]["tasks"][0]["rows"]] == ["head", "mask", "head+head_lr=0.01"]
    assert "<table>" in study._repr_html_() and "head_lr=0.01" in study._repr_html_()


def test_a_run_from_elsewhere_is_added(study, base):
    elsewhere = linocut.Study(base, TASKS, epochs=1)
    record, cut = elsewhere.train("queue", "bias", 1)
    before = len(study.runs)
    study.add(record, pickle.loads(pickle.dumps(cut)))
    assert len(study.runs) == before + 1
    here, _ = elsewhere.train("queue", "head", 0)
    there = next(run for run in study.runs if (run["task"], run["arm"], run["seed"]) == ("queue", "head", 0))
    changes = {"seconds", "rows"}
    assert {k: v for k, v in here.items() if k not in changes} == {k: v for k, v in there.items() if k not in changes}
    for wrong, message in [
        ({"task": "z"}, "task"),
        ({"score": 7.0}, "score"),
        ({"cut": None}, "neither"),
        ({"rows": {}}, "rows"),
        ({"arm": "head", "cut": "cuts/queue~head~1.cut"}, "options"),
    ]:
        with pytest.raises(linocut.DataError, match=message):
            study.add(record | wrong, cut)
    with pytest.raises(linocut.DataError, match="not the one"):
        study.add(record, elsewhere.train("queue", "head", 1)[1])
    longer = linocut.Study(base, TASKS, epochs=3).train("queue", "bias", 1)
    others = linocut.Study(base, {"queue": (TEXTS, LABELS[1:] + LABELS[:1])}, epochs=1).train("queue", "bias", 1)
    for (record, cut), message in [(longer, "options"), (others, "rows")]:
        with pytest.raises(linocut.DataError, match=message):
            study.add(record, cut)


def test_the_command_reads_the_folder(base, tmp_path):
    task = tmp_path / "queue"
    task.mkdir()
    (task / "task.json").write_text("{}")
    (task / "train.tsv").write_text("sentence1\tlabel\n" + "".join(f"{t}\t{l}\n" for t, l in zip(TEXTS, LABELS)))
    study = linocut.Study(base, [task], tmp_path / "out", epochs=1)
    study.run("head", seeds=1)
    study.close()
    said = subprocess.run(
        [COMMAND, "study", "--base", BASE, "--task", task, "--out", tmp_path / "out", "--epochs", "1", "--seeds", "1",
         "--arms", "head", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "all 1 runs are done" in said.stderr
    assert json.loads(said.stdout)["summary"]["tasks"][0]["rows"][0]["arm"] == "head"
    with pytest.raises(linocut.ConfigError, match="closed"):
        study.run("head")


def test_a_folder_says_how_its_labels_are_read(base, tmp_path):
    rows = "".join(f"{t}\turgent;{l}\n" for t, l in zip(TEXTS, LABELS))
    (tmp_path / "train.tsv").write_text("sentence1\tlabel\n" + rows)
    said = {"name": "queue", "labels": ["urgent"], "other": "rest", "label_separator": ";"}
    (tmp_path / "task.json").write_text(json.dumps(said))
    _, cut = linocut.Study(base, [tmp_path], epochs=1).train("queue", "head")
    assert (cut.card["problem"], cut.labels) == ("multi-label", ["urgent", "rest"])
    (tmp_path / "task.json").write_text(json.dumps({**said, "type": "classification"}))
    with pytest.raises(linocut.ConfigError, match="several labels a row"):
        linocut.Study(base, [tmp_path], epochs=1)


def test_an_observer_stops_a_study(base, tmp_path):
    study = linocut.Study(base, TASKS, tmp_path / "out", epochs=2)
    with pytest.raises(linocut.Stopped):
        study.run("mask", progress=lambda event: event["event"] != "step")
    with pytest.raises(RuntimeError, match="as told"):

        def breaks(event):
            raise RuntimeError("as told")

        study.run("mask", progress=breaks)
    assert study.runs == []


def test_bad_studies(study, base, tmp_path):
    for call, message in [
        (lambda: linocut.Study(base, {}), "tasks is empty"),
        (lambda: linocut.Study(base, {"a": 5}), "expected"),
        (lambda: linocut.Study(base, {"a": (TEXTS,)}), "1 parts"),
        (lambda: linocut.Study(base, {"a": {"texts": TEXTS, "labels": LABELS, "rows": 1}}), "rows"),
        (lambda: linocut.Study(base, [tmp_path / "nowhere"]), "not a folder"),
        (lambda: linocut.Study(base, TASKS).run(), "no folder"),
        (lambda: study.run("nope"), "no arm"),
        (lambda: study.run("head+speed=2"), "no option"),
        (lambda: study.run("head", seeds=0), "`seeds` is 0"),
        (lambda: study.run("head", jobs=0), "`jobs` is 0"),
        (lambda: study.run("head", time_budget=-1.0), "time_budget"),
        (lambda: study.train("nope", "head"), "no task"),
        (lambda: study.train("queue", "random-mask"), "more than one run"),
        (lambda: study.train("queue", "head", 1000), "`seed` is 1000"),
        (lambda: linocut.Study(base, TASKS, study.path, epochs=1), "this process"),
        (lambda: linocut.Study(None, TASKS), "base is NoneType"),
        (lambda: study.add(cut=None, record=None), "record is NoneType"),
    ]:
        with pytest.raises(linocut.Error, match=message):
            call()


def test_a_budget_decides_the_method(base, study, tmp_path):
    assert base.train(TEXTS, LABELS, budget="90KB", epochs=1).nbytes <= 90_000
    by_study = base.train(TEXTS, LABELS, budget="90KB", study=study.path, epochs=1, name="queue")
    assert by_study.card["method"]["name"] in {"head", "mask", "bias"}
    masks = linocut.Study(base, {"queue": (TEXTS, LABELS)}, tmp_path / "masks", epochs=1)
    masks.run("mask", seeds=1)
    with pytest.warns(UserWarning, match="more than the 6000"):
        longer = base.train(TEXTS, LABELS, budget=6000, study=masks.path, epochs=30, name="queue")
    assert longer.nbytes > 6000
    for choices, message in [
        ({"budget": "much"}, "no size"),
        ({"budget": "1MB", "method": "head"}, "decides the method"),
        ({"study": study.path}, "without budget"),
        ({"budget": "3KB", "study": study.path}, "fits 3000 bytes"),
    ]:
        with pytest.raises(linocut.ConfigError, match=message):
            base.train(TEXTS, LABELS, **choices)


def test_reports(base, cut, tmp_path):
    report = cut.report()
    assert "true \\ predicted" in str(report) and "precision" in str(report)
    assert report["confusion"] and "<table>" in report._repr_html_()
    assert pickle.loads(pickle.dumps(cut)).report() == report
    cut.save(tmp_path / "queue.cut")
    kept = linocut.Cut(tmp_path / "queue.cut").report()
    assert kept["metrics"] == report["metrics"] and kept["primary"] == report["primary"]
    assert "base.evaluate" in str(kept) and "accuracy" in kept._repr_html_()
    with pytest.raises(linocut.DataError, match="no scores"):
        base.train(TEXTS, LABELS, method="head", epochs=1, dev=False).report()
    spam = base.train(TEXTS, LABELS, method="head", epochs=1, metric=("binary-f1", "refund")).report()
    assert spam["primary"]["name"] == "f1_binary"


def test_notebooks_escape_what_files_say(base):
    labels = ["<script>", "</table>"] * 10
    cut = base.train(TEXTS, labels, method="head", epochs=1, name="<b>")
    bank = linocut.Bank(base)
    bank["<i>"] = cut
    for html in (cut._repr_html_(), cut.report()._repr_html_(), bank._repr_html_()):
        assert not any(tag in html for tag in ("<script>", "<b>", "<i>")), html


def test_rows_that_count_twice(base):
    weights = [2.0, 0.0] + [1.0] * 18
    even = base.train(TEXTS, LABELS, method="head", epochs=2, dev=False)
    threefold = base.train(TEXTS, LABELS, method="head", epochs=2, dev=False, sample_weight=[3] * 20)
    assert np.array_equal(base.predict(even, TEXTS).logits, base.predict(threefold, TEXTS).logits)
    left_out = base.train(TEXTS[:1] + TEXTS[2:], LABELS[:1] + LABELS[2:], method="head", epochs=2, dev=False)
    only = base.train(TEXTS, LABELS, method="head", epochs=2, dev=False, sample_weight=[1.0, 0.0] + [1.0] * 18)
    assert np.array_equal(base.predict(left_out, TEXTS).logits, base.predict(only, TEXTS).logits)
    weighted = base.train(TEXTS, LABELS, method="head", epochs=2, dev=False, sample_weight=np.array(weights))
    assert not np.array_equal(base.predict(weighted, TEXTS).logits, base.predict(only, TEXTS).logits)
    assert weighted.card["training"]["row_weights"] == "given"
    for wrong, message in [
        ([1.0], "1 of sample_weight"),
        ([-1.0] * 20, r"sample_weight\[0\] is -1"),
        ([float("nan")] * 20, r"sample_weight\[0\] is nan"),
        ([0] * 20, "weight 0"),
        ([1, 1, 0, 0] * 5, "nothing to learn"),
    ]:
        with pytest.raises(linocut.DataError, match=message):
            base.train(TEXTS, LABELS, sample_weight=wrong)


def test_runs_are_logged_by_mlflow(base, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    from linocut.logging import MLflow

    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    heard = []
    with mlflow.start_run() as run:
        base.train(TEXTS, LABELS, epochs=3, eval_every=1, progress=[MLflow(), heard.append])
    history = mlflow.MlflowClient().get_metric_history
    losses = {event["step"]: event["loss"] for event in heard if event["event"] == "step"}
    assert {m.step: m.value for m in history(run.info.run_id, "loss")} == pytest.approx(losses) and len(losses) == 3
    assert len(history(run.info.run_id, "sparsity")) == 3
    assert [m.step for m in history(run.info.run_id, "score")] == [1, 2, 3]
    assert all(m.value > 0 for m in history(run.info.run_id, "tokens_per_second"))


def test_columns_of_datasets(base):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    expected = base.train(TEXTS, LABELS, method="head", epochs=1).to_bytes()
    assert base.train(rows["text"], rows["label"], method="head", epochs=1).to_bytes() == expected
    cut = base.train(rows["text"], rows["label"], method="head", epochs=1)
    assert base.predict(cut, rows["text"][:3]).labels == base.predict(cut, TEXTS[:3]).labels


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"class_weights": "heavy"}, "class_weights"),
        ({"problem": "ranking"}, "problem"),
        ({"metric": "bleu"}, "metric"),
        ({"metric": "binary-f1"}, "metric"),
        ({"store": "f8"}, "store"),
        ({"head_lr": 1e39}, "head_lr"),
        ({"mask_lr": 1e300}, "mask_lr"),
        ({"trunk_memory": -1}, "trunk_memory"),
        ({"save_every": 0.5}, "save_every"),
    ],
)
def test_a_wrong_argument_is_named(base, choices, named):
    with pytest.raises(linocut.ConfigError, match=named):
        base.train(TEXTS, LABELS, epochs=1, **choices)
