"""The examples for Ray, on a local one."""

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

ray = pytest.importorskip("ray")

import linocut

from conftest import BASE, LABELS, ROOT, TEXTS

sys.path.insert(0, str(ROOT / "examples" / "ray"))

import score  # noqa: E402
import sweep  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def local_ray(tmp_path_factory):
    paths = [str(ROOT / "examples" / "ray"), str(Path(linocut.__file__).parents[1]), str(Path(__file__).parent)]
    marker = tmp_path_factory.mktemp("marker") / "died"
    env = {"PYTHONPATH": os.pathsep.join(paths), "MARKER": str(marker)}
    ray.init(num_cpus=4, log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": env})
    yield marker
    ray.shutdown()


@pytest.fixture(scope="module")
def files(base, tmp_path_factory):
    """Cuts, and Parquet files of rows."""
    folder = tmp_path_factory.mktemp("ray")
    for name, labels, method in [("queue", LABELS, "head"), ("tone", LABELS[1:] + LABELS[:1], "mask")]:
        base.train(TEXTS, labels, method=method, epochs=2, name=name).save(folder / f"{name}.cut")
    for part in range(4):
        rows = {"id": range(100 * part, 100 * part + 100), "text": [f"{t} {part}" for t in TEXTS * 5]}
        pd.DataFrame(rows).to_parquet(folder / f"{part}.parquet")
    return folder


class DiesOnce(score.Score):
    """A worker that is killed in the middle of its work, once."""

    def __call__(self, batch):
        try:
            os.close(os.open(os.environ["MARKER"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().__call__(batch)
        os.kill(os.getpid(), 9)


def labelled(files, kind=score.Score, workers=2):
    rows = ray.data.read_parquet([str(path) for path in sorted(files.glob("*.parquet"))])
    found = score.score(rows, BASE, sorted(files.glob("*.cut")), workers=workers, batch=32, kind=kind)
    return found.to_pandas().sort_values("id").reset_index(drop=True)


def test_rows_in_are_rows_out_with_one_processs_answers(files, base):
    found = labelled(files)
    rows = pd.concat([pd.read_parquet(path) for path in sorted(files.glob("*.parquet"))])
    assert found.id.tolist() == rows.id.tolist() and found.text.tolist() == rows.text.tolist()
    bank = linocut.Bank(base)
    for path in files.glob("*.cut"):
        bank[path.stem] = linocut.Cut(path)
    for task, answers in bank.predict(rows.text).items():
        assert found[f"{task}_label"].tolist() == answers.labels
        assert found[f"{task}_score"].to_numpy() == pytest.approx(answers.scores.max(axis=1), abs=1e-5)


def test_a_killed_worker_loses_nothing(files, local_ray):
    found = labelled(files, kind=DiesOnce)
    assert local_ray.exists(), "one was killed"
    pd.testing.assert_frame_equal(found, labelled(files))


def test_a_sweep_is_a_study(tmp_path):
    task = tmp_path / "queue"
    task.mkdir()
    (task / "task.json").write_text("{}")
    (task / "train.tsv").write_text("sentence1\tlabel\n" + "".join(f"{t}\t{l}\n" for t, l in zip(TEXTS, LABELS)))
    arms = ["head", "mask-0.05", "lora-1+lr=0.003"]
    with sweep.sweep(task, BASE, tmp_path / "out", arms, 2, epochs=1) as study:
        assert {(run["arm"], run["seed"]) for run in study.runs} == {(arm, seed) for arm in arms for seed in (0, 1)}
        rows = study.summary()["summary"]["tasks"][0]["rows"]
        assert [row["arm"] for row in rows] == ["head", "mask-0.05", "lora-1+lr=0.003"]
    with sweep.sweep(task, BASE, tmp_path / "out", arms, 2, epochs=1) as study:  # nothing is missing
        assert len(study.runs) == 6
        alone = linocut.Study(linocut.Base(BASE), [task], epochs=1).train("queue", "lora-1+lr=0.003", 1)[1]
        kept = tmp_path / "out" / next(run["cut"] for run in study.runs if run["arm"].startswith("lora") and run["seed"] == 1)
        assert kept.read_bytes() == alone.to_bytes()
