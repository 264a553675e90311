"""Putting watch responses together again that the store has sent in fragments.

etcd cuts a response that is too large for one message wherever it likes, in the middle of a
revision too. A position must not move past a revision of which only a part has come.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from store.ledger import Anomaly
from store.values import Event, WatchResponse


class Assembler:
    """For one watch; what it still holds when that watch breaks is worthless."""

    def __init__(self, anomalies: Counter[Anomaly]) -> None:
        self._events: list[Event] = []
        self._anomalies = anomalies

    def add(self, response: WatchResponse) -> WatchResponse | None:
        """The whole response, once its last fragment is there; until then None."""
        if response.is_fragment:
            self._events.extend(response.events)
            return None
        if not self._events:
            return response
        events = (*self._events, *response.events)
        self._events.clear()
        self._anomalies[Anomaly.FRAGMENTS_REASSEMBLED] += 1
        return replace(response, events=events)
