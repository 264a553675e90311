"""How far logs have been read, so that they can be taken up again where they broke off.

Theory of operation
-------------------
A stream that breaks off is begun anew from the start of the log, and what has been seen of it is
passed over. A line has no number, but a container's lines come in the same order each time, and
only those that it wrote at once share a time. So the last line seen is found again by its time and
by its count among the lines of that time; all that follows it is new, whatever its time. If it has
been rotated away, new is what is later. Lines come twice when a node's clock was set back between
them; none is lost by that.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Mark:
    """The last line seen of a source: its time, and how many there were with that time."""

    time: str
    count: float


class LogCursor:
    """`is_cut`: the first stream begins near the end of the logs, and so perhaps amid lines of one
    time: those all count as seen."""

    def __init__(self, *, is_cut: bool = False) -> None:
        self._first_count = math.inf if is_cut else 1
        self._seen: dict[Hashable, _Mark] = {}
        self._passing: dict[Hashable, _Mark] = {}

    @property
    def has_moved(self) -> bool:
        return bool(self._seen)

    def begin(self) -> None:
        """The next lines are those of a new stream, from the start of each log."""
        self._passing = dict(self._seen)

    def is_new(self, source: Hashable, time: str) -> bool:
        """Whether the next line of `source`, a container, has not been seen yet. `time` is RFC
        3339 in UTC, which sorts as text."""
        if (mark := self._passing.get(source)) and time <= mark.time:
            if time == mark.time:
                self._pass_one(source, mark)
            return False
        self._passing.pop(source, None)
        self._seen[source] = self._mark_after(self._seen.get(source), time)
        return True

    def _mark_after(self, last: _Mark | None, time: str) -> _Mark:
        if last is None:
            return _Mark(time, self._first_count)
        return _Mark(time, last.count + 1 if last.time == time else 1)

    def _pass_one(self, source: Hashable, mark: _Mark) -> None:
        if mark.count > 1:
            self._passing[source] = _Mark(mark.time, mark.count - 1)
        else:
            del self._passing[source]
