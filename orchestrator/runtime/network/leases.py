"""The lease files of the CNI plugin host-local: one for each address, with who has it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path


def leased(directory: Path) -> Iterator[tuple[Path, str]]:
    """Each lease with the id that the plugin was called with."""
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        with suppress(AddressValueError):
            IPv4Address(path.name)
            holder = path.read_text(errors="replace").splitlines()[:1]
            yield path, holder[0].strip() if holder else ""


def release_others(directory: Path, keep: Collection[str]) -> None:
    """Delete the leases of all ids but these. No plugin may be at work."""
    for path, holder in list(leased(directory)):
        if holder not in keep:
            path.unlink()
