"""What tells the items of a list in a record apart."""

from __future__ import annotations

from typing import Any

_NAMES = ("name", "key", "workload", "topology_key", "path")
"""Of whichever kind they are."""


def item_name(item: Any) -> str:
    """Empty for what has none."""
    names = (item.get(name) for name in _NAMES) if isinstance(item, dict) else ()
    return next(filter(None, names), "")
