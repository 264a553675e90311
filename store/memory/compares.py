"""A transaction's guards: does what is there stand to the operand as the compare says?"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, eq, gt, lt, ne
from typing import Any

from store.values import Compare, KeyValue, Relation, Target

_ABSENT = KeyValue("", b"", 0, 0, 0)

_LOOKED_AT: dict[Target, Callable[[KeyValue], Any]] = {
    Target.VERSION: attrgetter("version"),
    Target.CREATE: attrgetter("create_revision"),
    Target.MOD: attrgetter("mod_revision"),
    Target.VALUE: attrgetter("value"),
    Target.LEASE: attrgetter("lease"),
}

_RELATED: dict[Relation, Callable[[Any, Any], bool]] = {
    Relation.EQUAL: eq,
    Relation.GREATER: gt,
    Relation.LESS: lt,
    Relation.NOT_EQUAL: ne,
}


def holds(compare: Compare, kv: KeyValue | None) -> bool:
    """An absent key counts as all zeros, but no compare of its value holds, as in etcd."""
    if kv is None:
        if compare.target is Target.VALUE:
            return False
        kv = _ABSENT
    found = _LOOKED_AT[compare.target](kv)
    return _RELATED[compare.relation](found, compare.operand)
