"""The stamp in every value that we write: by whom, from what, and in which transaction."""

from __future__ import annotations

import json
from typing import Any

from store.errors import UnguardedMutation
from store.transactions import Fence


class Stamp:
    """Who wrote a value and from what: `"write": {"epoch"?, "base", "op"}`, its last member.

    Spliced rather than parsed, and made once for a whole transaction: it is on the path of every
    write. The value must not have a member `write` of its own.
    """

    __slots__ = ("_after", "_before")

    def __init__(self, op: str, fence: Fence | None) -> None:
        epoch = f'"epoch":{fence.create_revision},' if fence else ""
        self._before = f'"write":{{{epoch}"base":'.encode()
        self._after = f',"op":"{op}"}}}}'.encode()

    def on(self, value: bytes, base: int) -> bytes:
        """`value` (a JSON object) with the stamp; raises `UnguardedMutation` for anything else."""
        body = value[:-1].rstrip()
        if value[:1] != b"{" or value[-1:] != b"}":
            raise UnguardedMutation("a stored value must be a JSON object, so that it is stamped")
        comma = b"" if body == b"{" else b","
        return b"%b%b%b%d%b" % (body, comma, self._before, base, self._after)


def stamped(value: bytes, *, op: str, base: int, fence: Fence | None) -> bytes:
    """One value as a transaction would write it."""
    return Stamp(op, fence).on(value, base)


def stamp_of(value: bytes) -> dict[str, Any]:
    """The write stamp of a stored value; empty for what was not written by `commit`."""
    try:
        record = json.loads(value)
    except ValueError:
        return {}
    stamp = record.get("write") if isinstance(record, dict) else None
    return stamp if isinstance(stamp, dict) else {}
