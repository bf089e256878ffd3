"""Sweeps arms and seeds over workers with Ray Tune; every run is a cut with its card in a study's folder.

    pip install "ray[tune]"
    python examples/ray/sweep.py tasks/trec6 --base models/all-minilm-l6-v2 --out study \
        --arms mask,mask+mask_lr=0.03,mask-0.05,lora-1+lr=0.003 --seeds 2
    linocut study --base models/all-minilm-l6-v2 --task tasks/trec6 --out study --arms mask --seeds 2   # its page

An arm names what is trained, with any of its rates behind it: linocut.Study.arms lists them, `linocut study --help` explains.
What the folder has already is not run again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import ray
from ray import tune

import linocut


def train(config):
    """One run of the sweep, in a process of its own; its record and its cut are the trial's checkpoint."""
    linocut.set_threads(config["threads"])
    study = linocut.Study(linocut.Base(config["base"]), [config["folder"]], epochs=config["epochs"])
    record, cut = study.train(config["task"], config["arm"], config["seed"])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "record.json").write_text(json.dumps(record))
        if cut is not None:
            cut.save(Path(folder) / "run.cut")
        tune.report({"score": record["score"], "bytes": record["bytes"]}, checkpoint=tune.Checkpoint.from_directory(folder))


def sweep(folder, base, out, arms, seeds, *, epochs=None, workers=2, threads=1):
    """Does what is missing, and gives the study."""
    study = linocut.Study(linocut.Base(base), [folder], out, epochs=epochs)
    task = study.tasks[0]
    done = {(run["arm"], run["seed"]) for run in study.runs}
    missing = [{"arm": arm, "seed": seed} for seed in range(seeds) for arm in arms if (arm, seed) not in done]
    if not missing:
        return study
    common = {"base": str(base), "folder": str(folder), "task": task, "epochs": epochs, "threads": threads}
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": threads}),
        param_space=tune.grid_search([common | run for run in missing]),
        tune_config=tune.TuneConfig(max_concurrent_trials=workers),
        run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    )
    for result in tuner.fit():
        if result.error:
            raise RuntimeError(f"a run failed: {result.error}")
        with result.checkpoint.as_directory() as kept:
            cut = Path(kept) / "run.cut"
            record = json.loads((Path(kept) / "record.json").read_text())
            study.add(record, linocut.Cut(cut) if cut.exists() else None)
    return study


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", help="a task's folder: task.json, train.tsv, dev.tsv")
    parser.add_argument("--base", required=True)
    parser.add_argument("--out", required=True, help="folder of the study")
    parser.add_argument("--arms", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    args = parser.parse_args()
    ray.init(log_to_driver=False)
    task, base = Path(args.task).resolve(), Path(args.base).resolve()
    arms = args.arms.split(",")
    study = sweep(task, base, args.out, arms, args.seeds, epochs=args.epochs, workers=args.workers, threads=args.threads)
    for run in study.runs:
        print(f"{run['arm']:30} seed {run['seed']}  {run['metric']} {100 * run['score']:.2f}  {run['bytes']:,} bytes")


if __name__ == "__main__":
    main()
