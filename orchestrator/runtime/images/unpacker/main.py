"""`python -I -S unpack.py`: unpack one layer into an empty directory, and tell how it went.

The order is JSON on standard input, the answer on standard output: `{"diff_id", "size_bytes",
"is_opaque"}`, or `{"refused"}` with the reason. What is half done is the caller's to delete.
"""

import errno
import hashlib
import json
import os
import sys
from io import BufferedReader
from typing import Any

from orchestrator.runtime.images.unpacker.refusal import Refused
from orchestrator.runtime.images.unpacker.stream import LayerStream, uncompressed
from orchestrator.runtime.images.unpacker.tar import members
from orchestrator.runtime.images.unpacker.tree import Tree

LOOK_EVERY_BYTES = 16 * 1024 * 1024
LOOK_EVERY_MEMBERS = 1000

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Order:
    """Unpack the file `blob`, whose digest is `digest`, into the directory `target`. More than
    `max_...` is refused, and so is what would leave less than `free_bytes` on the disk."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.blob: str = told["blob"]
        self.digest: str = told["digest"]
        self.target: str = told["target"]
        self.max_bytes: int = told["max_bytes"]
        self.max_members: int = told["max_members"]
        self.max_devices: int = told["max_devices"]
        self.free_bytes: int = told["free_bytes"]


def main() -> None:
    order = Order(json.load(sys.stdin))
    os.umask(0)
    try:
        answer = unpack(order)
    except Refused as refusal:
        answer = {"refused": str(refusal)}
    except OSError as error:
        answer = {"refused": _told(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


def unpack(order: Order) -> dict[str, object]:
    """Raises `Refused` and `OSError`."""
    with open(order.blob, "rb") as blob:
        _check(blob, order.digest)
        stream = LayerStream(uncompressed(blob), order.max_bytes)
        tree = Tree(order.target)
        _fill(tree, stream, order)
        digest = stream.digest()
        tree.finish()
    return {"diff_id": digest, "size_bytes": stream.bytes_read, "is_opaque": tree.is_opaque}


def _check(blob: BufferedReader, digest: str) -> None:
    """Before anything in it is looked at."""
    found = f"sha256:{hashlib.file_digest(blob, 'sha256').hexdigest()}"
    if found != digest:
        raise Refused(f"is not what the registry sent: its digest is {found}")
    blob.seek(0)


def _fill(tree: Tree, stream: LayerStream, order: Order) -> None:
    looked_at = -LOOK_EVERY_BYTES
    for count, member in enumerate(members(stream), 1):
        if count > order.max_members:
            raise Refused(f"has more than {order.max_members} members, the limit")
        is_time = stream.bytes_read + member.size - looked_at >= LOOK_EVERY_BYTES
        if is_time or count % LOOK_EVERY_MEMBERS == 0:
            looked_at = stream.bytes_read
            _check_room(tree, order.free_bytes + member.size)
        tree.add(member, stream.pieces(member.size))
        if tree.devices > order.max_devices:
            raise Refused(f"has more than {order.max_devices} devices, the limit")


def _check_room(tree: Tree, needed_bytes: int) -> None:
    if tree.free_bytes < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _told(error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return "does not fit on this node's disk: make room, as with `orc image prune`"
    if error.errno == errno.EPERM:
        return (
            f"cannot be unpacked by this user ({error.strerror}): the agent must be root to give"
            " files their owners"
        )
    return f"cannot be unpacked: {error.strerror or error}"
