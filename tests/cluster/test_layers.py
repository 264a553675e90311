"""Layers as the unpacker leaves them, and as overlayfs then shows them."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.runtime.images.terms import LayerBounds
from orchestrator.runtime.images.unpacking import unpack
from orchestrator.runtime.programs import Programs
from tests.support.layers import (
    Layer,
    Member,
    character_device,
    directory,
    fifo,
    file,
    hard_link,
    layer,
    opaque,
    symlink,
    whiteout,
)
from tests.support.node_images import take_root

BOUNDS = LayerBounds(free_bytes=0)
CAPABILITY = "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
"""cap_net_bind_service, in the form of linux/capability.h."""

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def root() -> None:
    take_root()


class Unpacker:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._programs = Programs(path / "lock")

    async def __call__(self, *members: Member) -> Path:
        return await self.unpack(layer(*members))

    async def unpack(self, made: Layer) -> Path:
        self._count += 1
        blob, target = (self._path / f"{kind}-{self._count}" for kind in ("blob", "tree"))
        blob.write_bytes(made.blob)
        target.mkdir()
        target.chmod(0o755)
        unpacked = await unpack(blob, made.digest, target, BOUNDS, self._programs)
        assert unpacked.diff_id == made.diff_id
        return target


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpacker:
    return Unpacker(tmp_path)


async def test_everything_is_as_the_archive_says(unpacked: Unpacker) -> None:
    tree = await unpacked(
        directory("./", 0o711, uid=1, gid=2),
        directory("d", 0o1777, uid=3, gid=4, mtime=5),
        file("d/setuid", b"x" * 100_000, 0o4755, uid=6, gid=7, mtime=8),
        hard_link("d/same", "d/setuid"),
        symlink("link", "/nowhere"),
        character_device("null", 1, 3, 0o640),
        fifo("fifo"),
        Member("ping", content=b"p", mode=0o755, xattrs={"security.capability": CAPABILITY}),
        Member("tagged", xattrs={"user.colour": "blue"}),
        file("/absolute", b"inside"),
    )
    top, inner = tree.stat(), (tree / "d").stat()
    assert (stat.S_IMODE(top.st_mode), top.st_uid, top.st_gid) == (0o711, 1, 2)
    assert (stat.S_IMODE(inner.st_mode), inner.st_uid, inner.st_mtime) == (0o1777, 3, 5)
    setuid = (tree / "d/setuid").stat()
    assert (stat.S_IMODE(setuid.st_mode), setuid.st_uid, setuid.st_gid) == (0o4755, 6, 7)
    assert (setuid.st_size, setuid.st_mtime, setuid.st_nlink) == (100_000, 8, 2)
    assert (tree / "d/same").samefile(tree / "d/setuid")
    assert (tree / "link").readlink() == Path("/nowhere")
    null = (tree / "null").stat()
    assert (stat.S_ISCHR(null.st_mode), null.st_rdev) == (True, os.makedev(1, 3))
    assert stat.S_ISFIFO((tree / "fifo").stat().st_mode)
    assert os.getxattr(tree / "ping", "security.capability") == CAPABILITY.encode()
    assert os.getxattr(tree / "tagged", "user.colour") == b"blue"
    assert (tree / "absolute").read_bytes() == b"inside"


async def test_links_lead_nowhere_but_into_the_layer(unpacked: Unpacker, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tree = await unpacked(
        directory(str(outside)),
        symlink("absolute", str(outside)),
        directory("inner"),
        symlink("inner/up", "../../../../.."),
        file("absolute/x", b"kept inside"),
        file("inner/up/y", b"kept inside"),
        symlink("z", str(outside / "z")),
        file("z", b"in the place of the link"),
    )
    assert list(outside.iterdir()) == []
    assert (tree / str(outside).lstrip("/") / "x").read_bytes() == b"kept inside"
    assert (tree / "y").read_bytes() == b"kept inside"
    assert not (tree / "z").is_symlink()


async def test_orders_to_overlayfs_are_not_taken_from_an_image(unpacked: Unpacker) -> None:
    given = {"trusted.overlay.redirect": "/etc", "trusted.overlay.opaque": "y"}
    tree = await unpacked(Member("d/x", xattrs=given))
    assert os.listxattr(tree / "d/x") == []


async def test_of_several_members_of_one_name_the_last_holds(unpacked: Unpacker) -> None:
    tree = await unpacked(
        file("x", b"one"),
        hard_link("y", "x"),
        file("x", b"two"),
        file("becomes"),
        directory("becomes"),
        directory("stays"),
        file("stays/inside"),
        directory("stays", 0o700),
    )
    assert ((tree / "x").read_bytes(), (tree / "y").read_bytes()) == (b"two", b"one")
    assert (tree / "becomes").is_dir()
    assert (tree / "stays/inside").exists()
    assert stat.S_IMODE((tree / "stays").stat().st_mode) == 0o700


@contextmanager
def stacked(path: Path, *trees: Path) -> Iterator[Path]:
    """Mounted, the topmost first."""
    lower = ":".join(map(str, trees))
    path.mkdir()
    options = f"lowerdir={lower}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def shown(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


LOWER = (
    file("gone"),
    directory("replaced"),
    file("replaced/old"),
    directory("emptied"),
    file("emptied/old"),
    directory("merged"),
    file("merged/old"),
)


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        ((whiteout("gone"),), lambda lower: lower - {"gone"}),
        ((whiteout("replaced"),), lambda lower: lower - {"replaced", "replaced/old"}),
        (
            (opaque("emptied"), file("emptied/new")),
            lambda lower: lower - {"emptied/old"} | {"emptied/new"},
        ),
        (
            (file("emptied/new"), opaque("emptied")),
            lambda lower: lower - {"emptied/old"} | {"emptied/new"},
        ),
        (
            (whiteout("replaced"), directory("replaced"), file("replaced/new")),
            lambda lower: lower - {"replaced/old"} | {"replaced/new"},
        ),
        (
            (directory("replaced"), file("replaced/new"), whiteout("replaced")),
            lambda lower: lower - {"replaced/old"} | {"replaced/new"},
        ),
        ((file("gone", b"new"), whiteout("gone")), lambda lower: lower),
        (
            (whiteout("merged/old"), file("merged/new")),
            lambda lower: lower - {"merged/old"} | {"merged/new"},
        ),
        ((file(".wh..wh.plnk"), file("new")), lambda lower: lower | {"new"}),
    ],
)
async def test_what_a_layer_hides_is_hidden(
    unpacked: Unpacker,
    tmp_path: Path,
    upper: tuple[Member, ...],
    expected: Callable[[set[str]], set[str]],
) -> None:
    below, above = await unpacked(*LOWER), await unpacked(*upper)
    with stacked(tmp_path / "merged", above, below) as root:
        assert shown(root) == expected(shown(below))


async def test_a_layer_that_hides_all_below_it_says_so(tmp_path: Path) -> None:
    made = layer(opaque(""), file("new"))
    blob, target = tmp_path / "blob", tmp_path / "tree"
    blob.write_bytes(made.blob)
    target.mkdir()
    found = await unpack(blob, made.digest, target, BOUNDS, Programs(tmp_path / "lock"))
    assert found.is_opaque


async def test_nothing_is_looked_at_before_its_digest_is_right(tmp_path: Path) -> None:
    made, other = layer(file("x")), layer(file("y"))
    blob, target = tmp_path / "blob", tmp_path / "tree"
    blob.write_bytes(other.blob)
    target.mkdir()
    with pytest.raises(errors.RuntimeError, match=r"is not what the registry sent: its digest is"):
        await unpack(blob, made.digest, target, BOUNDS, Programs(tmp_path / "lock"))
    assert list(target.iterdir()) == []
