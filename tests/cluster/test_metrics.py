"""Prometheus itself, Debian's, scrapes a cluster with the configuration that we ship."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local import LocalUp
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
WAIT_SECONDS = 60.0


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalUp]:
    local = LocalUp(tmp_path)
    try:
        local.up()
        yield local
    finally:
        local.stop_all()


@pytest.fixture
def prometheus(local: LocalUp, tmp_path: Path) -> Iterator[str]:
    """Its URL. Only the ports, and the time between scrapes, are not those that are shipped."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus here: install Debian's prometheus")
    config = (SHIPPED / "prometheus.yml").read_text()
    for offset in (0, 1, 2, 10, 11, 12):
        config = config.replace(
            f"127.0.0.1:{7400 + offset}", f"127.0.0.1:{local.base_port + offset}"
        )
    path = tmp_path / "prometheus.yml"
    path.write_text(config.replace("_interval: 5s", "_interval: 1s"))
    shutil.copy(SHIPPED / "rules.yml", tmp_path)
    address = f"127.0.0.1:{free_port()}"
    arguments = [
        f"--config.file={path}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with subprocess.Popen([program, *arguments]) as process:
        try:
            yield f"http://{address}"
        finally:
            process.kill()


def ask(url: str) -> Any:
    """The answer's data, or None as long as it does not listen."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def test_every_process_is_scraped_and_the_rules_hold(prometheus: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    healths: list[str] = []
    while healths != ["up"] * 6:
        assert time.monotonic() < deadline, healths
        time.sleep(0.2)
        targets = (ask(f"{prometheus}/api/v1/targets") or {}).get("activeTargets", [])
        healths = [target["health"] for target in targets]
    assert [target["lastError"] for target in targets] == [""] * 6

    def value(query: str) -> float:
        found = ask(f"{prometheus}/api/v1/query?query={query}")["result"]
        return float(found[0]["value"][1]) if found else 0.0

    while value("sum(orchestrator_leader_is_leader)") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    groups = ask(f"{prometheus}/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    assert all(not rule.get("lastError") for rule in rules)
