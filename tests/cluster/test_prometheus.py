"""/metrics of controllers and agents, as parsers and a real Prometheus read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.local_cluster import LocalCluster
from tests.support.operator import until
from tests.support.orc_process import ROOT
from tests.support.ports import free_port

DEPLOYED = ROOT / "deploy" / "prometheus"
FORMATS: dict[str, tuple[str, Callable[[str], Iterable[Metric]]]] = {
    "text": ("text/plain", parse_text),
    "openmetrics": (
        "application/openmetrics-text; version=1.0.0",
        openmetrics.text_string_to_metric_families,
    ),
}
OWN = {"c1": "orchestrator_leader_is_leader", "n1": "orchestrator_agent_has_session"}


def fetched(url: str, accept: str = "*/*") -> str:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10.0) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", OWN)
def test_metrics_are_valid_exposition(calm: LocalCluster, name: str, form: str) -> None:
    accept, parse = FORMATS[form]
    process = {**calm.controllers, **calm.agents}[name]
    families = {each.name: each for each in parse(fetched(f"{process.url}/metrics", accept))}
    assert OWN[name] in families
    assert families["orchestrator_mirror_synced"].samples[0].value == 1
    assert "process_resident_memory_bytes" in families
    ours = [each for each in families.values() if each.name.startswith("orchestrator_")]
    assert all(each.documentation for each in ours)


class Prometheus:
    """A real one, with the configuration that we deploy, scraping more often."""

    def __init__(self, program: str, path: Path, cluster: LocalCluster) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        shutil.copytree(DEPLOYED, path, dirs_exist_ok=True)
        config = path / "prometheus.yml"
        config.write_text(_adapted(config.read_text(), cluster))
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={path / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (path / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, path: str, **query: str) -> Any:
        """None as long as it does not answer."""
        try:
            answer = fetched(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        except OSError:
            return None
        return json.loads(answer)["data"]

    def values(self, query: str) -> list[float]:
        found = self.ask("query", query=query) or {"result": []}
        return [float(each["value"][1]) for each in found["result"]]


def _adapted(config: str, cluster: LocalCluster) -> str:
    """With this cluster's ports in place of those of `orc up`, and without waiting."""
    for base, processes in ((7400, cluster.controllers), (7410, cluster.agents)):
        for number, process in enumerate(processes.values()):
            config = config.replace(f"127.0.0.1:{base + number}", f"127.0.0.1:{process.port}")
    return config.replace("interval: 5s", "interval: 1s")


@pytest.fixture(scope="module")
def prometheus(
    calm: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus here: install Debian's prometheus")
    server = Prometheus(program, tmp_path_factory.mktemp("prometheus"), calm)
    yield server
    server.close()


async def test_a_real_prometheus_scrapes_every_process(prometheus: Prometheus) -> None:
    async def all_up() -> bool:
        return prometheus.values("up") == [1.0] * 6

    await until(all_up)

    async def one_leads() -> bool:
        return prometheus.values("sum(orchestrator_leader_is_leader)") == [1.0]

    await until(one_leads)
    assert prometheus.values("sum(orchestrator_agent_has_session)") == [3.0]


async def test_the_deployed_alerts_are_sound_and_silent(prometheus: Prometheus) -> None:
    async def rules() -> list[dict[str, Any]]:
        groups = (prometheus.ask("rules") or {"groups": []})["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        is_done = prometheus.values("count(up)") == [6.0] and all(
            rule["health"] != "unknown" for rule in found
        )
        return found if is_done else []

    for rule in await until(rules):
        assert rule["health"] == "ok", rule
        assert rule["state"] != "firing", rule
    known = set(prometheus.ask("label/__name__/values"))
    named = set(re.findall(r"orchestrator_\w+", (DEPLOYED / "rules.yml").read_text()))
    assert named <= known
