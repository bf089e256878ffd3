"""Prints a plan for `study.py`: which arms, with which numbers, on which tasks.

    python bench/gpu/plans.py selection all-minilm-l6-v2 > plan.json
"""

import itertools
import json
import sys

SELECTION = ["trec6", "tweet_irony", "cola", "mrpc", "cr", "debian-section", "mr", "mpqa", "debian-role"]
REPORT = ["sst2", "rte", "stsb", "banking77", "clinc150", "snips", "sms_spam", "tweet_offensive", "ag_news_10k", "goemotions"]
SIX = ["q", "k", "v", "o", "i", "f"]


def grid(**axes):
    return [dict(zip(axes, values)) for values in itertools.product(*axes.values())]


def selection():
    """Arms with the numbers that are tried for each, those that matter most first."""
    masks = grid(mask_lr=[0.1, 0.2], c=[4, 6], dropout=[0.05, 0.0, 0.1])
    masks += [dict(mask_lr=0.1, c=6, dropout=0.05, **more) for more in [dict(head_lr=3e-3), dict(head_lr=1e-2)]]
    masks += grid(mask_lr=[0.1, 0.2], c=[6], dropout=[0.05], above=[0.5, 0.25, 0.125])
    yield "mask", {"mask": "entry"}, masks
    yield "full", {"train": "full"}, grid(lr=[5e-5, 1e-4, 2e-4, 4e-4], dropout=[0.1, 0.0]) + [dict(lr=1e-4, head_lr=3e-3)]
    low = grid(lr=[1e-3, 3e-3, 1e-2], dropout=[0.1, 0.0])
    yield "lora-all-1", {"rank": 1}, low
    yield "lora-qv-1", {"rank": 1, "matrices": ["q", "v"]}, low
    yield "bias", {"train": "bias"}, low
    yield "scale", {"scale": True}, low
    yield "lora-all-4", {"rank": 4}, low
    yield "lora-qv-4", {"rank": 4, "matrices": ["q", "v"]}, low
    yield "mask+bias", {"train": "bias", "mask": "entry"}, grid(mask_lr=[0.1], c=[6], lr=[1e-3, 3e-3], dropout=[0.05, 0.0])
    yield "mask+scale", {"scale": True, "mask": "entry"}, grid(mask_lr=[0.1], c=[6], lr=[1e-3, 3e-3], dropout=[0.05, 0.0])
    yield "vera-256", {"vera": 256}, grid(lr=[3e-3, 1e-2, 3e-2], dropout=[0.1, 0.0])
    for unit in ["block", "row", "column"]:
        yield f"mask-{unit}", {"mask": unit}, grid(mask_lr=[0.1, 0.3], c=[3, 6], dropout=[0.05])
    yield "kinds", {"train": "kinds", "kinds": ["v", "o", "f"]}, grid(lr=[1e-4, 2e-4, 4e-4], dropout=[0.1, 0.0])
    yield "top-half", {"train": "layers", "layers": [3, 4, 5]}, grid(lr=[1e-4, 2e-4, 4e-4], dropout=[0.1, 0.0])
    yield "head", {}, grid(head_lr=[1e-3, 3e-3, 1e-2, 3e-2], dropout=[0.1, 0.0])


def second():
    """A second look at masks, and the same freedom for what they are compared with; two seeds."""
    mask = dict(mask_lr=0.1, c=6, dropout=0.05, head_lr=3e-3)
    runs = [dict(mask, above=0.25), dict(mask, above=0.25, dropout=0.0), dict(mask, dropout=0.0), dict(mask)]
    runs += [dict(mask, above=0.25, c=8, mask_lr=0.15), dict(mask, above=0.25, mask_lr=0.15)]
    runs += [dict(mask, above=0.125, mask_lr=0.2)]
    yield "mask", {"mask": "entry"}, runs
    both = dict(mask, above=0.25, dropout=0.0)
    yield "mask+scale", {"scale": True, "mask": "entry"}, [dict(both, lr=3e-3), dict(both, lr=1e-2)]
    yield "lora-all-1", {"rank": 1}, [dict(lr=lr, dropout=0.0, head_lr=h) for lr, h in [(3e-3, 1e-3), (3e-3, 3e-3), (5e-3, 3e-3), (2e-3, 3e-3)]]
    yield "full", {"train": "full"}, [dict(lr=lr, dropout=0.0, head_lr=h) for lr, h in [(1e-4, 1e-3), (1e-4, 3e-3), (5e-5, 3e-3)]]
    yield "mask+bias", {"train": "bias", "mask": "entry"}, [dict(both, lr=3e-3)]
    yield "head", {}, [dict(head_lr=h, dropout=0.0) for h in [1e-3, 3e-3, 1e-2, 3e-2]]


def more():
    """Arms that the first look left out, and pairs for longer."""
    low = grid(lr=[1e-3, 3e-3, 1e-2], dropout=[0.1, 0.0])
    yield "vera-256", {"vera": 256}, grid(lr=[3e-3, 1e-2, 3e-2], dropout=[0.1, 0.0])
    yield "mask+bias", {"train": "bias", "mask": "entry"}, [CHOSEN["mask"] | run for run in grid(lr=[1e-3, 3e-3])]
    yield "lora-all-8", {"rank": 8}, grid(lr=[3e-4, 1e-3, 3e-3], dropout=[0.1, 0.0])
    for unit in ["block", "row", "column"]:
        yield f"mask-{unit}", {"mask": unit}, grid(mask_lr=[0.1, 0.3], c=[3, 6], dropout=[0.0], head_lr=[3e-3])
    yield "kinds", {"train": "kinds", "kinds": ["v", "o", "f"]}, grid(lr=[1e-4, 2e-4], dropout=[0.0])
    yield "top-half", {"train": "layers", "layers": [3, 4, 5]}, grid(lr=[1e-4, 2e-4], dropout=[0.0])
    yield "lora-all-2", {"rank": 2}, low


def slim_ways():
    """Ways to choose what a slim task keeps, on tasks that are not reported; two seeds."""
    runs = [CHOSEN["mask"] | {"compute": share} for share in (0.5, 0.33)]
    for way in ["group", "neuron", "layers", "top", "twice", "size", "drawn"]:
        yield f"slim-{way}", {"mask": "entry", "slim": way}, runs
    yield "slim-group+teacher", {"mask": "entry", "slim": "group", "teacher": CHOSEN["full"]}, runs
    yield "mask", {"mask": "entry"}, [CHOSEN["mask"]]
    yield "full", {"train": "full"}, [CHOSEN["full"]]


def slim_report():
    """Slim tasks with masks and with trained layers, at three shares, by linocut's way and by the best of the others."""
    shares = [{"compute": share} for share in (0.75, 0.5, 0.33)]
    trained = {"train": "layers", "layers": list(range(6))}
    for way in ["group", "drawn"]:
        yield f"slim-{way}", {"mask": "entry", "slim": way}, [CHOSEN["mask"] | share for share in shares]
        yield f"slim-{way}-layers", trained | {"slim": way}, [CHOSEN["full"] | share for share in shares]
    taught = {"mask": "entry", "slim": "group", "teacher": CHOSEN["full"]}
    yield "slim-group+teacher", taught, [CHOSEN["mask"] | share for share in shares]
    yield "mask", {"mask": "entry"}, [CHOSEN["mask"]]
    yield "full", {"train": "full"}, [CHOSEN["full"]]


def teachers():
    """Masks with and without a teacher."""
    yield "mask", {"mask": "entry"}, [CHOSEN["mask"]]
    yield "mask+teacher", {"mask": "entry", "teacher": CHOSEN["full"]}, [CHOSEN["mask"]]
    yield "full", {"train": "full"}, [CHOSEN["full"]]


#: The numbers that were best on the selection tasks, which report tasks and other bases are run with.
CHOSEN = {
    "mask": dict(mask_lr=0.1, c=6, dropout=0, head_lr=3e-3, above=0.25),
    "full": dict(lr=1e-4, dropout=0),
    "lora-all-1": dict(lr=3e-3, dropout=0),
    "lora-qv-4": dict(lr=3e-3, dropout=0),
    "scale": dict(lr=1e-2, dropout=0),
    "bias": dict(lr=3e-3, dropout=0),
    "head": dict(head_lr=1e-2, dropout=0),
    "lora-all-4": dict(lr=1e-3, dropout=0.1),
    "lora-qv-1": dict(lr=3e-3, dropout=0),
    "paper": dict(lr=1e-4, dropout=0),
    "top-half": dict(lr=1e-4, dropout=0),
    "bottom-half": dict(lr=1e-4, dropout=0),
}
ARMS = {
    "mask": {"mask": "entry"}, "full": {"train": "full"}, "lora-all-1": {"rank": 1},
    "lora-qv-4": {"rank": 4, "matrices": ["q", "v"]}, "scale": {"scale": True}, "bias": {"train": "bias"}, "head": {},
    "lora-all-4": {"rank": 4}, "lora-qv-1": {"rank": 1, "matrices": ["q", "v"]}, "paper": {"train": "paper"},
    "top-half": {"train": "layers", "layers": [6, 7, 8, 9, 10, 11]},
    "bottom-half": {"train": "layers", "layers": [0, 1, 2, 3, 4, 5]},
}  # fmt: skip


def main():
    what, base = sys.argv[1:]
    seeds, tasks, limit, epochs = [0], SELECTION[:6], 4000, [5]
    halves = ["paper", "top-half", "bottom-half"]
    if what == "selection":
        arms = selection()
    elif what == "second":
        arms, seeds = second(), [1, 2]
    elif what == "more":
        arms = more()
    elif what == "longer":
        arms, tasks, seeds, epochs = [(n, ARMS[n], [CHOSEN[n]]) for n in ["mask", "full", "lora-all-1"]], ["mrpc", "cola"], [0, 1, 2], [10, 20]
    elif what == "slim-ways":
        arms, tasks, seeds = slim_ways(), ["cola", "cr", "mr", "mpqa"], [0, 1]
    elif what == "slim":
        arms, tasks, seeds, limit = slim_report(), ["trec6", "tweet_irony", "sst2", "mrpc"], [0, 1, 2], 10_000
    elif what == "teachers":
        arms, tasks, seeds, limit = teachers(), ["rte", "mrpc", "stsb"], [0, 1, 2], 10_000
    elif "mpnet" in base:
        arms = [(n, ARMS[n], [CHOSEN[n]]) for n in ["mask", "full", "lora-all-1", "head", "scale", *halves]]
        tasks, seeds, limit = ["trec6", "tweet_irony", "cola", "sst2", "mrpc", "rte", "snips", "stsb"], [0, 1], 3000
    else:
        arms = [(n, ARMS[n], [CHOSEN[n]]) for n in ARMS if n not in halves]
        tasks, seeds = REPORT, [0, 1, 2]
    plan = []
    for name, arm, runs in arms:
        for task in tasks:
            for count in epochs:
                group = {"base": base, "task": task, "name": name, "arm": arm, "limit": limit, "epochs": count}
                group["runs"] = [{"seed": seed} | run for seed in seeds for run in runs]
                group |= {"shares": [0.5, 0.25] if "mask" in name else [], "save": what == "report"}
                plan.append(group)
    print(json.dumps(plan))


if __name__ == "__main__":
    main()
