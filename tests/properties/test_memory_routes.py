"""A change finds just the watches that cover its key, in the order in which they were opened."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from store.memory.cluster import MemoryCluster
from store.memory.keyspace import encoded
from store.memory.routes import Routes
from store.memory.watch import MemoryWatch
from store.values import prefix_end

KEYS = st.text("ab/\udcff", min_size=1, max_size=4)

RANGES = st.one_of(
    st.tuples(KEYS, st.none()),
    KEYS.map(lambda key: (key, prefix_end(key))),
    st.tuples(KEYS, KEYS),
    st.tuples(KEYS, st.just("\0")),
)


@given(st.lists(RANGES, max_size=12), st.sets(st.integers(0, 11)), st.lists(KEYS, min_size=1))
def test_routes_lead_to_all_watches_that_cover_a_key_and_no_others(
    ranges: list[tuple[str, str | None]], closed: set[int], keys: list[str]
) -> None:
    memory = MemoryCluster(lambda: 0.0, random.Random(1))
    memory.connect("client")
    watches = [
        MemoryWatch(memory.hub, memory.link("client"), key, range_end, 0)
        for key, range_end in ranges
    ]
    routes = Routes()
    for number, watch in enumerate(watches):
        watch.number = number
        routes.add(watch)
    for number in closed:
        if number < len(watches):
            routes.remove(watches[number])

    for key in keys:
        assert routes.covering(key) == [
            watch
            for number, watch in enumerate(watches)
            if number not in closed and watch.covers(encoded(key))
        ]
