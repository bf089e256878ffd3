"""Exports pushed to the hub: `linocut export --push` and the hub's own client speak to one server, which takes both alike."""

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

ROOT = Path(__file__).parents[2]
LINOCUT = ROOT / "target/debug/linocut"
PART = 1 << 20


class Hub(http.server.ThreadingHTTPServer):
    """The hub as far as pushes go: accounts, models, Git LFS (files from `multipart` bytes on in parts), commits."""

    def __init__(self, multipart):
        super().__init__(("127.0.0.1", 0), Handler)
        self.multipart, self.models, self.objects, self.parts, self.log, self.role, self.ignored = multipart, {}, {}, {}, [], "write", []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=None, headers=()):
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("content-length", str(len(content))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle_request(self):
        hub, path = self.server, self.path.split("?")[0]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        hub.log.append(f"{self.command} {path}")
        if self.command == "PUT":
            # Addresses that are signed: they need no token, and must not get one.
            assert "authorization" not in self.headers and "signature=" in self.path
            _, kind, digest, *number = path.split("/")
            if kind == "part":
                hub.parts[digest, int(number[0])] = body
                return self.answer(200, headers=[("etag", f'"{hashlib.md5(body).hexdigest()}"')])
            assert hashlib.sha256(body).hexdigest() == digest
            hub.objects[digest] = body
            return self.answer(200)
        if path.startswith("/complete/"):
            digest, told = path.split("/")[2], json.loads(body)
            parts = [hub.parts.pop((digest, part["partNumber"])) for part in told["parts"]]
            assert [part["etag"].strip('"') for part in told["parts"]] == [hashlib.md5(part).hexdigest() for part in parts]
            assert told["oid"] == digest == hashlib.sha256(b"".join(parts)).hexdigest()
            hub.objects[digest] = b"".join(parts)
            return self.answer(200, {})
        if self.headers.get("authorization") != "Bearer hf_right":
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/whoami-v2":
            return self.answer(200, {"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": hub.role}}})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/verify":
            told = json.loads(body)
            return self.answer(200 if len(hub.objects[told["oid"]]) == told["size"] else 422, {})
        if path == "/api/repos/create":
            told = json.loads(body)
            if told["organization"] != "me":
                return self.answer(403, {"error": "You don't have the rights to create a model there"})
            name = f"{told['organization']}/{told['name']}"
            answer = {"url": f"{hub.url}/{name}", "name": name, "id": name}
            if name in hub.models:
                return self.answer(409, {"error": "You already created this model repo", **answer})
            hub.models[name] = {"files": {}, "commits": [], "private": told.get("private", False)}
            return self.answer(200, answer)
        if found := re.fullmatch("/api/models/(.+)/preupload/main", path):
            files = json.loads(body)["files"]
            for file in files:
                assert len(base64.b64decode(file["sample"])) == min(file["size"], 512)
            mode = lambda file: "lfs" if file["path"].endswith((".safetensors", ".onnx")) else "regular"
            ignored = lambda file: file["path"] in hub.ignored
            return self.answer(200, {"files": [{"path": f["path"], "uploadMode": mode(f), "shouldIgnore": ignored(f)} for f in files]})
        if found := re.fullmatch("/(.+).git/info/lfs/objects/batch", path):
            told = json.loads(body)
            assert told["operation"] == "upload" and told["hash_algo"] == "sha256" and "multipart" in told["transfers"]
            return self.answer(200, {"transfer": "basic", "objects": [self.upload(one) for one in told["objects"]]})
        if found := re.fullmatch("/api/models/(.+)/commit/main", path):
            assert self.headers["content-type"] == "application/x-ndjson"
            header, *lines = [json.loads(line) for line in body.splitlines()]
            assert header["key"] == "header" and header["value"]["summary"]
            model = hub.models[found[1]]
            for line in lines:
                value = line["value"]
                if line["key"] == "lfsFile":
                    content = hub.objects[value["oid"]]
                    assert value["algo"] == "sha256" and value["size"] == len(content)
                else:
                    assert line["key"] == "file" and value["encoding"] == "base64"
                    content = base64.b64decode(value["content"])
                model["files"][value["path"]] = content
            model["commits"].append(header["value"]["summary"])
            commit = f"{len(model['commits']):040x}"
            return self.answer(200, {"commitUrl": f"{hub.url}/{found[1]}/commit/{commit}", "commitOid": commit, "success": True})
        if found := re.fullmatch("/api/models/(.+?)(/revision/main)?", path):
            return self.answer(200, {"id": found[1], "sha": "0" * 40, "siblings": [], "private": hub.models[found[1]]["private"]})
        return self.answer(404, {"error": f"there is nothing at {path}"})

    def upload(self, one):
        hub, digest = self.server, one["oid"]
        if digest in hub.objects:
            return one
        signed = "?signature=secret"
        if one["size"] < hub.multipart:
            upload = {"href": f"{hub.url}/whole/{digest}{signed}"}
        else:
            numbers = range(1, -(-one["size"] // PART) + 1)
            parts = {f"{number:05d}": f"{hub.url}/part/{digest}/{number}{signed}" for number in numbers}
            upload = {"href": f"{hub.url}/complete/{digest}{signed}", "header": {"chunk_size": str(PART), **parts}}
        return {**one, "actions": {"upload": upload, "verify": {"href": f"{hub.url}/verify"}}}

    do_GET = do_POST = do_PUT = handle_request


@pytest.fixture(params=[1 << 40, 1 << 20], ids=["whole", "parts"])
def hub(request):
    hub = Hub(request.param)
    yield hub
    hub.shutdown()
    hub.server_close()


@pytest.fixture(scope="session")
def head(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("push") / "head.cut"
    cut.save(path)
    return path


def push(hub, *args, token="hf_right", fails=False, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LINOCUT_"))}
    env = {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": "none", "LINOCUT_BASE": str(ROOT / "models/all-minilm-l6-v2"), "HF_TOKEN": token, **more}
    done = subprocess.run([LINOCUT, "export", *map(str, args)], env=env, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_the_hub_gets_what_its_own_client_would_send(hub, head, tmp_path, monkeypatch):
    out = tmp_path / "out"
    said = push(hub, head, "--out", out, "--push", "me/queue", "--private", "--quiet")
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    assert hub.models["me/queue"]["files"] == files and hub.models["me/queue"]["private"]
    assert f"{hub.url}/me/queue: {len(files)} files in commit {1:040x}, 90." in said, said

    # The hub's own client, from nothing, leaves the same.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.objects.clear()
    api = HfApi(endpoint=hub.url, token="hf_right")
    api.create_repo("me/by-hand", exist_ok=True)
    api.upload_folder(repo_id="me/by-hand", folder_path=out)
    assert hub.models["me/by-hand"]["files"] == files

    # What it has is not sent again; a folder that is only pushed is nowhere else.
    hub.log.clear()
    said = push(hub, head, "--push", "me/queue", "--quiet")
    assert "large ones were there already" in said and "me/queue: LinocutForSequenceClassification" in said, said
    assert not any(line.startswith("PUT") for line in hub.log)
    assert len(hub.models["me/queue"]["commits"]) == 2


def test_mistakes_cost_no_work(hub, head, tmp_path):
    for name, more, said in [
        ("queue", {}, 'is "queue", expected owner/name'),
        ("me/queue", {"HF_TOKEN": ""}, "set HF_TOKEN to a token that may write"),
        ("me/queue", {"HF_TOKEN": "hf_wrong"}, "the hub does not know the token"),
        ("me/queue", {"HF_TOKEN": "hf wrong"}, "there is no usable token of the hub"),
        ("me/queue", {"HF_ENDPOINT": "hub.example"}, 'HF_ENDPOINT is "hub.example"'),
        ("me/queue", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9/api/whoami-v2: the hub does not answer"),
    ]:
        found = push(hub, head, "--push", name, "--out", tmp_path / "out", fails=True, **more)
        assert said in found, found
        assert not (tmp_path / "out").exists()
    hub.role = "read"
    assert "the token may only read" in push(hub, head, "--push", "me/queue", fails=True)
    hub.role = "write"
    # Whether somebody may write for another is known by the hub alone, when it is asked to.
    found = push(hub, head, "--push", "others/queue", "--quiet", fails=True)
    assert "me may not make the model others/queue on the hub" in found, found
    assert not hub.models and "hf_right" not in found


def test_nothing_is_published_or_left_out_unasked(hub, head):
    hub.models["me/queue"] = {"files": {}, "commits": [], "private": False}
    assert "is not private" in push(hub, head, "--push", "me/queue", "--private", fails=True)
    hub.ignored = ["tokenizer.json"]
    assert "the model's own rules leave out tokenizer.json" in push(hub, head, "--push", "me/queue", fails=True)
    assert hub.models["me/queue"]["commits"] == []
