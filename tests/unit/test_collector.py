"""What has survived is not looked at again, but for once in a while."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from orchestrator.process import collector


@pytest.fixture(autouse=True)
def _own_collector() -> Iterator[None]:
    """The process of the tests gets its own collector back."""
    threshold, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield
    gc.set_threshold(*threshold)
    gc.callbacks[:] = callbacks
    gc.unfreeze()


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_what_survives_two_looks_is_set_aside() -> None:
    collector.set_survivors_aside()
    kept: list[list[int]] = [[] for _ in range(1_000)]
    before = gc.get_freeze_count()

    gc.collect(0)
    assert gc.get_freeze_count() == before
    gc.collect(1)

    assert gc.get_freeze_count() >= before + len(kept)
    assert not any(each is kept for each in gc.get_objects())


def test_cycles_that_die_young_are_freed_as_ever() -> None:
    collector.set_survivors_aside()
    dying = weakref.ref(Node())

    gc.collect(0)

    assert dying() is None


def test_cycles_that_were_set_aside_are_freed_by_the_next_sweep() -> None:
    collector.set_survivors_aside()
    kept = Node()
    dying = weakref.ref(kept)
    gc.collect(1)
    del kept
    gc.collect()
    assert dying() is not None

    collector.sweep()

    assert dying() is None
