"""Generates a Python client from a running server's description and uses every operation of it.

    pip install openapi-python-client
    linocut serve --base BASE --cuts CUTS &
    python reference/check_client.py http://127.0.0.1:8080 spare.cut

The cut is put as a task of its own, asked, and removed again; no other task is changed. The server runs
without keys. Shares no code with linocut.
"""

import importlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TASK = "client check"


def main(url, cut):
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            [Path(sys.executable).parent / "openapi-python-client", "generate", "--url", f"{url}/openapi.json",
             "--meta", "none", "--output-path", f"{folder}/linocut_client", "--fail-on-warning"],
            capture_output=True, text=True,
        )
        print(made.stdout + made.stderr, end="")
        assert made.returncode == 0, "the client cannot be generated"
        sys.path.insert(0, folder)
        use(url, Path(cut).read_bytes())


def use(url, cut):
    load = importlib.import_module
    models, types = load("linocut_client.models"), load("linocut_client.types")
    client = load("linocut_client").Client(base_url=url)

    def call(operation, expected=200, **arguments):
        answer = load(f"linocut_client.api.{operation}").sync_detailed(client=client, **arguments)
        assert answer.status_code == expected, f"{operation}: {answer.status_code} {answer.content[:300]}"
        print(f"{operation}: {int(answer.status_code)} {type(answer.parsed).__name__}")
        return answer.parsed

    assert call("server.health").status == "ready"
    call("server.live")
    before = {task.name for task in call("tasks.list_tasks").tasks}
    assert call("server.info").tasks == len(before)
    assert "linocut_tasks" in call("server.metrics")
    call("server.openapi")
    file = types.File(payload=io.BytesIO(cut))
    put = call("tasks.put_task", 201, name=TASK, body=file)
    assert put.name == TASK
    card = call("tasks.get_task", name=TASK)
    assert card.file_bytes == len(cut)
    body = models.PredictBody(inputs="where is my parcel?", tasks=[TASK], top_k=1)
    answer = call("predict.predict", body=body).results[0].answers[0]
    assert answer.task == TASK and len(answer.scores) == 1, answer
    one = call("predict.predict_one_task", task=TASK, body=models.TeiBody(inputs="where is my parcel?"))
    assert {score.label for score in one} == set(card.labels), one
    error = call("predict.predict_one_task", 404, task="no such task", body=models.TeiBody(inputs="a"))
    assert error.error_type == "unknown_task"
    call("tasks.delete_task", 204, name=TASK)
    assert {task.name for task in call("tasks.list_tasks").tasks} == before
    print(json.dumps({"operations": 11, "passed": True}))


if __name__ == "__main__":
    main(*sys.argv[1:])
