"""Users of an image: `user[:group]`, resolved by the files inside its root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.syscalls import open_in_root

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class User:
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve_user(root: Path, text: str) -> User:
    """`text` is `user[:group]`, by name or number; empty: root. A number need not be known.

    Without a group it is the user's own, and those follow that have the user as a member.
    Raises `RuntimeError` for a name that the image does not have.
    """
    wanted, _, wanted_group = (text or "0").partition(":")
    accounts, groups = _lines(root, "etc/passwd", 7), _lines(root, "etc/group", 4)
    account = next((each for each in accounts if _is_meant(each, wanted)), None)
    if account is None and not _is_id(wanted):
        raise errors.RuntimeError(
            f"user {wanted!r} is not in the image's /etc/passwd: name one that is, or use a number"
        )
    uid, gid, home, name = int(wanted) if account is None else int(account[2]), 0, "/", ""
    if account is not None:
        name, gid, home = account[0], int(account[3]), account[5] or "/"
    if wanted_group:
        return User(uid, _group(groups, wanted_group), (), home)
    members = {int(each[2]) for each in groups if name and name in each[3].split(",")}
    return User(uid, gid, tuple(sorted(members - {gid})), home)


def _group(groups: list[list[str]], wanted: str) -> int:
    for each in groups:
        if _is_meant(each, wanted):
            return int(each[2])
    if _is_id(wanted):
        return int(wanted)
    raise errors.RuntimeError(
        f"group {wanted!r} is not in the image's /etc/group: name one that is, or use a number"
    )


def _is_meant(fields: list[str], wanted: str) -> bool:
    """A name is looked for first; a number that is somebody's name is that name."""
    return fields[0] == wanted or (_is_id(wanted) and fields[2] == wanted)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**32 - 1


def _lines(root: Path, path: str, count: int) -> list[list[str]]:
    """Its whole lines with numbers where those belong; none if there is no such file."""
    fields = (line.split(":") for line in _text(root, path).splitlines())
    return [each for each in fields if len(each) >= count and all(map(_is_id, _ids(each)))]


def _ids(fields: list[str]) -> Iterator[str]:
    yield fields[2]
    if len(fields) >= 7:
        yield fields[3]


def _text(root: Path, path: str) -> str:
    """A link may lead anywhere inside the image, and nowhere outside."""
    with suppress(OSError):
        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in_root(directory, path, os.O_RDONLY | os.O_NONBLOCK)
        finally:
            os.close(directory)
        try:
            return os.read(fd, MAX_FILE_BYTES).decode(errors="replace")
        finally:
            os.close(fd)
    return ""
