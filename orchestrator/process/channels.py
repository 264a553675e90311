"""How the streams of a command travel through a WebSocket, from `orc` through an API server to a
node's agent and back.

A client of exec begins with one text frame, the request:
`{"argv": [...], "env": {}, "working_dir": "", "user": "", "tty": false, "stdin": false,
"rows": 24, "columns": 80}`, of which only `argv` must be there. All frames after it, and all of
attach, are binary: a byte that names the channel, and what is said there. The server ends with a
frame END and then closes; without END the connection was broken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum

PIECE_BYTES = 64 * 1024
"""What a client sends in one frame at most, its channel not counted."""

MAX_FRAME_BYTES = 1024 * 1024


_LENGTHS = range(1 << 16)
"""Of a terminal's rows and columns, as far as the kernel can keep them."""


class Channel(IntEnum):
    STDIN = 0
    STDOUT = 1
    STDERR = 2
    RESIZE = 3
    """`{"rows": 24, "columns": 80}`, of the terminal."""
    END_OF_INPUT = 4
    END = 5
    """`{"exit_code": 0, "detail": ""}`: see `End`."""


OUTPUTS: Mapping[str, Channel] = {"stdout": Channel.STDOUT, "stderr": Channel.STDERR}


@dataclass(frozen=True, slots=True)
class Size:
    """Raises `ValueError` for what no terminal can have."""

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows not in _LENGTHS or self.columns not in _LENGTHS:
            raise ValueError(f"no terminal has {self.rows} rows and {self.columns} columns")


@dataclass(frozen=True, slots=True)
class End:
    """How it ended. `exit_code` is 128 + n for signal n, and None if nobody knows it. With a
    `detail`, a sentence, it has failed rather than ended: the command could not be started, say,
    for which 127 and 126 stand as in a shell."""

    exit_code: int | None
    detail: str = ""


def frame_of(channel: Channel, content: bytes | Size | End = b"") -> bytes:
    if not isinstance(content, bytes):
        content = json.dumps(asdict(content)).encode()
    return bytes([channel]) + content


def read_frame(frame: bytes) -> tuple[Channel, bytes]:
    """Raises `ValueError` for what is none."""
    if not frame:
        raise ValueError("an empty frame names no channel")
    return Channel(frame[0]), frame[1:]


def read_size(content: bytes) -> Size:
    """Raises `ValueError`."""
    match json.loads(content):
        case {"rows": int(rows), "columns": int(columns)}:
            return Size(rows, columns)
    raise ValueError(f"no size of a terminal: {content[:60]!r}")


def read_end(content: bytes) -> End:
    """Raises `ValueError`."""
    match json.loads(content):
        case {"exit_code": int() | None as code, "detail": str(detail)}:
            return End(code, detail)
    raise ValueError(f"no end of a command: {content[:60]!r}")
