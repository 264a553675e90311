"""Addresses that are taken: a file for each, with who has it.

The files are as the CNI plugin host-local writes them, so that people and tools know them, and a
bridge may change hands between it and us.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network
from itertools import chain
from pathlib import Path

_LAST = "last_reserved_ip.0"
_FIRST = 2
"""The first address of a range is the network's own, the second its gateway's."""


def take(directory: Path, network: IPv4Network, holder: str) -> IPv4Interface | None:
    """The next free address after the one that was given last, so that none is given anew soon:
    who still talks to its last holder would reach another. None if none is free. Raises OSError.

    Others may take one at the same time: whoever creates the file has it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    base, end = int(network.network_address), network.num_addresses - 1
    taken = set(os.listdir(directory))
    last = _last(directory) - base
    begin = last + 1 if _FIRST <= last < end - 1 else _FIRST
    for offset in chain(range(begin, end), range(_FIRST, begin)):
        address = str(IPv4Address(base + offset))
        if address not in taken and _is_taken_by(directory / address, holder):
            (directory / _LAST).write_text(address)
            return IPv4Interface((address, network.prefixlen))
    return None


def _is_taken_by(lease: Path, holder: str) -> bool:
    try:
        fd = os.open(lease, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.write(fd, f"{holder}\r\neth0".encode())
    except OSError:
        lease.unlink()  # nobody would know whose it is
        raise
    finally:
        os.close(fd)
    return True


def _last(directory: Path) -> int:
    try:
        return int(IPv4Address((directory / _LAST).read_text().strip()))
    except (OSError, ValueError):
        return 0


def leased(directory: Path) -> Iterator[tuple[Path, str]]:
    """Each lease with the id that the plugin was called with."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        with suppress(AddressValueError):
            IPv4Address(path.name)
            yield path, _holder(path)


def release(directory: Path, holder: str, address: str = "") -> None:
    """Delete the leases of one id, or the one of `address` if that is its. Raises OSError.

    It is all that the plugin does at DEL, and may be done while it is at work for others.
    """
    paths = [directory / address] if address else [path for path, _ in leased(directory)]
    for path in paths:
        if _holder(path) == holder:
            path.unlink(missing_ok=True)


def release_others(directory: Path, keep: Collection[str]) -> None:
    """Delete the leases of all ids but these. No plugin may be at work."""
    for path, holder in list(leased(directory)):
        if holder not in keep:
            path.unlink()


def _holder(lease: Path) -> str:
    """Empty if it is gone."""
    try:
        lines = lease.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return lines[0].strip() if lines else ""
