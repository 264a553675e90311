"""Arenas that scenarios share, as long as nothing has gone wrong in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack

import pytest

from tests.chaos.scenario import Scenario
from tests.support.chaos.arena import Arena
from tests.support.chaos.ground import Ground, entered
from tests.support.chaos.network import Network

SEED = int(os.environ.get("CHAOS_SEED", "1"))
HAS_PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: takes minutes; `make chaos` runs it")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that can share an arena come one after the other, whatever order was drawn."""
    places = [place for place, item in enumerate(items) if _ground_of(item)]
    together = sorted((items[place] for place in places), key=_ground_of)
    for place, item in zip(places, together, strict=True):
        items[place] = item


def _ground_of(item: pytest.Item) -> str:
    """Empty for tests that are no scenarios."""
    scenario = item.callspec.params.get("scenario") if hasattr(item, "callspec") else None
    return repr(scenario.ground) if isinstance(scenario, Scenario) else ""


class Arenas:
    """At most one at a time: they are large."""

    def __init__(self, paths: pytest.TempPathFactory) -> None:
        self._paths = paths
        self._stack = ExitStack()
        self._ground: Ground | None = None
        self._arena: Arena | None = None

    def on(self, ground: Ground) -> Arena:
        if self._arena is None or self._ground != ground:
            self.close()
            self._ground = ground
            self._arena = self._stack.enter_context(
                entered(ground, self._paths.mktemp("arena"), SEED)
            )
        return self._arena

    @property
    def has_own_network(self) -> bool:
        return self._ground is not None and self._ground.network is not Network.SHARED

    def told(self) -> list[tuple[str, str]]:
        """What the processes have logged last, by its title."""
        if self._arena is None:
            return []
        cluster = self._arena.cluster
        return [(f"processes in {cluster.path}", cluster.log_tails())]

    def close(self) -> None:
        self._arena = None
        self._stack.close()


@pytest.fixture(scope="module")
def arenas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arenas]:
    arenas = Arenas(tmp_path_factory)
    yield arenas
    arenas.close()


@pytest.fixture
def enter(arenas: Arenas, request: pytest.FixtureRequest) -> Iterator[Callable[[Ground], Arena]]:
    """An arena for one test. After a failure nobody else comes into it; and nobody stays in a
    network of its own, where he would not find those that other tests have started."""
    yield arenas.on
    if arenas.has_own_network or not request.node.stash.get(HAS_PASSED, False):
        arenas.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the processes of a failed scenario have logged last."""
    report = yield
    if call.when == "call":
        item.stash[HAS_PASSED] = report.passed
    arenas = getattr(item, "funcargs", {}).get("arenas")
    if report.failed and isinstance(arenas, Arenas):
        report.sections += arenas.told()
    return report
