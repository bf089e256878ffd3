"""Compares ways to make a classifier in Python: linocut, SetFit, model2vec, logistic regression on embeddings.

    pip install setfit 'model2vec[distill,train]' scikit-learn target/wheels/linocut-*.whl
    export LINOCUT_TASKS=<folder of tasks>
    python bench/python.py --base models/all-minilm-l6-v2 --out bench/results/python.jsonl

Every method learns from the same rows: some of each class, drawn by the seed, or all of them. Scores are of dev.tsv, by
the metric that task.json names, computed by scikit-learn. Each run is a process of its own and one line of JSON
appended to `--out`; runs already in that file are not repeated. Seconds are of CPU, all threads: machines are shared.
"""

import argparse
import csv
import json
import os
import pickle
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

TASKS = ["trec6", "sms_spam", "tweet_irony"]
PACKAGES = ["linocut", "setfit", "sentence-transformers", "transformers", "torch", "model2vec", "scikit-learn", "numpy"]
FEW = ["8", "16", "64"]  # rows a class
BATCH, ITERATIONS = 16, 20  # of SetFit: its batch, and the pairs of each kind for a row, as in its paper


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--base", default="models/all-minilm-l6-v2")
    args.add_argument("--tasks", default=",".join(TASKS))
    args.add_argument("--methods", default=",".join(METHODS), help="of " + ", ".join(METHODS))
    args.add_argument("--rows", default="8,16,64,all", help="rows a class")
    args.add_argument("--seeds", default="0,1,2")
    args.add_argument("--minutes", type=float, default=20, help="SetFit runs that would take more CPU are left out")
    args.add_argument("--out", default="bench/results/python.jsonl")
    args.add_argument("--metric", help="accuracy or macro_f1 in the table, in place of the task's own")
    args.add_argument("--table", help="a file for the tables, beside standard output")
    args.add_argument("--one", help=argparse.SUPPRESS)
    args = args.parse_args()
    folder = Path(os.environ.get("LINOCUT_TASKS") or sys.exit("set LINOCUT_TASKS"))
    if args.one:
        return print("\n" + json.dumps(one(folder, **json.loads(args.one))))
    out = Path(args.out)
    runs = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(r["task"], r["method"], r["rows"], r["seed"]) for r in runs}

    def run(**what):
        command = [sys.executable, __file__, "--one", json.dumps(what | {"base": args.base})]
        # By default OpenMP's threads spin while they wait: on a busy machine PyTorch then takes a third more CPU.
        env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
        result = subprocess.run(command, capture_output=True, text=True, env=env)
        if result.returncode:
            return print(what, result.stderr, file=sys.stderr)
        runs.append(json.loads(result.stdout.splitlines()[-1]))
        with out.open("a") as file:
            file.write(json.dumps(runs[-1]) + "\n")
        print({key: value for key, value in runs[-1].items() if key != "versions"}, file=sys.stderr, flush=True)

    methods = args.methods.split(",")
    if any(method.startswith("model2vec") for method in methods) and not static(args.base).exists():
        run(task="", method="distill", rows="", seed=0)
    for rows in args.rows.split(","):
        for method in methods:
            for task in args.tasks.split(","):
                for seed in map(int, args.seeds.split(",")):
                    if (task, method, rows, seed) in done or rows not in METHODS[method].rows:
                        continue
                    if method == "setfit" and rows == "all" and pace(folder, runs, task)[1] > args.minutes:
                        continue
                    run(task=task, method=method, rows=rows, seed=seed)
    text = tables(folder, runs, args.metric)
    print(text)
    if args.table:
        Path(args.table).write_text(text + "\n")


# What a run does.


def one(folder, task, method, rows, seed, base):
    warnings.filterwarnings("ignore")
    if method == "distill":
        return {"task": task, "method": method, "rows": rows, "seed": seed} | distill(base)
    about = json.loads((folder / task / "task.json").read_text())
    texts, labels = drawn(*read(folder / task / "train.tsv"), rows, seed)
    dev_texts, dev_labels = read(folder / task / "dev.tsv")
    method_of = METHODS[method]
    start = clock()
    model = method_of.load(base)
    loaded = clock()
    model, more = method_of.train(model, texts, labels, seed, rows)
    trained = clock()
    found = [str(label) for label in method_of.predict(model, dev_texts)]
    end = clock()
    run = {"task": task, "method": method, "rows": rows, "seed": seed, "rows_used": len(texts)}
    run |= scores(about, dev_labels, found) | more
    run |= {"load_cpu": loaded - start, "train_cpu": trained - loaded, "predict_cpu": end - trained}
    run |= {"dev_rows": len(dev_texts), "bytes": method_of.size(model)}
    run |= {"shared_bytes": {"base": weight(base), "static model": weight(static(base))}.get(method_of.shared, 0)}
    run |= {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "cpu": cpu()}
    return run | {"versions": {name: version(name) for name in PACKAGES}}


def read(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row["sentence1"] for row in rows], [row["label"] for row in rows]


def drawn(texts, labels, rows, seed):
    if rows == "all":
        return texts, labels
    draw = random.Random(seed)
    chosen = []
    for label in sorted(set(labels)):
        of_label = [i for i, other in enumerate(labels) if other == label]
        chosen += draw.sample(of_label, min(int(rows), len(of_label)))
    draw.shuffle(chosen)
    return [texts[i] for i in chosen], [labels[i] for i in chosen]


def scores(about, labels, found):
    from sklearn.metrics import accuracy_score, f1_score

    values = {"accuracy": accuracy_score(labels, found), "macro_f1": f1_score(labels, found, average="macro")}
    if about.get("f1_average") == "binary":
        values["f1"] = f1_score(labels, found, pos_label=about["positive_label"])
    metric = about.get("metric", "accuracy")
    return {"metric": metric, "score": values[metric]} | values


def clock():
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def cpu():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else "unknown"


def weight(path):
    """Bytes of a folder, or of what a function saves into one."""
    if callable(path):
        with tempfile.TemporaryDirectory() as scratch:
            path(scratch)
            return weight(scratch)
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def static(base):
    return Path(tempfile.gettempdir()) / f"{Path(base).resolve().name}-model2vec"


def distill(base):
    from model2vec.distill import distill

    start = clock()
    distill(str(base)).save_pretrained(str(static(base)))
    return {"train_cpu": clock() - start, "bytes": weight(static(base))}


# The methods.


class Linocut:
    shared = "base"

    def __init__(self, about, rows, **choices):
        self.about, self.rows, self.choices = about, rows, choices

    def load(self, base):
        import linocut

        self.base = linocut.Base(base)

    def train(self, _, texts, labels, seed, rows):
        return self.base.train(texts, labels, seed=seed, **self.choices), {}

    def predict(self, cut, texts):
        return self.base.predict(cut, texts).labels

    def size(self, cut):
        return cut.nbytes


class SetFit:
    about, shared, rows = "SetFit", None, [*FEW, "all"]

    def load(self, base):
        from setfit import SetFitModel

        return SetFitModel.from_pretrained(base, device="cpu")

    def train(self, model, texts, labels, seed, rows):
        from datasets import Dataset
        from setfit import Trainer, TrainingArguments

        with tempfile.TemporaryDirectory() as scratch:
            options = TrainingArguments(scratch, batch_size=BATCH, num_epochs=1, num_iterations=ITERATIONS, seed=seed,
                                        save_strategy="no", report_to="none", show_progress_bar=False)
            trainer = Trainer(model, options, Dataset.from_dict({"text": texts, "label": labels}))
            trainer.train()
            return model, {"steps": trainer.st_trainer.state.global_step}

    def predict(self, model, texts):
        return model.predict(texts)

    def size(self, model):
        return weight(model.save_pretrained)


class Model2Vec:
    about, shared, rows = "model2vec", None, [*FEW, "all"]

    def load(self, base):
        from model2vec.train import StaticModelForClassification

        return StaticModelForClassification.from_pretrained(str(static(base)))

    def train(self, model, texts, labels, seed, rows):
        return model.fit(texts, labels, random_seed=seed), {}

    def predict(self, model, texts):
        return model.predict(texts)

    def size(self, model):
        return weight(lambda scratch: model.to_pipeline().save_pretrained(scratch))


class Regression:
    rows = [*FEW, "all"]

    def __init__(self, about, shared, search):
        self.about, self.shared, self.search = about, shared, search

    def load(self, base):
        if self.shared == "static model":
            from model2vec import StaticModel

            self.encode = StaticModel.from_pretrained(str(static(base))).encode
        else:
            from sentence_transformers import SentenceTransformer

            body = SentenceTransformer(base, device="cpu")
            self.encode = lambda texts: body.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    def train(self, _, texts, labels, seed, rows):
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        model = LogisticRegression(max_iter=1000)
        if not self.search:
            return model.fit(self.encode(texts), labels), {}
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        search = GridSearchCV(model, {"C": [0.1, 1, 10, 100]}, cv=folds).fit(self.encode(texts), labels)
        return search.best_estimator_, search.best_params_

    def predict(self, model, texts):
        return model.predict(self.encode(texts))

    def size(self, model):
        return len(pickle.dumps(model))


METHODS = {
    "mask": Linocut("linocut mask", [*FEW, "all"]),
    "mask-40": Linocut("mask, 40 epochs", FEW, epochs=40, dev=False),
    "head": Linocut("linocut head", [*FEW, "all"], method="head"),
    "head-40": Linocut("head, 40 epochs", FEW, method="head", epochs=40, dev=False),
    "setfit": SetFit(),
    "model2vec": Model2Vec(),
    "model2vec-lr": Regression("model2vec regression", "static model", search=True),
    "lr": Regression("regression, C = 1", "base", search=False),
    "lr-cv": Regression("regression", "base", search=True),
}
NOTES = """\
Score of dev.tsv in percent, mean ± deviation of the seeds (alone: one seed); the best of a row in bold. Constant: what
the best single answer for all rows scores. linocut is `base.train(texts, labels)`, which holds out a tenth of the rows,
and with `epochs=40, dev=False`, which learns from all; SetFit has 20 iterations; model2vec is distilled from the base
and trained by its defaults, which hold out a tenth too; regression is scikit-learn's on the base's normalised
embeddings, or on model2vec's, C by 5-fold cross-validation where not said."""
COSTS = """\
Seconds of CPU, user and system of all threads, mean of the tasks (or of as many as said); loading includes imports,
training of a regression its embedding. Kept: bytes that each task needs beside what all tasks share."""


# What is printed.


def pace(runs, task, rows):
    """Pairs that SetFit would draw of so many rows, and CPU minutes at the pace of its largest runs on the task."""
    known = [run for run in runs if run["task"] == task and run["method"] == "setfit"]
    if not known:
        return 0, 0, ""
    most = max(run["rows_used"] for run in known)
    known = [run for run in known if run["rows_used"] == most]
    pairs = 2 * ITERATIONS * rows
    step = statistics.mean(run["train_cpu"] / run["steps"] for run in known)
    return pairs, step * pairs / BATCH / 60, known[0]["rows"]


def size(count):
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def tables(folder, runs, metric=None):
    groups = {}
    for run in runs:
        groups.setdefault((run["task"], run["rows"], run["method"]), []).append(run)
    methods = [method for method in METHODS if any(run["method"] == method for run in runs)]
    tasks = list(dict.fromkeys(run["task"] for run in runs if run["task"]))
    heads = ["task", "metric", "rows a class", "rows", "constant", *(METHODS[method].about for method in methods)]
    lines = [line(heads), "|---|---|--:|--:|--:|" + "--:|" * len(methods)]
    for task in tasks:
        about = json.loads((folder / task / "task.json").read_text())
        shown = metric or about.get("metric", "accuracy")
        labels = read(folder / task / "dev.tsv")[1]
        constant = max(scores(about, labels, [label] * len(labels))[shown] for label in set(labels))
        for rows in [*FEW, "all"]:
            found = {method: groups[task, rows, method] for method in methods if (task, rows, method) in groups}
            if not found:
                continue
            values = {name: [100 * run[shown] for run in of] for name, of in found.items()}
            best = max(round(statistics.mean(of), 1) for of in values.values())
            cells = [cell(values[name], best) if name in values else "" for name in methods]
            used = next(iter(found.values()))[0]["rows_used"]
            if "setfit" in methods and "setfit" not in found:
                cells[methods.index("setfit")] = unrun(*pace(runs, task, used))
            lines.append(line([task, shown, rows, f"{used:,}", f"{100 * constant:.1f}", *cells]))
    lines += ["", NOTES]
    heads = ["method", *(f"train, {rows}" for rows in [*FEW, "all"]), "load", "predict 1,000", "peak", "kept", "shared"]
    lines += ["", line(heads), "|---|" + "--:|" * (len(heads) - 1)]
    for method in methods:
        of = [run for run in runs if run["method"] == method]
        mean = lambda key, of=of: statistics.mean(run[key] for run in of)
        cells = []
        for rows in [*FEW, "all"]:
            # Of each task first: tasks may have different numbers of runs.
            seconds = [statistics.mean(run["train_cpu"] for run in groups[key]) for key in groups
                       if key[1:] == (rows, method)]
            few = "" if len(seconds) == len(tasks) else f" (of {len(seconds)})"
            cells.append(f"{statistics.mean(seconds):.1f} s{few}" if seconds else "")
        texts = 1000 * mean("predict_cpu") / mean("dev_rows")
        smallest, largest = size(min(run["bytes"] for run in of)), size(max(run["bytes"] for run in of))
        kept = smallest if smallest == largest else f"{smallest} to {largest}"
        shared = METHODS[method].shared
        kept += "" if shared else ", the whole model"
        shared = f"the {shared}, {size(of[0]['shared_bytes'])}" if shared else "nothing"
        peak = f"{max(run['peak_mb'] for run in of):,} MB"
        cells += [f"{mean('load_cpu'):.1f} s", f"{texts:.1f} s", peak, kept, shared]
        lines.append(line([METHODS[method].about, *cells]))
    lines += ["", COSTS]
    for run in runs:
        if run["method"] == "distill":
            lines.append(f"The static model was distilled from the base once, in {run['train_cpu']:.0f} s of CPU.")
    told = {(run["cpu"], *run["versions"].items()) for run in runs if run["task"]}
    lines += [", ".join([cpu, *map(" ".join, versions)]) for cpu, *versions in sorted(told)]
    return "\n".join(lines)


def cell(values, best):
    text = f"{statistics.mean(values):.1f}"
    bold = float(text) == best
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.1f}"
    return f"**{text}**" if bold else text


def unrun(pairs, minutes, rows):
    text = f"not run: {pairs:,} pairs, about {minutes:.0f} min of CPU at the pace of {rows} rows a class"
    return text if pairs else ""


if __name__ == "__main__":
    main()
