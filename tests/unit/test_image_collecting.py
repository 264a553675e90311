"""Which images go when the disk is full, and in which order."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.runtime.images.collecting import Candidate, Usage, oldest_unused
from orchestrator.runtime.images.terms import StorageTerms

TERMS = StorageTerms(high_percent=80.0, low_percent=60.0)


@pytest.mark.parametrize(
    ("free", "layers", "max_bytes", "excess"),
    [
        (200, 0, 0, 0),
        (199, 0, 0, 201),
        (0, 0, 0, 400),
        (500, 1000, 0, 0),
        (500, 1000, 1000, 0),
        (500, 1001, 1000, 251),
        (100, 1001, 1000, 300),
    ],
)
def test_from_the_high_mark_down_to_the_low_one(
    free: int, layers: int, max_bytes: int, excess: int
) -> None:
    terms = StorageTerms(high_percent=80.0, low_percent=60.0, max_bytes=max_bytes)
    assert Usage(1000, free, layers).excess(terms) == excess


def candidate(name: str, used_at: float, *layers: str) -> Candidate:
    return Candidate(name, frozenset(layers), used_at)


def test_the_longest_unused_go_first_and_no_more_than_it_takes() -> None:
    images = [candidate("c", 3, "3"), candidate("a", 1, "1"), candidate("b", 2, "2")]
    sizes = {"1": 10, "2": 10, "3": 10}
    assert oldest_unused(images, (), sizes, 0) == []
    assert oldest_unused(images, (), sizes, 1) == ["a"]
    assert oldest_unused(images, (), sizes, 11) == ["a", "b"]
    assert oldest_unused(images, (), sizes, 1000) == ["a", "b", "c"]


def test_a_shared_layer_frees_nothing_until_the_last_image_that_has_it_goes() -> None:
    images = [candidate("a", 1, "shared"), candidate("b", 2, "shared", "own")]
    sizes = {"shared": 100, "own": 1}
    assert oldest_unused(images, (), sizes, 50) == ["a", "b"]
    assert oldest_unused(images, ("shared",), sizes, 1) == ["a", "b"]


layers = st.frozensets(st.sampled_from("uvwxyz"), max_size=4)
candidates = st.lists(
    st.builds(Candidate, st.uuids().map(str), layers, st.floats(0, 1000)), max_size=8
)


@given(
    images=candidates,
    kept=layers,
    sizes=st.fixed_dictionaries({each: st.integers(0, 100) for each in "uvwxyz"}),
    excess=st.integers(0, 500),
)
def test_deleting_is_enough_if_anything_is_and_never_more_than_needed(
    images: list[Candidate], kept: frozenset[str], sizes: Mapping[str, int], excess: int
) -> None:
    doomed = oldest_unused(images, kept, sizes, excess)

    def freed(names: list[str]) -> int:
        held = set(kept).union(*(each.layers for each in images if each.pinned not in names))
        gone = set().union(*(each.layers for each in images if each.pinned in names)) - held
        return sum(sizes[layer] for layer in gone)

    assert freed(doomed) >= excess or len(doomed) == len(images)
    assert not doomed or freed(doomed[:-1]) < excess
    ages = {each.pinned: each.used_at for each in images}
    oldest = sorted(ages.values())[: len(doomed)]
    assert sorted(ages[each] for each in doomed) == oldest
