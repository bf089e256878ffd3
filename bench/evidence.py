"""Tables and the picture of score against bytes, from the runs in bench/results.

    python bench/evidence.py                        # tables, as Markdown
    python bench/evidence.py --slim                 # those of slim tasks and of teachers
    python bench/evidence.py --picture docs/evidence.svg     # needs matplotlib

Bytes are of what a task takes beside its base: zeros as coded, numbers in 16 bits, the head; the card and the container
of a cut, 9 to 12 KB of names and probes, are not counted, for no method.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

RESULTS = Path(__file__).parent / "results"
MINILM, MPNET = RESULTS / "study-2026-11-26-minilm", RESULTS / "study-2026-11-26-mpnet"
# Student's t, 97.5%, by degrees of freedom.
T = [math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179]
#: Entries of one layer's matrices: query, key, value, attention output, intermediate, output.
ENTRIES = {"all-minilm-l6-v2": [147_456] * 4 + [589_824] * 2, "all-mpnet-base-v2": [589_824] * 4 + [2_359_296] * 2}
#: What each name says.
ABOUT = {
    "head": "the head alone", "bias": "biases (BitFit)", "scale": "a scale a row", "mask": "mask",
    "mask+scale": "mask and scales", "mask+bias": "mask and biases", "lora-qv-1": "LoRA 1, query and value",
    "lora-qv-4": "LoRA 4, query and value", "lora-all-1": "LoRA 1, all six matrices",
    "lora-all-4": "LoRA 4, all six matrices", "full": "full fine-tuning",
}  # fmt: skip
PARTS = {
    "paper": "all but the word table, the key projections and the two deepest layers", "top-half": "layers 6 to 11",
}  # fmt: skip
#: Full fine-tuning of MPNet at 1e-4 that stayed at chance (loss 0.693, score 47.3; its other seed 74.0).
COLLAPSED = ("rte", "full", 1)
NUMBERS = ["lr", "mask_lr", "head_lr", "dropout", "c", "above"]


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def entropy(entries, zeros):
    """Bits of the places of so many zeros."""
    p = zeros / entries
    return 0.0 if p in (0, 1) else -entries * (p * math.log2(p) + (1 - p) * math.log2(1 - p))


def size(run):
    """Bytes of a run, its head included; of masks by entropy, which the codec is within 2% of."""
    numbers = run["trained"] + run["head"]
    if "zeros" not in run:
        return 2 * numbers
    share = run.get("above", 1.0)
    layer = ENTRIES[run["base"]]
    bits = sum(entropy(share * layer[i % 6], zeros) for i, zeros in enumerate(run["zeros"]))
    return 2 * numbers + bits / 8


def chosen(run):
    return " ".join(f"{key}={run[key]:g}" for key in NUMBERS if key in run)


def interval(values):
    """Mean and half of its 95% interval."""
    if len(values) < 2:
        return mean(values), math.nan
    return mean(values), T[len(values) - 1] * stdev(values) / math.sqrt(len(values))


def by(runs, *keys):
    groups = defaultdict(list)
    for run in runs:
        groups[tuple(run[key] for key in keys)].append(run)
    return groups


def selection():
    """Every arm and its numbers on the selection tasks: mean over tasks of means over seeds."""
    tasks = ["trec6", "tweet_irony", "cola", "mrpc", "cr", "debian-section"]
    groups = defaultdict(list)
    for run in read(MINILM / "selection.jsonl"):
        if run["arm"] in ABOUT:
            groups[run["arm"], chosen(run)].append(run)
    rows = []
    for (arm, numbers), runs in groups.items():
        each = {task: [r for r in runs if r["task"] == task] for task in tasks}
        if not all(each.values()):
            continue
        scores = [mean(r["score"] for r in each[task]) for task in tasks]
        seeds = sorted({r["seed"] for r in runs})
        rows.append((arm, numbers, mean(scores), len(seeds), mean(size(r) for r in runs), scores))
    return tasks, rows


def report():
    return read(MINILM / "report.jsonl")


def all_mpnet():
    """Runs on MPNet without the one that learned nothing."""
    return [r for r in read(MPNET / "runs.jsonl") if (r["task"], r["arm"], r["seed"]) != COLLAPSED]


def mpnet():
    """Those of the methods that all eight tasks have."""
    runs = all_mpnet()
    tasks = {r["task"] for r in runs}
    whole = {arm for (arm,), of in by(runs, "arm").items() if {r["task"] for r in of} == tasks}
    return [r for r in runs if r["arm"] in whole]


def over_tasks(runs):
    """Mean over tasks of means over seeds."""
    return mean(mean(r["score"] for r in of) for of in by(runs, "task").values())


def differences(runs, arm, other="full"):
    """By task: mean over common seeds of the arm's score less the other's."""
    scores = {(r["task"], r["arm"], r["seed"]): r["score"] for r in runs}
    tasks = defaultdict(list)
    for (task, name, seed), score in scores.items():
        if name == arm and (task, other, seed) in scores:
            tasks[task].append(score - scores[task, other, seed])
    return {task: mean(values) for task, values in tasks.items()}


def table(header, rows):
    print("| " + " | ".join(header) + " |")
    print("|" + "|".join("---" if i == 0 else "--:" for i in range(len(header))) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def kb(count):
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


def tables():
    tasks, rows = selection()
    print("## Selection, MiniLM\n")
    rows.sort(key=lambda row: (list(ABOUT).index(row[0]), -row[2]))
    table(
        ["method", "numbers", "seeds", "mean", *tasks, "bytes"],
        [[ABOUT[a], n, s, f"{m:.1f}", *[f"{x:.1f}" for x in scores], kb(b)] for a, n, m, s, b, scores in rows],
    )
    for name, runs in [("MiniLM, report tasks", report()), ("MPNet", mpnet())]:
        print(f"## {name}\n")
        cells = []
        arms = [arm for arm in ABOUT if arm in {r["arm"] for r in runs}]
        for (task,), of_task in sorted(by(runs, "task").items()):
            groups, row = by(of_task, "arm"), [task]
            for arm in arms:
                scores = [r["score"] for r in groups.get((arm,), [])]
                spread = f" ± {stdev(scores):.1f}" if len(scores) > 1 else ""
                row.append(f"{mean(scores):.1f}{spread}" if scores else "")
            cells.append(row)
        table(["task", *[ABOUT[arm] for arm in arms]], cells)
        cells = []
        for arm in arms:
            of = [r for r in runs if r["arm"] == arm]
            row = [ABOUT[arm], chosen({k: v for k, v in of[0].items() if k != "seed"}), kb(mean(size(r) for r in of)), f"{over_tasks(of):.2f}"]
            for other in ["full", "mask"]:
                if arm == other:
                    row += ["", ""]
                    continue
                found = differences(runs, arm, other)
                middle, half = interval(list(found.values()))
                worst = min(found, key=found.get)
                row += [f"{middle:+.2f} ({middle - half:+.2f} to {middle + half:+.2f})", f"{found[worst]:+.1f} ({worst})"]
            cells.append(row)
        table(["method", "numbers", "bytes", "mean", "less full, 95% over tasks", "worst", "less masks", "worst"], cells)
    print("## MPNet, parts of the encoder, on the tasks that were run\n")
    runs = all_mpnet()
    cells = []
    for arm, said in PARTS.items():
        found = differences(runs, arm)
        middle, half = interval(list(found.values()))
        each = ", ".join(f"{task} {d:+.1f}" for task, d in sorted(found.items()))
        cells.append([said, f"{middle:+.2f} ({middle - half:+.2f} to {middle + half:+.2f})", each])
    table(["trained", "less full, 95% over tasks", "tasks"], cells)
    print("## How far layers moved in full fine-tuning (angle / pi)\n")
    for name, runs in [("MiniLM", report()), ("MPNet", mpnet())]:
        full = [r for r in runs if r["arm"] == "full"]
        layers = [key for key in full[0]["moved"] if key != "embeddings"]
        rows = []
        for (task,), of_task in sorted(by(full, "task").items()):
            moved = [mean(r["moved"][layer] for r in of_task) for layer in layers]
            rows.append([task, *[f"{x:.4f}" for x in moved], f"{max(moved) / min(moved):.2f}"])
        table([name, *layers, "most / least"], rows)
    cuts = read(MINILM / "cuts.jsonl")
    if cuts:
        print("## The masks as linocut stores and scores them\n")
        table(
            ["task", "zeros", "bits a zero", "plain", "cut", "score by linocut", "by the GPU"],
            [
                [c["task"], c["zeros"], f"{8 * c['zeros_bytes'] / c['zeros']:.2f}", f"{plain_bits(c):.2f}", kb(c["bytes"]),
                 f"{c['score']:.2f}", f"{c['gpu']:.2f}"] for c in cuts
            ],
        )  # fmt: skip


def slim():
    """Ways to leave out heads and neurons, what shares of compute cost, and what a teacher gives."""
    runs = read(RESULTS / "slim-ways-2026-11-27.jsonl")
    for title, names in [
        ("Ways to choose, on tasks that are not reported", ["cola", "cr", "mr", "mpqa"]),
        ("Shares of compute", ["trec6", "tweet_irony", "mrpc", "sst2"]),
        ("Teachers", ["rte", "mrpc", "stsb"]),
    ]:
        print(f"{title}:\n")
        scores = defaultdict(list)
        for run in runs:
            if run["task"] in names:
                # A group that two plans name has run twice: once is enough.
                scores[run["arm"], run.get("compute", 1.0), run["task"]] += [(run["seed"], run["score"])]
        rows = []
        for arm, share in sorted({key[:2] for key in scores}, key=lambda key: (-key[1], key[0])):
            found = [list(dict(scores[arm, share, name]).values()) for name in names]
            if sum(map(bool, found)) < 2:
                continue
            cells = [f"{mean(values):.1f} ({len(values)})" if values else "" for values in found]
            whole = f"{mean(mean(values) for values in found):.1f}" if all(found) else ""
            rows.append([arm, f"{share:g}", *cells, whole])
        table(["runs", "compute", *names, "mean"], rows)
        print()


def plain_bits(cut):
    """Bits a zero by its place among all entries of its matrix, by entropy."""
    for run in report():
        if (run["task"], run["arm"], run["seed"]) == (cut["task"], cut["arm"], cut["seed"]):
            return (8 * size({**run, "above": 1.0, "trained": 0, "head": 0})) / sum(run["zeros"])


def picture(path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"font.family": "sans-serif", "font.size": 9, "svg.hashsalt": "linocut"})
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.5, 4.6), width_ratios=[5, 4, 4])
    for axes, name, runs in [(left, "MiniLM, {} report tasks, 3 seeds", report()), (middle, "MPNet-base, {} tasks, 2 seeds", mpnet())]:
        for (arm,), of in by(runs, "arm").items():
            if arm == "head":  # far below: in words, so that the rest can be told apart
                said = f"the head alone: {over_tasks(of):.1f} in {kb(mean(size(r) for r in of))}"
                axes.annotate(said, (0.97, 0.03), xycoords="axes fraction", ha="right", fontsize=7.5)
            else:
                place(axes, arm, mean(size(r) for r in of), over_tasks(of))
        smaller(axes, [r for r in runs if r["arm"] == "mask"])
        axes.set_title(name.format(len({r["task"] for r in runs})), fontsize=9)
    left.set_ylabel("mean score, points")
    in_words = FuncFormatter(lambda x, _: f"{x / 1e6:g} MB" if x >= 1e6 else f"{x / 1e3:g} KB")
    for axes in (left, middle):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(in_words)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("bytes a task, its head included")
        axes.margins(x=0.16, y=0.12)
    middle.set_xticks([1e5, 1e6, 1e7, 1e8], ["100 KB", "", "10 MB", ""])

    ticks = []
    for name, runs, color in [
        ("MiniLM, report tasks", report(), "#b3402a"),
        ("MPNet", mpnet(), "#d99a6c"),
    ]:
        found = sorted(differences(runs, "mask").items(), key=lambda item: item[1])
        at = len(ticks) + 0.6 * bool(ticks)
        for i, (task, difference) in enumerate(found):
            right.plot(difference, at + i, "s", color=color, markersize=5)
            ticks.append((at + i, task))
        middle_, half = interval([d for _, d in found])
        at += len(found)
        right.errorbar(middle_, at, xerr=half, fmt="D", color="#333333", markersize=5, capsize=3, linewidth=1)
        ticks.append((at, f"mean, {name}"))
    right.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=7.5)
    right.axvline(0, color="#35566e", linewidth=1)
    right.set_xlabel("points to full fine-tuning")
    right.set_title("Masks beside full fine-tuning, by task;\nmeans with 95% intervals over tasks", fontsize=9)
    for axes in (left, middle, right):
        axes.grid(alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def place(axes, arm, count, score):
    ours = arm.startswith("mask")
    axes.plot(count, score, "s" if ours else "o", color="#b3402a" if ours else "#35566e", markersize=6)
    x, y, side = {"full": (6, 7, "right"), "scale": (7, -8, "left")}.get(arm, (7, -3, "left"))
    axes.annotate(ABOUT[arm], (count, score), textcoords="offset points", xytext=(x, y), ha=side, fontsize=7.5)


def smaller(axes, runs):
    """The masks with a half and a quarter of their zeros, those of the lowest scores."""
    points = []
    for share, key in [(1, "score"), (0.5, "share_0.5"), (0.25, "share_0.25")]:
        sizes = [size({**r, "zeros": [share * z for z in r["zeros"]]}) for r in runs]
        scores = [mean(r[key] for r in group) for group in by(runs, "task").values()]
        points.append((mean(sizes), mean(scores)))
    axes.plot(*zip(*points), "-s", color="#b3402a", markersize=3, linewidth=0.8)
    axes.annotate("half of its zeros", points[1], textcoords="offset points", xytext=(6, -9), fontsize=6.5)
    axes.annotate("a quarter", points[2], textcoords="offset points", xytext=(6, -3), fontsize=6.5)


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--picture", type=Path)
    args.add_argument("--slim", action="store_true")
    args = args.parse_args()
    if args.slim:
        slim()
    elif args.picture:
        picture(args.picture)
    else:
        tables()


if __name__ == "__main__":
    main()
