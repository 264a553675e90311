"""`Shown`: how each object looks, worked out and written down once for all who watch.

A thousand clients watch the same objects. Each remembers what it has been told of; were that a copy
of its own, they would take a thousand times the cluster's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.api.feeds import NODES, Feed
from orchestrator.api.requests import adapter
from orchestrator.cluster.view import ClusterView
from orchestrator.model.errors import StateError

MAX_KEPT = 100_000
"""Then all are forgotten: what somebody has been told of stays with him."""


@dataclass(slots=True, eq=False)
class Look:
    """`shown` as at `revision` of the view, and as JSON once somebody needs that."""

    shown: Any
    revision: int
    _json: bytes = b""

    @property
    def json(self) -> bytes:
        if not self._json:
            self._json = adapter(type(self.shown)).dump_json(self.shown)
        return self._json


class Shown:
    """Two looks are the same object if, and only if, nothing has changed in between."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._looks: dict[tuple[Feed[Any, Any], Any], Look] = {}
        self._touched: dict[Feed[Any, Any], tuple[tuple[str, ...], int, list[Any]]] = {}

    def look(self, feed: Feed[Any, Any], id_: Any) -> Look | None:
        """None: it is not there."""
        view, at = self._view, (feed, id_)
        known = self._looks.get(at)
        if known and known.revision == view.state.revision and feed is not NODES:
            return known  # of nodes, time alone changes how they look
        shown = feed.show(view.state, id_, view.clock())
        if shown is None:
            self._looks.pop(at, None)
            return None
        if known is None or known.shown != shown:
            known = self._keep(at, Look(shown, view.state.revision))
        known.revision = view.state.revision
        return known

    def touched(self, feed: Feed[Any, Any], keys: tuple[str, ...]) -> list[Any]:
        """The objects that may look different after `keys` have changed, each once."""
        revision = self._view.state.revision
        for_keys, at, ids = self._touched.get(feed, ((), -1, []))
        if for_keys is not keys or at != revision:
            ids = list(dict.fromkeys(self._ids(feed, keys)))
            self._touched[feed] = keys, revision, ids
        return ids

    def _ids(self, feed: Feed[Any, Any], keys: Iterable[str]) -> Iterator[Any]:
        for key in keys:
            try:
                parsed = self._view.keys.parse(key)
            except StateError:
                continue
            yield from feed.touched(self._view.state, parsed)

    def _keep(self, at: tuple[Feed[Any, Any], Any], look: Look) -> Look:
        if len(self._looks) >= MAX_KEPT:
            self._looks.clear()
        self._looks[at] = look
        return look
