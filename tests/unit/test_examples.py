"""The examples: the sample workload run for real, and constraints as the API takes them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

from orchestrator.model.image import ImageReference
from orchestrator.model.manifest import parse_manifests
from orchestrator.model.placement import PriorityClass, Taint, TaintEffect
from tests.support.orc import Orc
from tests.support.ports import free_port
from tests.support.served_api import ServedApi

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
WEB, PLACEMENT = EXAMPLES / "web.yaml", EXAMPLES / "placement.yaml"
CONTAINERS = EXAMPLES / "containers.yaml"


@contextlib.contextmanager
def running(port: int, log: Path) -> Iterator[None]:
    (workload,) = parse_manifests(WEB.read_text("utf-8"), source=WEB.name)
    (server,) = workload.containers
    given = {"PORT": str(port), "ORC_INSTANCE": "default.web.0.1", "ORC_NODE": "node-1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*server.command, *server.args],
            env={**os.environ, **given},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def fetched(url: str, log: Path) -> str:
    give_up_at = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except URLError:
            assert time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.05)


def test_the_sample_server_says_which_instance_answers(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with running(port, log):
        body = fetched(f"http://127.0.0.1:{port}/", log)
    assert body.startswith("hello from default.web.0.1 on node-1, pid ")
    assert f"default.web.0.1 listens on http://127.0.0.1:{port}/" in log.read_text()


def test_the_constraints_are_applied_and_shown() -> None:
    with ServedApi() as served:
        orc = Orc(served.servers)
        applied = orc.succeeds("apply", "-f", str(PLACEMENT))
        assert applied == "workload default/cache created\nworkload default/worker created\n"
        described = orc.succeeds("describe", "workload", "worker")
    for line in ("together with workload cache (by node)", "tolerates maintenance:NoExecute for"):
        assert line in described


def test_a_worker_bears_the_taint_that_its_comment_names_and_a_cache_does_not() -> None:
    cache, worker = parse_manifests(PLACEMENT.read_text("utf-8"), source=PLACEMENT.name)
    [toleration] = worker.placement.tolerations
    assert toleration.covers(Taint("maintenance", effect=TaintEffect.NO_EXECUTE))
    assert not cache.placement.tolerations
    assert (cache.priority, worker.priority) == (PriorityClass.HIGH, PriorityClass.LOW)


def test_the_containers_say_of_what_they_are_made_and_what_they_may_do() -> None:
    web, database = parse_manifests(CONTAINERS.read_text("utf-8"), source=CONTAINERS.name)
    (server,) = web.containers
    assert ImageReference.parse(server.image).repository == "docker.io/library/nginx"
    assert server.security.read_only_root
    assert not web.template().is_privileged()
    assert (web.template().local_volumes(), database.template().local_volumes()) == ((), ("data",))
    assert {each.template().runtime() for each in (web, database)} == {"oci"}
