"""What goes wrong with records under people's hands: bytes that are none of ours, values that no
program of ours would write, and keys that are nobody's."""

from __future__ import annotations

import json
import random
from typing import Any

from orchestrator.model.errors import StateError
from orchestrator.model.keys import Keys
from orchestrator.model.records import load

JUNK = (
    *(b"", b"\0", b"\xff\xfe\xfd", b"nonsense", b"{", b"null", b"[]", b"{}", b'""', b"7", b"NaN"),
    *(b"[" * 100_000, b'{"spec":' * 50_000, b"x" * 1_000_000, b'{"a":"' + b"x" * 1_000_000 + b'"}'),
    *(
        b'{"version":99}',
        b'{"version":99,"spec":{}}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 9_000 + b"}",
    ),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 2**53 + 1, 2**63, 10**300, -(10**300), 1.5, 1e300, -1e300, 5e-324),
    *("", "\0", "../..", "é\u202e", "x" * 70_000, "default.web.0.1", "no such thing"),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": {}}}, ["x"] * 1_000),
)


def is_readable(keys: Keys, key: str, value: bytes) -> bool:
    try:
        load(keys.parse(key), value)
    except StateError:
        return False
    return True


def junk(keys: Keys, key: str, value: bytes, rng: random.Random) -> bytes:
    """What nobody can take for a record of that key."""
    while is_readable(keys, key, value):
        value = rng.choice(JUNK) if rng.random() < 0.5 else edited(value, rng)
    return value


def edited(value: bytes, rng: random.Random) -> bytes:
    """The same with an odd value in one place, or without that place."""
    record = _record(value)
    if not record:
        return rng.choice(JUNK)
    parent: Any = record
    while True:
        step = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        inner = parent[step]
        if not inner or not isinstance(inner, dict | list) or rng.random() < 0.3:
            break
        parent = inner
    if isinstance(parent, dict) and rng.random() < 0.2:
        del parent[step]
    else:
        parent[step] = rng.choice(ODD_VALUES)
    return json.dumps(record).encode()


def _record(value: bytes) -> dict[str, Any]:
    """Empty if it is damaged already."""
    try:
        record = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def strange_key(root: str, known: str, rng: random.Random) -> str:
    """One that no program of ours would write, near one that some program did."""
    folder = known.rpartition("/")[0]
    return rng.choice(
        (
            f"{root}{rng.choice(('x', '', 'é', 'leader/x', 'events', 'desired', 'a' * 5_000))}",
            f"{folder}/{rng.choice(('', 'UPPER', 'a.b', '..', 'a' * 300, 'é', 'with space'))}",
            f"{known}/more",
            f"{known}.0",
            f"{folder}//x",
            f"{known}\udcff",
            f"{folder}/default.web.00.1",
            f"{folder}/default.web.999999999.999999999",
        )
    )
