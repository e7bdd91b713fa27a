"""A batch through a real Label Studio server: tasks in, answers by its API, exports out, the same labels in the end.

Slow: installs Label Studio into an environment of its own, unless LABEL_STUDIO names the folder of its programs.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from labelbench.labelling import adjudication, answers, batch_page, identity, label_studio
from labelbench.labelling.campaign import Asked, Batch

pytestmark = pytest.mark.slow
VERSION = "1.23.2"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
CLASSES = ["heron", "great <tit>", 'the "owl"', "NA"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The command `label-studio`."""
    if "LABEL_STUDIO" in os.environ:
        return Path(os.environ["LABEL_STUDIO"]) / "label-studio"
    place = tmp_path_factory.mktemp("label-studio")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [place / "bin/pip", "install", "--quiet", f"label-studio=={VERSION}"]
    if subprocess.run(pip, check=False).returncode:
        pytest.skip("Label Studio cannot be installed")
    return place / "bin/label-studio"


@pytest.fixture(scope="module")
def server(program, tmp_path_factory):
    """Address of a running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "LABEL_STUDIO_USERNAME": "zoe@example.org",
        "LABEL_STUDIO_PASSWORD": "a secret word",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
    }
    command = [program, "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
    log = (tmp_path_factory.mktemp("log") / "server.log").open("w")
    running = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(180):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        else:
            pytest.fail(Path(log.name).read_text()[-3000:])
        yield address
    finally:
        running.kill()
        running.wait()
        log.close()


def call(server, path, content=None):
    """The server's answer, as bytes."""
    data = None if content is None else json.dumps(content).encode()
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read()


def result(*choices):
    value = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    return [value] if choices else []


SAID = {
    0: [{"result": result("heron")}],
    1: [{"result": result("great <tit>")}],
    2: [{"result": result('the "owl"'), "lead_time": 2.5}],
    3: [{"result": result("NA")}],
    4: [{"result": result("__none__")}],
    5: [{"result": result("__unsure__")}],
    6: [{"result": [], "was_cancelled": True}],
    7: [{"result": []}],
    8: [],
    9: [{"result": result("heron")}, {"result": result("NA")}],
}


def test_a_batch_through_the_server(server, tmp_path):
    images, items = [], []
    for n in range(len(SAID)):
        path = tmp_path / f"day {n % 2}" / f'{n} "q", ü.png'
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), (20 * n, 90, 90)).save(path)
        name = path.relative_to(tmp_path).as_posix()
        images.append(identity.Image(identity.content(path), name))
        thumbnail = batch_page.thumbnail(Image.open(path))
        items.append({"image": name, "sha256": images[-1].sha256, "thumbnail": thumbnail, "audit": n == 0,
                      "guess": "heron" if n else None, "confidence": 0.9 if n else None})  # fmt: skip
    batch = Batch("birds", 1, "0badf00d", "margin", tuple(Asked(i.sha256, i.path) for i in images))
    label_studio.write(tmp_path, batch, items, CLASSES)

    config = (tmp_path / "label_studio.xml").read_text(encoding="utf-8")
    project = json.loads(call(server, "/api/projects", {"title": "birds", "label_config": config}))["id"]
    call(server, f"/api/projects/{project}/import", json.loads((tmp_path / "label_studio.json").read_text()))
    tasks = json.loads(call(server, f"/api/tasks?project={project}&fields=all&page_size=100"))["tasks"]
    position = {image.sha256: n for n, image in enumerate(images)}
    assert len(tasks) == len(SAID)
    for task in tasks:
        for annotation in SAID[position[task["data"]["sha256"]]]:
            call(server, f"/api/tasks/{task['id']}/annotations/", annotation)

    settled = {}
    for kind, name in (("JSON", "a.json"), ("JSON_MIN", "b.json"), ("CSV", "c.csv")):
        exported = call(server, f"/api/projects/{project}/export?exportType={kind}")
        (tmp_path / "out" / kind).mkdir(parents=True)
        (tmp_path / "out" / kind / name).write_bytes(exported)
        found, _ = answers.read([tmp_path / "out" / kind], images, CLASSES, {}, "birds")
        settled[kind] = {position[n]: (s.status, s.label) for n, s in adjudication.settle(found)[0].items()}
    labels = {0: ("label", "heron"), 1: ("label", "great <tit>"), 2: ("label", 'the "owl"'), 3: ("label", "NA")}
    full = settled["JSON"]
    assert {n: full[n] for n in labels} == labels
    assert [full[n][0] for n in (4, 5, 6)] == ["none", "unsure", "skip"]
    assert 7 not in full
    assert 8 not in full
    # The same person said two things: the last one counts.
    assert full[9] == ("label", "NA")
    # The short exports leave out what was skipped, and say the same of all others.
    for kind in ("JSON_MIN", "CSV"):
        assert settled[kind] == {n: said for n, said in full.items() if n != 6}
