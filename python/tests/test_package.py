"""The package as people use it: rows in, a cut, predictions out."""

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import linocut

from conftest import BASE, LABELS, ROOT, TEXTS

COMMAND = ROOT / "target" / "debug" / "linocut"


def run(*args):
    return subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, check=True).stdout


def test_the_cut_is_the_commands_to_the_byte(base, tmp_path):
    rows = "".join(f"{text}\t{label}\n" for text, label in zip(TEXTS, LABELS))
    (tmp_path / "rows.tsv").write_text("text\tqueue\n" + rows)
    for method, choices in [("mask", {}), ("layers", {"layers": "4-5"}), ("lora", {"rank": 4}), ("full", {"lr": 3e-5})]:
        flags = [part for key, value in choices.items() for part in (f"--{key.replace('_', '-')}", value)]
        out = tmp_path / f"{method}.cut"
        run("train", "--base", BASE, "--train", tmp_path / "rows.tsv", "--label", "queue", "--name", "queue", "--epochs", 1,
            "--method", method, "--out", out, "--quiet", *flags)
        cut = base.train(TEXTS, LABELS, method=method, epochs=1, name="queue", **choices)
        assert cut.to_bytes() == out.read_bytes(), method


def test_predictions_are_the_commands(base, cut, tmp_path):
    cut.save(tmp_path / "queue.cut")
    text = "my parcel is lost"
    shown = json.loads(run("predict", tmp_path / "queue.cut", text, "--base", BASE, "--json", "--logits", "--quiet"))
    found = base.predict(cut, [text])
    assert found.labels == [shown["label"]]
    assert found.scores.dtype == np.float32
    assert [np.float32(shown["scores"][name]) for name in found.names] == found.scores[0].tolist()
    assert [np.float32(logit) for logit in shown["logits"]] == found.logits[0].tolist()


def test_decisions_are_the_commands(base, cut, tmp_path):
    texts, labels = TEXTS * 40, LABELS * 40
    with pytest.raises(linocut.DataError, match="expected at least 30"):
        base.calibrate(cut, TEXTS, LABELS)
    with pytest.raises(linocut.ConfigError, match="cannot be given together"):
        base.calibrate(cut, texts, labels, target_precision=0.9, target_recall=0.9)
    sure = base.calibrate(cut, texts, labels)
    assert sure.card["decision"] == sure.calibration["decision"]
    assert base.predict(sure, TEXTS).labels == base.predict(cut, TEXTS).labels
    assert np.array_equal(base.predict(sure, TEXTS).logits, base.predict(cut, TEXTS).logits)
    sure.save(tmp_path / "sure.cut")
    shown = json.loads(run("predict", tmp_path / "sure.cut", "my parcel is lost", "--base", BASE, "--json", "--quiet"))
    bank = linocut.Bank(base)
    bank["sure"] = sure
    for found in base.predict(sure, ["my parcel is lost"]), bank.predict(["my parcel is lost"])["sure"]:
        assert found.labels == [shown["label"]]
    found = base.predict(sure, ["my parcel is lost"])
    assert [np.float32(shown["scores"][name]) for name in found.names] == found.scores[0].tolist()


def test_rows_of_every_kind_give_one_cut(base):
    expected = base.train(TEXTS, LABELS, method="head", epochs=1).to_bytes()
    frame = pd.DataFrame({"text": TEXTS, "label": LABELS})
    for texts, labels in [
        (np.array(TEXTS), np.array(LABELS)),
        (np.array(TEXTS, dtype=object), tuple(LABELS)),
        (frame.text, frame.label),
        (frame[["text"]], frame.label.astype("category")),
        (pa.array(TEXTS), pa.chunked_array([LABELS])),
    ]:
        assert base.train(texts, labels, method="head", epochs=1).to_bytes() == expected


def test_every_kind_of_task(base):
    number = base.train(TEXTS, [i / 7 for i in range(20)], method="head", epochs=1)
    assert number.card["problem"] == "regression" and number.labels == []
    assert isinstance(base.predict(number, ["a"]).labels[0], float)
    several = base.train(TEXTS, [["a", "b"], ["a"], [], ["b"]] * 5, method="head", epochs=1)
    assert several.card["problem"] == "multi-label"
    assert isinstance(base.predict(several, ["a"]).labels[0], list)
    pairs = base.train(TEXTS, LABELS, pairs=TEXTS[::-1], method="head", epochs=1)
    assert base.predict(pairs, ["a"], pairs=["b"]).labels[0] in {"parcel", "refund"}
    with pytest.raises(linocut.Error, match="pair"):
        base.predict(pairs, ["a"])
    classes = base.train(TEXTS, [np.int64(0), np.int64(0), 1, 1] * 5, method="head", epochs=1)
    assert classes.labels == ["0", "1"]


def test_weights_by_label(base):
    given = dict(method="head", epochs=2)
    plain = base.train(TEXTS, LABELS, **given)
    weighted = base.train(TEXTS, LABELS, class_weights={"refund": np.float32(5)}, **given)
    assert weighted.card["training"]["class_weights"] == {"refund": 5.0}
    assert weighted.to_bytes() != plain.to_bytes()
    for labels, weights in [([0, 0, 1, 1] * 5, {1: 5, 0: 1}), ([False, False, True, True] * 5, {True: 5, False: 1})]:
        found = base.train(TEXTS, labels, class_weights=weights, **given).card["training"]["class_weights"]
        assert list(found.values()) == [1.0, 5.0]
    for wrong, message in [({"refnd": 5}, "not among the 2 labels"), ({"refund": 0}, "above 0"), ({"refund": "5"}, "above 0")]:
        with pytest.raises(ValueError, match=message):
            base.train(TEXTS, LABELS, class_weights=wrong, **given)


def test_classes_in_their_order(base):
    given = dict(method="head", epochs=1)
    order = [*sorted(set(LABELS), reverse=True), "none yet"]
    assert base.train(TEXTS, LABELS, classes=order, **given).card["labels"] == order
    rest = base.train(TEXTS, LABELS, classes=[LABELS[0], "none yet"], other="other", **given)
    assert rest.card["labels"] == [LABELS[0], "none yet", "other"]
    for choices, message in [
        ({"classes": [LABELS[0]]}, "is not among the 1 labels"),
        ({"classes": ["a", "b", "a"]}, 'classes, place 3: label "a" is listed twice, first in place 1'),
        ({"other": "rest"}, "classes is not given"),
        ({"classes": [1, 2]}, "expected a text"),
    ]:
        with pytest.raises(ValueError, match=message):
            base.train(TEXTS, LABELS, **choices, **given)
    with pytest.raises(linocut.ConfigError, match="a number a row"):
        base.train(TEXTS, [0.5, 1.5] * (len(TEXTS) // 2), classes=["a"], **given)


def test_a_teacher(base, cut, tmp_path):
    more = ["my parcel is late", "money, please"] * 3
    taught = base.train(TEXTS, LABELS, distill=cut, unlabelled=more, method="head", epochs=2)
    training = taught.card["training"]
    assert (training["teacher"], training["unlabelled_rows"]) == ("queue", 6)
    cut.save(tmp_path / "queue.cut")
    again = base.train(TEXTS, LABELS, distill=tmp_path / "queue.cut", unlabelled=more, method="head", epochs=2)
    assert again.to_bytes() == taught.to_bytes()
    base.export(cut, tmp_path / "hf")
    of_folder = base.train(TEXTS, LABELS, distill=str(tmp_path / "hf"), unlabelled=more, method="head", epochs=2)
    assert of_folder.card["training"]["loss"] == pytest.approx(training["loss"])
    for wrong, message in [
        ({"unlabelled": more}, "without distill"),
        ({"distill": cut, "unlabelled": ["a", " "]}, "blank"),
        ({"distill": cut, "objective": "pairs"}, "no meaning with `distill`"),
        ({"distill": cut, "pairs": TEXTS}, "takes one text"),
    ]:
        with pytest.raises(ValueError, match=message):
            base.train(TEXTS, LABELS, epochs=1, **wrong)
    with pytest.raises(linocut.DataError, match="does not know"):
        base.train(TEXTS, ["x", "y"] * 10, distill=cut, epochs=1)


def test_evaluation(base, cut):
    found = base.evaluate(cut, TEXTS, LABELS)
    right = np.mean([a == b for a, b in zip(base.predict(cut, TEXTS).labels, LABELS)])
    assert found["primary"]["value"] == pytest.approx(right)


def test_folds_and_a_search(base, tmp_path):
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS * 2)]
    labels = LABELS * 2
    heard = []
    cut = base.train(texts, labels, method="head", folds=4, progress=lambda event: heard.append(event["event"]), name="queue")
    found = cut.training["folds"]
    assert len(found["scores"]) == heard.count("fold") == 4 and cut.training["evaluation"] is None
    assert found["mean"] == pytest.approx(np.mean(found["scores"]))
    assert found["deviation"] == pytest.approx(np.std(found["scores"], ddof=1))
    assert cut.fold_predictions.scores.shape == (40, 2)
    # Their temperature is fitted on these, and the cut is of all rows.
    assert cut.card["training"]["rows"] == 40 and cut.card["decision"]["thresholds"] == []
    rows = tmp_path / "rows.tsv"
    rows.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in zip(texts, labels)))
    run("train", "--train", rows, "--text", "text", "--label", "label", "--name", "queue", "--method", "head", "--folds", "4",
        "--base", BASE, "--out", tmp_path / "queue.cut", "-q")  # fmt: skip
    assert (tmp_path / "queue.cut").read_bytes() == cut.to_bytes()

    searched = base.train(texts, labels, method="head", search=60.0, dev=False)
    tried = searched.card["training"]["search"]["tried"]
    assert tried[0]["change"] == {} and len(tried) > 1
    with pytest.raises(linocut.ConfigError, match="`folds` is 1, expected 2 to 20"):
        base.train(texts, labels, method="head", folds=1)
    with pytest.raises(linocut.ConfigError, match="search"):
        base.train(texts, labels, method="head", search=-1.0)


def test_long_texts_are_read_as_is_said(base):
    texts = [f"{'and so on ' * 40}{text}" for text in TEXTS]
    for part in ["tail", "windows"]:
        cut = base.train(texts, LABELS, method="head", long=part, max_length=32, dev=False)
        assert cut.card["long"] == part and base.predict(cut, texts).labels == LABELS
        bank = linocut.Bank(base)
        bank["long"] = cut
        assert np.allclose(bank.predict(texts[:2])["long"].logits, base.predict(cut, texts[:2]).logits, atol=1e-5)
    with pytest.raises(linocut.ConfigError, match="texts alone"):
        base.train(texts, LABELS, pairs=TEXTS, method="head", long="windows")
    with pytest.raises(linocut.ConfigError, match="unknown variant"):
        base.train(texts, LABELS, method="head", long="middle")


def test_words_are_explained_as_the_command_does(base, cut, tmp_path):
    cut.save(tmp_path / "a.cut")
    text = TEXTS[0]
    found = base.explain(cut, text)
    shown = run("predict", tmp_path / "a.cut", text, "--base", BASE, "--explain", "--json", "--quiet")
    assert found == json.loads(shown)["explanation"]
    data = text.encode()
    assert [data[word["start"] : word["end"]].decode() for word in found] == [word["word"] for word in found]
    assert base.explain(cut, "parcel")[0]["change"] is None
    # Of two labels what speaks for one speaks against the other.
    label = base.predict(cut, [text]).labels[0]
    assert base.explain(cut, text, label=label) == found
    (other,) = {*cut.card["labels"]} - {label}
    assert [word["change"] for word in base.explain(cut, text, label=other)] == pytest.approx([-word["change"] for word in found], abs=1e-6)
    with pytest.raises(linocut.DataError, match="not among the 2 labels"):
        base.explain(cut, text, label="none")
    with pytest.raises(linocut.DataError, match="pair"):
        base.explain(cut, text, pair="another")
    with pytest.raises(linocut.DataError):
        base.explain(cut, " ")
    with pytest.warns(UserWarning, match="44 words beyond 256"):
        assert len(base.explain(cut, "parcel " * 300)) == 256


def test_files(base, cut, tmp_path):
    path = tmp_path / "a.cut"
    cut.save(path)
    assert linocut.Cut(path).card == cut.card
    with pytest.raises(linocut.FileError, match="exists already") as error:
        cut.save(path)
    assert "force" in error.value.hint
    cut.save(path, force=True)
    again = pickle.loads(pickle.dumps(cut))
    assert again.to_bytes() == cut.to_bytes()
    assert base.verify(again) < 1e-5
    base.export(cut, tmp_path / "hf")
    assert (tmp_path / "hf" / "model.safetensors").exists()


def test_a_bank_answers_as_each_task_alone(base, cut):
    other = base.train(TEXTS, LABELS[1:] + LABELS[:1], method="mask", epochs=1, seed=3)
    bank = linocut.Bank(base)
    bank["queue"], bank["other"] = cut, other
    assert set(bank) == {"queue", "other"} and len(bank) == 2
    found = bank.predict(TEXTS)
    for name, task in [("queue", cut), ("other", other)]:
        alone = base.predict(task, TEXTS)
        assert found[name].labels == alone.labels
        assert np.allclose(found[name].logits, alone.logits, atol=1e-5)
    bank["queue"] = other  # replaced
    assert np.array_equal(bank.predict(TEXTS, "queue")["queue"].logits, bank.predict(TEXTS, ["other"])["other"].logits)
    del bank["other"]
    with pytest.raises(KeyError):
        del bank["other"]
    with pytest.raises(linocut.ConfigError, match="no task"):
        bank.predict(["a"], tasks=["other"])


def test_slim_tasks_and_whole_numbers(base, cut):
    slim = base.train(TEXTS, LABELS, epochs=1, compute=0.5, name="slim")
    assert slim.card["training"]["compute"] <= 0.5
    banks = [linocut.Bank(base), linocut.Bank(base, dtype="int8")]
    for bank in banks:
        bank["slim"], bank["whole"] = slim, cut
    exact, near = (bank.predict(TEXTS) for bank in banks)
    assert np.allclose(exact["slim"].scores, base.predict(slim, TEXTS).scores, atol=1e-5)
    for name in ["slim", "whole"]:
        assert np.abs(exact[name].scores - near[name].scores).max() < 0.1
    with pytest.raises(linocut.ConfigError, match="dtype=f16"):
        linocut.Bank(base, dtype="f16")
    with pytest.raises(linocut.ConfigError, match="a share in"):
        base.train(TEXTS, LABELS, compute=0)


def test_a_prediction_sees_one_version_of_a_task(base, cut):
    other = base.train(TEXTS, ["x", "y", "z", "w"] * 5, method="head", epochs=1, dev=False)
    bank = linocut.Bank(base)
    bank["queue"] = cut
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            bank["queue"] = other
            bank["queue"] = cut

    thread = threading.Thread(target=swap)
    thread.start()
    expected = {tuple(c.labels): base.predict(c, TEXTS).logits for c in (cut, other)}
    try:
        for _ in range(20):
            found = bank.predict(TEXTS)["queue"]
            assert np.allclose(found.logits, expected[tuple(found.names)], atol=1e-5)
    finally:
        stop.set()
        thread.join()


def test_what_is_no_cut_is_said_to_be_none(base, cut):
    bank = linocut.Bank(base)
    for call in (lambda: base.predict("a.cut", ["a"]), lambda: bank.__setitem__("a", "a.cut"), lambda: bank.__setitem__("", cut)):
        with pytest.raises(linocut.DataError, match="expected"):
            call()


def test_threads_get_the_right_answers(base, cut):
    other = base.train(TEXTS, LABELS, method="bias", epochs=1)
    expected = {id(c): base.predict(c, TEXTS).logits for c in (cut, other)}
    wrong = []

    def ask(which):
        for _ in range(5):
            if not np.array_equal(base.predict(which, TEXTS).logits, expected[id(which)]):
                wrong.append(which)

    threads = [threading.Thread(target=ask, args=(c,)) for c in (cut, other) * 4]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_an_observer_hears_and_stops(base, tmp_path):
    heard = []
    base.train(TEXTS, LABELS, epochs=2, progress=heard.append)
    steps = [event for event in heard if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2] and all(event["loss"] > 0 for event in steps)
    state = tmp_path / "run.state"
    with pytest.raises(linocut.Stopped):
        base.train(TEXTS, LABELS, epochs=4, state=state, progress=lambda e: e["event"] != "step" or e["step"] < 2)
    assert state.exists()
    resumed = base.train(TEXTS, LABELS, epochs=4, state=state, resume=True)
    assert resumed.to_bytes() == base.train(TEXTS, LABELS, epochs=4).to_bytes()
    assert not state.exists(), "it is done"
    (tmp_path / "precious.txt").write_text("mine")
    for place, message in [("precious.txt", "exists already"), ("nowhere/run.state", "no such folder"), (".", "a folder")]:
        with pytest.raises(linocut.FileError, match=message):
            base.train(TEXTS, LABELS, state=tmp_path / place)
    assert (tmp_path / "precious.txt").read_text() == "mine"

    def breaks(event):
        raise RuntimeError("as told")

    with pytest.raises(RuntimeError, match="as told"):
        base.train(TEXTS, LABELS, progress=breaks)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (TEXTS, LABELS[:-1], "20 texts, 19 labels"),
        ([], [], "texts is empty"),
        ("one text", ["a"], "single text"),
        (["a", None], ["x", "y"], r"texts\[1\] is None"),
        (["a", float("nan")], ["x", "y"], r"texts\[1\] is nan"),
        (["a", "b"], ["x", None], r"labels\[1\] is None"),
        (["a", "b"], ["x", 1], "different types"),
        (["a", "b"], [1.5, float("nan")], r"labels\[1\] is nan"),
        (["a", " "], ["x", "y"], "holds no text"),
        (["a", "b"], ["x", "x"], "nothing to learn"),
        (pd.DataFrame({"a": ["a"], "b": ["b"]}), ["x"], "2 columns"),
        (None, ["x"], "NoneType"),
        (set(TEXTS), LABELS, "set"),
        (["a", "\ud800"], ["x", "y"], r"texts\[1\] holds half"),
    ],
)
def test_bad_rows(base, texts, labels, message):
    with pytest.raises(linocut.DataError, match=message):
        base.train(texts, labels)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"method": "masks"}, "expected one of mask"),
        ({"epochs": 0}, "`epochs` is 0"),
        ({"lr": -1.0, "method": "full"}, "`lr` is -1"),
        ({"learning_rate": 1.0}, "learning_rate"),
        ({"epochs": "three"}, "epochs is 'three'"),
        ({"epochs": -1}, "epochs is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"lr": float("nan"), "method": "full"}, "lr is nan"),
        ({"resume": True}, "without state"),
        ({"name": " "}, "name is"),
        ({"method": "bias", "sparsity": 0.1}, "no meaning"),
        ({"sparsity": 0.1, "init_sparsity": 0.1}, "together"),
        ({"problem": "ranking"}, "ranking"),
        ({"method": "layers", "layers": [9]}, "layers=9"),
    ],
)
def test_bad_choices(base, choices, message):
    with pytest.raises(linocut.ConfigError, match=message) as error:
        base.train(TEXTS, LABELS, **choices)
    assert isinstance(error.value, ValueError)


def test_bad_bases(tmp_path):
    with pytest.raises(linocut.BaseError, match="no such folder"):
        linocut.Base(tmp_path / "nowhere")
    with pytest.raises(linocut.ConfigError, match="max"):
        linocut.Base(BASE, pooling="max")


def test_another_base_is_refused(base, cut, tmp_path):
    import shutil

    shutil.copytree(BASE, tmp_path / "other")
    weights = tmp_path / "other" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-400] ^= 1
    weights.write_bytes(data)
    with pytest.raises(linocut.CutError, match="fingerprint"):
        linocut.Base(tmp_path / "other").predict(cut, ["a"])


def test_models_of_others_are_packed_and_measured(base, cut, tmp_path):
    base.export(cut, tmp_path / "tuned")
    packed = linocut.pack(base, tmp_path / "tuned", name="theirs")
    assert packed.card["task"] == "theirs"
    assert np.array_equal(base.predict(packed, TEXTS).logits, base.predict(cut, TEXTS).logits)
    small = linocut.pack(base, tmp_path / "tuned", budget="10KB")
    assert small.nbytes <= 10_000
    report = linocut.measure(base, tmp_path / "tuned")
    assert report["models"][0]["all"]["l1"] == 0.0
    for call, kind, message in [
        (lambda: linocut.pack(base, tmp_path / "nowhere"), linocut.FileError, "no such folder"),
        (lambda: linocut.pack(base, tmp_path / "tuned", budget="much"), linocut.ConfigError, "no size"),
        (lambda: linocut.measure(base, tmp_path / "nowhere"), linocut.FileError, "nowhere"),
        (lambda: linocut.measure(base, tmp_path / "tuned", tolerance=-1.0), linocut.ConfigError, "tolerance"),
    ]:
        with pytest.raises(kind, match=message):
            call()


def test_a_base_is_pickled_by_its_folder(base, tmp_path):
    import shutil

    assert pickle.loads(pickle.dumps(base)).fingerprint == base.fingerprint
    shutil.copytree(BASE, tmp_path / "base")
    data = pickle.dumps(linocut.Base(tmp_path / "base"))
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(linocut.BaseError, match="no such folder"):
        pickle.loads(data)


def test_every_row_is_learned_from_where_none_are_held_out(base):
    assert base.train(TEXTS, LABELS, method="head", epochs=1).training["dev_rows_held_out"]
    cut = base.train(TEXTS, LABELS, method="head", epochs=1, dev=False)
    assert cut.training["evaluation"] is None and cut.card["metrics"] == {}
    with pytest.warns(UserWarning, match="training rows"):
        base.train(TEXTS, LABELS, method="head", epochs=1, dev=(TEXTS, LABELS))


SCRIPT = """
import os, signal, sys, threading, time, linocut
base = linocut.Base({base!r})
texts = ["a parcel %d" % i for i in range(2000)]
labels = ["ab"[i % 2] for i in range(2000)]
def interrupt():
    time.sleep(3)
    started.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
started = []
threading.Thread(target=interrupt).start()
try:
    base.train(texts, labels, method="full", state={state!r})
except KeyboardInterrupt:
    print("stopped", time.monotonic() - started[0], os.path.exists({state!r}))
"""


def test_ctrl_c_stops_and_leaves_the_state(tmp_path):
    script = SCRIPT.format(base=str(BASE), state=str(tmp_path / "run.state"))
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, timeout=120)
    said, seconds, state = out.stdout.split()
    assert (said, state) == ("stopped", "True"), out.stderr
    assert float(seconds) < 5, "a step, a look and a saved state"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_refused(base, cut):
    base.predict(cut, ["a"])
    child = os.fork()
    if child == 0:
        try:
            base.predict(cut, ["a"])
        except linocut.ConfigError as error:
            os._exit(7 if "forked" in error.message and "spawn" in error.hint else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_import_is_light():
    script = "import sys, linocut; print(sorted(m for m in sys.modules if m in ('torch', 'sklearn', 'transformers', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_card_is_a_copy(base, cut):
    names = base.predict(cut, TEXTS).labels
    cut.card["labels"].reverse()
    assert base.predict(cut, TEXTS).labels == names


def test_the_type_of_labels_decides(base):
    versions = base.train(TEXTS, [f"{i % 3}.{i % 2}" for i in range(20)], method="head", epochs=1, dev=False)
    assert versions.card["problem"] == "single-label"
    stars = base.train(TEXTS, (i / 2 for i in [1, 2, 3, 4] * 5), method="head", epochs=1, dev=False)
    assert stars.card["problem"] == "regression"
    with pytest.raises(linocut.DataError, match="text, a number or a list"):
        base.train(TEXTS, [b"a", b"b"] * 10)
    with pytest.raises(linocut.DataError, match="expected a list"):
        base.predict(versions, np.array("abc"))


def test_false_alone_stops(base):
    base.train(TEXTS, LABELS, method="head", epochs=1, progress=lambda event: 0)
    for no in (False, np.False_):
        with pytest.raises(linocut.Stopped):
            base.train(TEXTS, LABELS, method="head", epochs=1, progress=lambda event: no)
    with pytest.raises(linocut.ConfigError, match="progress is 'yes'"):
        base.train(TEXTS, LABELS, progress="yes")


def test_threads_have_a_bound():
    script = "import linocut\ntry: linocut.set_threads({})\nexcept linocut.ConfigError as e: print(e.message)"
    for threads in (0, 10**9, -1, "None"):
        out = subprocess.run([sys.executable, "-c", script.format(threads)], capture_output=True, text=True, timeout=60)
        assert "threads" in out.stdout and "expected" in out.stdout, out.stderr
