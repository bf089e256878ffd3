"""Long runs against a real server: that every answer is right while tasks change, and what too much
work and a killed server do.

    make build base
    python3 bench/soak.py mixed overload killed > bench/results/soak-<date>.md

`mixed`: 32 clients ask 100,000 times, of random tasks, while one more adds, replaces and removes
tasks. Every answer must be the task's own, as `linocut predict` gives it, of a version that served
between question and answer; memory must end within 5% of where it was after the first 5,000, with
the same versions in place.
`overload`: twice as many clients as the server takes, for 60 s: nothing but 200 and 429, the slowest
accepted answer bounded by the queue, and no refusal as soon as it is over.
`killed`: SIGKILL in the middle of uploads, 20 times: after a restart the task answers as one of the
two versions, whole.

Cuts are trained here on a little of the bundled data, masks and layers. Needs Python alone.
"""

import argparse
import csv
import datetime
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

DATA = Path("data/debian")
TASKS = ["section", "role", "interface", "implemented_in"]
BOUND = 5e-5  # of a probability: half of 1e-5 · |largest logit|, which is below 10 here


def run(argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))}\n{done.stderr}")
    return done.stdout


class Server:
    def __init__(self, args, folder, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = open(folder.parent / "server.log", "a")
        argv = [args.linocut, "serve", "--base", args.base, "--cuts", folder, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen([str(a) for a in [*argv, *options]], stderr=self.log)
        for _ in range(600):
            try:
                if self.call("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"the server ended: see {self.log.name}")
            time.sleep(0.1)
        sys.exit("the server did not come up")

    def client(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def call(self, method, path, body=None, client=None):
        own = client or self.client()
        headers = {"content-type": "application/json"}
        own.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
        answer = own.getresponse()
        text = answer.read()
        if client is None:
            own.close()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(text) if text and kind == "application/json" else text

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1e3

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        if code:
            sys.exit(f"the server ended with {code}: see {self.log.name}")


def make(args, folder):
    """Two versions of every task, and what each says of every text: {task: [(bytes, answers)]}."""
    with open(DATA / "dev.tsv", newline="") as rows:
        texts = [row["text"].split() for row in csv.DictReader(rows, delimiter="\t")][:200]
    # Short ones, of 1 to 8 words: more requests in the time there is.
    texts = [" ".join(words[: 1 + i % 8]) for i, words in enumerate(texts)]
    (folder / "texts.tsv").write_text("text\n" + "\n".join(texts) + "\n")
    with open(DATA / "train.tsv", newline="") as rows:
        train = list(csv.DictReader(rows, delimiter="\t"))
    versions = {}
    for task in TASKS:
        labelled = [row for row in train if row[task]][:320]
        with open(folder / f"{task}.tsv", "w", newline="") as file:
            writer = csv.DictWriter(file, ["text", task], delimiter="\t", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(labelled)
        versions[task] = []
        for seed, method in [(1, ["mask", "--init-scale", "2", "--mask-lr", "1"]), (2, ["layers", "--layers", "4-5"])]:
            cut, out = folder / f"{task}-{seed}.cut", folder / f"{task}-{seed}.jsonl"
            run([args.linocut, "train", "--base", args.base, "--train", folder / f"{task}.tsv", "--text", "text",
                 "--label", task, "--epochs", "1", "--seed", seed, "--method", *method, "--out", cut, "--quiet"])
            run([args.linocut, "predict", cut, "--base", args.base, "--in", folder / "texts.tsv", "--out", out, "--scores"])
            answers = [json.loads(line)["scores"] for line in out.read_text().splitlines()]
            versions[task].append((cut.read_bytes(), answers))
    return texts, versions


def same(found, expected):
    return all(abs(s["score"] - expected[s["label"]]) <= BOUND for s in found) and len(found) == len(expected)


def mixed(args, folder):
    texts, versions = make(args, folder)
    cuts = folder / "mixed"
    cuts.mkdir()
    server = Server(args, cuts)
    lock, serving, wrong, asked, gone = threading.Lock(), {}, [], [0], [0]
    # serving: by name, what it may have been: (version or None, from, until)
    began = time.time()

    def change(name, task, version):
        """Puts a version in place, or removes the task; both may be seen until it is done."""
        with lock:
            history = serving.setdefault(name, [(None, 0.0, None)])
            history.append((version, time.time(), None))
        if version is None:
            status, body = server.call("DELETE", f"/v1/tasks/{name}")
        else:
            status, body = server.call("PUT", f"/v1/tasks/{name}", versions[task][version][0])
        if status not in (200, 201, 204):
            wrong.append(f"change of {name}: {status} {body}")
        with lock:
            before, since, _ = history[-2]
            history[-2] = (before, since, time.time())

    names = [f"{task}-{i}" for task in TASKS for i in range(6)]
    of = {name: name.rsplit("-", 1)[0] for name in names}
    for name in names:
        change(name, of[name], 0)
    stop = threading.Event()

    def changer(seed):
        draw = random.Random(seed)
        while not stop.is_set():
            removed = [name for name in names if serving[name][-1][0] is None]
            name = draw.choice(removed or names)
            current = serving[name][-1][0]
            change(name, of[name], draw.choice([v for v in (0, 1, None) if v != current]) if current is not None else draw.randrange(2))
            time.sleep(0.25)

    def asker(seed, end):
        draw, client = random.Random(seed), server.client()
        while True:
            with lock:
                if asked[0] >= end:
                    return
                asked[0] += 1
            rows = [draw.randrange(len(texts)) for _ in range(draw.choice([1, 1, 1, 2]))]
            tasks = draw.sample(names, draw.choice([1, 1, 1, 3]))
            start = time.time()
            body = {"inputs": [texts[r] for r in rows], "tasks": tasks}
            status, found = server.call("POST", "/v1/predict", body, client)
            done = time.time()

            def versions_of(name):
                with lock:
                    return {v for v, since, until in serving[name] if since <= done and (until is None or until >= start)}

            if status == 200:
                for row, result in zip(rows, found["results"], strict=True):
                    for name, answer in zip(tasks, result["answers"], strict=True):
                        possible = versions_of(name) - {None}
                        if answer["task"] != name or not any(same(answer["scores"], versions[of[name]][v][1][row]) for v in possible):
                            wrong.append(f"{name} on row {row}: {answer}, of versions {possible}")
            elif status in (404, 422) and any(None in versions_of(name) for name in tasks):
                gone[0] += 1
            else:
                wrong.append(f"{status}: {found}")

    def phase(end):
        """Asks until `end` requests, then puts every task's first version back: memory in MB."""
        stop.clear()
        threads = [threading.Thread(target=asker, args=(32 * end + i, end)) for i in range(32)]
        changes = threading.Thread(target=changer, args=(end,))
        for t in [*threads, changes]:
            t.start()
        for t in threads:
            t.join()
        stop.set()
        changes.join()
        for name in names:
            change(name, of[name], 0)
        for name in names:
            server.call("POST", "/v1/predict", {"inputs": texts[:32], "tasks": [name]})
        return server.memory()

    early = phase(args.requests // 20)
    late = phase(args.requests)
    count = sum(len(h) - 1 for h in serving.values())
    server.stop()
    print(f"\n## mixed\n\n{asked[0]:,} requests of 32 clients in {time.time() - began:.0f} s, {count:,} changes of 24 tasks meanwhile: "
          f"{len(wrong)} wrong, {gone[0]:,} of a task that was gone just then. "
          f"Memory {early:.0f} MB after the first {args.requests // 20:,}, {late:.0f} MB at the end ({late / early - 1:+.1%}).")
    return wrong[:10] + ([f"memory {early} to {late} MB"] if late > 1.05 * early else [])


def overload(args, folder):
    cuts = folder / "overload"
    cuts.mkdir()
    run([args.linocut, "train", "--base", args.base, "--train", DATA / "train.tsv", "--text", "text", "--label", "role",
         "--limit", "320", "--epochs", "1", "--method", "head", "--out", cuts / "role.cut", "--quiet"])
    places = 16
    server = Server(args, cuts, "--max-requests", places)
    texts = [f"library number {i} for reading many kinds of files " * 8 for i in range(50)]
    counts, times, lock, until = {}, [], threading.Lock(), time.time() + args.seconds

    def client(seed):
        draw, own = random.Random(seed), server.client()
        while time.time() < until:
            start = time.time()
            body = {"inputs": [draw.choice(texts) for _ in range(8)], "tasks": ["role"]}
            status, _ = server.call("POST", "/v1/predict", body, own)
            with lock:
                counts[status] = counts.get(status, 0) + 1
                if status == 200:
                    times.append(time.time() - start)
            if status == 429:
                time.sleep(0.02)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(2 * places)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    after = [server.call("POST", "/v1/predict", {"inputs": "a library", "tasks": ["role"]})[0] for _ in range(20)]
    server.stop()
    times.sort()
    p = lambda q: 1e3 * times[int(q * (len(times) - 1))]
    bound = 1e3 * 3 * places * statistics.mean(times) / places
    print(f"\n## overload\n\n{2 * places} clients on {places} places for {args.seconds} s: statuses {counts}; "
          f"accepted p50 {p(0.5):.0f} ms, p99 {p(0.99):.0f} ms, slowest {1e3 * times[-1]:.0f} ms; right after it {after.count(200)} of 20 answered.")
    wrong = [f"statuses {counts}"] if set(counts) - {200, 429} else []
    wrong += [f"p99 {p(0.99)} ms above {bound} ms"] if p(0.99) > bound else []
    return wrong + ([f"after it {after}"] if set(after) != {200} else [])


def killed(args, folder):
    cuts = folder / "killed"
    cuts.mkdir()
    files = []
    for seed in [1, 2]:
        cut = folder / f"killed-{seed}.cut"
        run([args.linocut, "train", "--base", args.base, "--train", DATA / "train.tsv", "--text", "text", "--label", "role",
             "--limit", "320", "--epochs", "1", "--seed", seed, "--method", "layers", "--layers", "4-5", "--out", cut, "--quiet"])
        files.append(cut.read_bytes())
    (cuts / "role.cut").write_bytes(files[0])
    wrong, kept = [], [0, 0]
    server = Server(args, cuts)
    started = time.time()
    server.call("PUT", "/v1/tasks/role", files[0])
    undisturbed = time.time() - started
    server.stop()
    for turn in range(20):
        server = Server(args, cuts)
        before = (cuts / "role.cut").read_bytes()
        new = files[1 - files.index(before)]

        def upload():
            try:
                server.call("PUT", "/v1/tasks/role", new)
            except (OSError, http.client.HTTPException):
                pass  # it was killed

        thread = threading.Thread(target=upload)
        thread.start()
        time.sleep(undisturbed * turn / 13)
        server.process.kill()
        server.process.wait()
        thread.join()
        found = (cuts / "role.cut").read_bytes()
        if found not in files:
            wrong.append(f"turn {turn}: a file of {len(found)} bytes that is neither version")
        else:
            kept[found == new] += 1
        server = Server(args, cuts)
        status, answer = server.call("POST", "/v1/predict", {"inputs": "a library", "tasks": ["role"]})
        if status != 200:
            wrong.append(f"turn {turn}: {status} {answer}")
        server.stop()
    print(f"\n## killed\n\n20 times SIGKILL, from the start of an upload of {len(files[0]):,} bytes to 1.5 times the {1e3 * undisturbed:.0f} ms that one takes undisturbed: {kept[0]} times the old version "
          f"served after the restart, {kept[1]} times the new, {len(wrong)} times neither.")
    return wrong


def main():
    p = argparse.ArgumentParser()
    p.add_argument("what", nargs="+", choices=["mixed", "overload", "killed"])
    p.add_argument("--linocut", default="target/release/linocut")
    p.add_argument("--base", default="models/all-minilm-l6-v2")
    p.add_argument("--requests", type=int, default=100_000)
    p.add_argument("--seconds", type=int, default=60)
    args = p.parse_args()
    print(f"# Soak, {datetime.date.today()}\n\n`python3 bench/soak.py {' '.join(sys.argv[1:])}`")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for what in args.what:
            for line in globals()[what](args, Path(folder)):
                failed = True
                print(f"\n**wrong**: {line}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
