"""Clusters of real processes. The calm one is shared: nobody may kill, freeze or stop its
processes; instances of one's own workloads are fair game."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.oci import OciWorld, skip_without
from tests.support.operator import Operator, operating


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three controllers and three agents, for the whole session."""
    path = tmp_path_factory.mktemp("calm")
    with LocalCluster(path, etcd_at(path)) as cluster:
        yield cluster


@pytest.fixture
async def operator(calm: LocalCluster) -> AsyncIterator[Operator]:
    """Of the calm cluster. What a test has applied is deleted at its end."""
    async with operating(calm.client()) as operator:
        yield operator
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)


@pytest.fixture
async def oci_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OciWorld]:
    """A node that runs images, by the runtime that a test asks for (`indirect`), else by crun.
    Nothing of what it has run may be left on the machine."""
    runtime = getattr(request, "param", "crun")
    skip_without(runtime)
    made = OciWorld(tmp_path, uuid.uuid4().hex[:12], runtime)
    yield made
    await made.aclose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes of a failed test's clusters have logged last."""
    report = yield
    if report.failed:
        clusters = [each for each in item.funcargs.values() if isinstance(each, LocalCluster)]
        report.sections += [(f"processes in {each.path}", each.log_tails()) for each in clusters]
    return report
