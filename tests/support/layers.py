"""Layers of images, as bytes, made by hand: so also such as no tool would make.

layer(directory("etc"), file("etc/motd", b"hello\n"), symlink("bin/sh", "busybox"))
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import pytest


class Compression(StrEnum):
    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = ""

    @property
    def media_type(self) -> str:
        suffix = f"+{self.value}" if self.value else ""
        return f"application/vnd.oci.image.layer.v1.tar{suffix}"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar archive. `uid`, `mode` and so on are those that its header tells."""

    name: str
    kind: bytes = tarfile.REGTYPE
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_000_000_000
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, str] = field(default_factory=dict)

    def tar_info(self) -> tarfile.TarInfo:
        made = tarfile.TarInfo(self.name)
        made.type, made.mode, made.size = self.kind, self.mode, len(self.content)
        made.uid, made.gid, made.mtime = self.uid, self.gid, self.mtime
        made.linkname = self.target
        made.devmajor, made.devminor = self.device
        made.pax_headers = {f"SCHILY.xattr.{name}": text for name, text in self.xattrs.items()}
        return made


def file(name: str, content: bytes = b"", mode: int = 0o644, **more: int) -> Member:
    return Member(name, content=content, mode=mode, **more)  # type: ignore[arg-type]


def directory(name: str, mode: int = 0o755, **more: int) -> Member:
    return Member(name, tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]


def symlink(name: str, target: str) -> Member:
    return Member(name, tarfile.SYMTYPE, target=target, mode=0o777)


def hard_link(name: str, target: str) -> Member:
    return Member(name, tarfile.LNKTYPE, target=target)


def character_device(name: str, major: int, minor: int, mode: int = 0o666) -> Member:
    return Member(name, tarfile.CHRTYPE, device=(major, minor), mode=mode)


def fifo(name: str) -> Member:
    return Member(name, tarfile.FIFOTYPE)


def whiteout(name: str) -> Member:
    """Hides `name` of the layers below."""
    parent, slash, last = name.rpartition("/")
    return Member(f"{parent}{slash}.wh.{last}")


def opaque(name: str) -> Member:
    """Hides all that the layers below have in the directory `name`."""
    return Member(f"{name}/.wh..wh..opq" if name else ".wh..wh..opq")


@dataclass(frozen=True, slots=True)
class Layer:
    """`blob` is what a registry serves; `diff_id` the digest of the archive within."""

    blob: bytes
    media_type: str
    diff_id: str

    @property
    def digest(self) -> str:
        return digest_of(self.blob)


def layer(*members: Member, compression: Compression = Compression.GZIP) -> Layer:
    return layer_of(archive(members), compression)


def layer_of(tar: bytes, compression: Compression = Compression.GZIP) -> Layer:
    """Of an archive that need not be one."""
    return Layer(compressed(tar, compression), compression.media_type, digest_of(tar))


def archive(members: Iterable[Member]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            tar.addfile(member.tar_info(), io.BytesIO(member.content))
    return written.getvalue()


def compressed(tar: bytes, compression: Compression) -> bytes:
    if compression is Compression.GZIP:
        return gzip.compress(tar, compresslevel=1, mtime=0)
    if compression is Compression.ZSTD:
        if shutil.which("zstd") is None:
            pytest.skip("no zstd here: install zstd")
        command = ["zstd", "-q", "-c"]
        return subprocess.run(command, input=tar, capture_output=True, check=True).stdout
    return tar


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
