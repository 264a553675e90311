"""What we keep in etcd is for others to read and to edit: by `etcdctl` and by `etcd3`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from orchestrator.model.keys import Keys
from orchestrator.model.workload import WorkloadKey
from tests.support.local_cluster import LocalCluster
from tests.support.operator import Operator, workload
from tests.support.orc_process import ROOT

KEYS = Keys()


def etcdctl(cluster: LocalCluster, *arguments: str, stdin: str = "") -> str:
    program = shutil.which("etcdctl")
    if program is None:
        pytest.skip("no etcdctl here: install Debian's etcd-client")
    command = [program, f"--endpoints={cluster.etcd.endpoints[0]}", *arguments]
    answer = subprocess.run(
        command,
        env={**os.environ, "ETCDCTL_API": "3"},
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def edited_with_etcd3(cluster: LocalCluster, key: str, replicas: str) -> list[str]:
    """The keys that it has found."""
    _, _, port = cluster.etcd.endpoints[0].rpartition(":")
    answer = subprocess.run(
        [sys.executable, "-m", "tests.support.etcd3_edit", "127.0.0.1", port, key, replicas],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


async def test_etcdctl_shows_readable_json_line_by_line(
    calm: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("shown", replicas=3))
    await operator.running("shown", 3)
    printed = etcdctl(calm, "get", "--prefix", "/orchestrator/", "--print-value-only")
    records = [json.loads(line) for line in printed.splitlines() if line]
    assert all(isinstance(record, dict) for record in records)
    assert any(record.get("spec", {}).get("name") == "shown" for record in records)


async def test_replicas_edited_with_etcdctl_are_obeyed(
    calm: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("edited", replicas=1))
    await operator.running("edited", 1)
    key = KEYS.workload(WorkloadKey("default", "edited"))
    record: dict[str, Any] = json.loads(etcdctl(calm, "get", key, "--print-value-only"))
    record["spec"]["replicas"] = 3
    etcdctl(calm, "put", key, stdin=json.dumps(record, indent=2))
    await operator.running("edited", 3)
    seen = (await operator.workload("edited")).spec
    assert seen
    assert seen.replicas == 3


async def test_a_value_that_somebody_has_spoilt_stops_nothing_and_is_shown(
    calm: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("spoilt", replicas=2))
    before = await operator.running("spoilt", 2)
    key = KEYS.workload(WorkloadKey("default", "spoilt"))
    good = etcdctl(calm, "get", key, "--print-value-only")
    etcdctl(calm, "put", key, stdin=good[: len(good) // 2])
    damaged = [each.key for each in (await operator.api.cluster()).damaged]
    assert key in damaged
    assert await operator.running("spoilt", 2) == before
    etcdctl(calm, "put", key, stdin=good.replace('"replicas":2', '"replicas":3'))
    await operator.running("spoilt", 3)


async def test_replicas_edited_with_the_etcd3_package_are_obeyed(
    calm: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("edited3", replicas=1))
    await operator.running("edited3", 1)
    key = KEYS.workload(WorkloadKey("default", "edited3"))
    keys = edited_with_etcd3(calm, key, "3")
    assert {key, KEYS.leader} <= set(keys)
    await operator.running("edited3", 3)
