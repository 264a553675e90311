"""People whose cluster is held to its promises when they are done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.simulation.judging import violations
from tests.support.local_cluster import LocalCluster
from tests.support.operator import Operator, operating
from tests.support.store_history import history_at


@asynccontextmanager
async def judged(cluster: LocalCluster) -> AsyncIterator[Operator]:
    """At the end all of it runs again, nothing is left of the workloads, and etcd's whole history
    is judged: that of every test before, too."""
    async with operating(cluster.client()) as operator:
        yield operator
        cluster.revive()
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)
        assert violations(await history_at(cluster.etcd)) == []
