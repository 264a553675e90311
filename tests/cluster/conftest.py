"""Clusters of real processes. The calm one is shared: nobody may kill, freeze or stop its
processes; instances of one's own workloads are fair game."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from tests.support.local_cluster import LocalCluster, etcd_at
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
