"""What a short text waits for beside the largest requests that the server takes.

    make build base
    python3 bench/fairness.py > bench/results/fairness-<date>.md

Five tasks, masks, layers and heads, trained here on a little of the bundled data. A client asks one task of
four words, one request at a time: alone, then while others ask without pause
`texts`: 32 texts of about 2,600 characters for all tasks,
`floods`: 19 texts of 100 kB without a space,
`pairs`: ten pairs of texts of 100 kB.
Wanted is a 99th percentile of at most twice that alone and one batch (50 ms), 250 ms together, and
no answer of the server with status 500 or more. Needs Python alone.
"""

import argparse
import datetime
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from soak import DATA, Server, run

TASKS = ["mask-1", "mask-2", "layers", "head"]

WORDS = "the quick brown fox jumps over lazy dogs while parcels wait in customs "
BATCH = 0.05


def train(args, folder):
    """Cuts of five tasks: four on texts, one on pairs."""
    common = ["--base", args.base, "--max-length", "128", "--epochs", "1", "--quiet"]
    mask = ["mask", "--init-scale", "2", "--mask-lr", "1"]
    methods = [mask, mask, ["layers", "--layers", "4-5"], ["head"]]
    for seed, (task, method) in enumerate(zip(TASKS, methods)):
        run([args.linocut, "train", "--train", DATA / "train.tsv", "--text", "text", "--label", "role", "--limit", "320",
             "--seed", seed, "--method", *method, *common, "--out", folder / f"{task}.cut"])
    pairs = folder.parent / "pairs.tsv"
    rows = [(f"{WORDS}{i}", b, label) for i in range(20) for b, label in [(WORDS, "same"), ("it rains today", "other")]]
    pairs.write_text("sentence1\tsentence2\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows))
    argv = ["--train", pairs, "--method", "head", *common, "--out", folder / "pair.cut"]
    run([args.linocut, "train", *argv])


def large(kind, client):
    """A body as large as the server takes."""
    if kind == "texts":
        text = (WORDS * 40)[:2600]
        return {"inputs": [f"{client} {i} {text}" for i in range(32)], "tasks": TASKS}
    if kind == "floods":
        return {"inputs": ["." * 99_990 + str(i) for i in range(19)], "tasks": TASKS}
    text = (WORDS * 2000)[:95_000]
    return {"inputs": [[f"{client} {text}", f"{i} {text}"] for i in range(10)], "tasks": ["pair"]}


def ask(server, seconds, least):
    """Times of a short text, sorted, and the statuses it got."""
    client, times, statuses = server.client(), [], {}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times) < least:
        start = time.perf_counter()
        body = {"inputs": "where is my parcel", "tasks": ["mask-1"]}
        status, _ = server.call("POST", "/v1/predict", body, client)
        times.append(time.perf_counter() - start)
        statuses[status] = statuses.get(status, 0) + 1
        time.sleep(0.01)
    return sorted(times), statuses


def beside(server, kind, clients, seconds):
    stop, statuses, lock = threading.Event(), {}, threading.Lock()

    def work(number):
        client, body = server.client(), json.dumps(large(kind, number)).encode()
        while not stop.is_set():
            status, _ = server.call("POST", "/v1/predict", body, client)
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
            # As `retry-after` says; in a loop without it the clients would take the processors measured.
            if status == 429:
                time.sleep(1)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    times, mine = ask(server, seconds, 20)
    stop.set()
    for thread in threads:
        thread.join(60)
    return times, mine, statuses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--linocut", default="target/release/linocut")
    parser.add_argument("--base", default="models/all-minilm-l6-v2")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--note", default="", help="a line on the machine for the result")
    args = parser.parse_args()
    print(f"# A short text beside large requests, {datetime.date.today()}\n")
    print(f"`python3 bench/fairness.py --clients {args.clients}`, {os.cpu_count()} processors. {args.note}\n")
    print("| beside | requests | p50 ms | p99 ms | wanted p99 | its statuses | the others' |")
    print("|---|---|---|---|---|---|---|")

    def row(what, times, wanted, mine, others):
        at = lambda share: 1e3 * times[min(int(share * len(times)), len(times) - 1)]
        said = lambda counts: ", ".join(f"{n} × {status}" for status, n in sorted(counts.items())) or "–"
        print(f"| {what} | {len(times)} | {at(0.5):.1f} | {at(0.99):.1f} | {wanted} | {said(mine)} | {said(others)} |", flush=True)
        return at(0.99)

    with tempfile.TemporaryDirectory() as folder:
        cuts = Path(folder) / "cuts"
        cuts.mkdir()
        train(args, cuts)
        server = Server(args, cuts)
        ask(server, 1, 20)
        alone = row("nobody", *[(t := ask(server, args.seconds, 100))[0], "–", t[1]], {})
        wanted = f"≤ {min(2 * alone + 1e3 * BATCH, 250):.0f}"
        for kind in ("texts", "floods", "pairs"):
            times, mine, others = beside(server, kind, args.clients, args.seconds)
            row(f"{args.clients} × {kind}", times, wanted, mine, others)
        server.process.terminate()
        server.process.wait(60)


if __name__ == "__main__":
    main()
