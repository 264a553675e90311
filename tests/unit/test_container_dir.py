"""The directory of a container: what can be told from it, and how it goes away."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.runtime.container_dir import ContainerDir, delete_tree

NOBODY = 65534


@contextlib.contextmanager
def owned_by_a_plain_user() -> Iterator[Path]:
    """A directory, and within this context no right to break into what forbids it."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as directory:
        if is_root:
            os.chown(directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            if is_root:
                os.seteuid(0)


def test_what_a_container_locked_up_goes_too() -> None:
    with owned_by_a_plain_user() as directory:
        tree, elsewhere = directory / "tree", directory / "elsewhere"
        (tree / "work" / "locked" / "deep").mkdir(parents=True)
        (tree / "work" / "locked" / "deep" / "file").touch()
        elsewhere.mkdir(mode=0o500)
        (tree / "work" / "link").symlink_to(elsewhere)
        for each in (tree / "work" / "locked" / "deep", tree / "work" / "locked", tree):
            each.chmod(0)
        delete_tree(tree)
        assert [each.name for each in directory.iterdir()] == ["elsewhere"]
        assert elsewhere.stat().st_mode & 0o777 == 0o500


def test_who_holds_the_lock_supervises(tmp_path: Path) -> None:
    place = ContainerDir(tmp_path)
    assert not place.is_supervised()
    lock = place.lock()
    assert lock is not None
    assert place.is_supervised()
    os.close(lock)
    assert not place.is_supervised()
