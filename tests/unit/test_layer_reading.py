"""The unpacker's own reader of archives, against Python's; and that it imports next to nothing."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchestrator
from orchestrator.runtime.images.unpacker.refusal import Refused
from orchestrator.runtime.images.unpacker.stream import LayerStream, uncompressed
from orchestrator.runtime.images.unpacker.tar import Member, members
from tests.support.layers import archive, digest_of, file

PROBE = """
import sys; sys.path.append(sys.argv[1])
import orchestrator.runtime.images.unpacker.main
print(str(list(sys.modules)).replace("'", '"'))
"""
SLOW = {"subprocess", "dataclasses", "pathlib", "asyncio", "logging", "tempfile", "inspect"}


def stream_of(content: bytes, max_bytes: int = 10**9) -> LayerStream:
    """In pieces that end anywhere."""
    pieces = (content[at : at + 700] for at in range(0, len(content), 700))
    return LayerStream(pieces, max_bytes)


def read(tar: bytes) -> list[tuple[Member, bytes]]:
    stream = stream_of(tar)
    found = [(member, stream.exactly(member.size)) for member in members(stream)]
    assert stream.digest() == digest_of(tar)
    return found


names = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=120
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
ids = st.integers(0, 2**32 - 2)
kinds = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]
)


@st.composite
def tar_infos(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(draw(paths))
    made.type = draw(kinds)
    content = draw(st.binary(max_size=2000)) if made.isreg() else b""
    made.size = len(content)
    made.mode = draw(st.integers(0, 0o7777))
    made.uid, made.gid = draw(ids), draw(ids)
    made.mtime = draw(st.integers(0, 2**33))
    made.linkname = draw(paths) if made.islnk() or made.issym() else ""
    if made.ischr():
        made.devmajor, made.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))
    return made, content


def written(infos: list[tuple[tarfile.TarInfo, bytes]], form: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for made, content in infos:
            tar.addfile(made, io.BytesIO(content))
    return target.getvalue()


@given(infos=st.lists(tar_infos(), max_size=6), form=st.sampled_from([1, 2]))
def test_what_python_writes_is_read_as_python_reads_it(
    infos: list[tuple[tarfile.TarInfo, bytes]], form: int
) -> None:
    tar = written(infos, form)
    with tarfile.open(fileobj=io.BytesIO(tar)) as reference:
        expected = list(reference)
    found = read(tar)
    assert len(found) == len(expected)
    for (member, content), theirs, (_, given_content) in zip(found, expected, infos, strict=True):
        assert member.name.rstrip(b"/").decode() == theirs.name
        assert (member.kind, member.target.decode()) == (theirs.type, theirs.linkname)
        assert (member.mode, member.uid, member.gid) == (theirs.mode, theirs.uid, theirs.gid)
        assert member.mtime_ns // 10**9 == theirs.mtime
        assert content == given_content
        assert member.device == (theirs.devmajor, theirs.devminor)


def test_pax_tells_times_to_the_nanosecond_and_attributes_as_they_are() -> None:
    made = tarfile.TarInfo("x")
    made.pax_headers = {"mtime": "1.000000002", "SCHILY.xattr.user.a": "b\nc=d"}
    [(member, _)] = read(written([(made, b"")], tarfile.PAX_FORMAT))
    assert member.mtime_ns == 1_000_000_002
    assert member.xattrs == {b"user.a": b"b\nc=d"}


def damaged(tar: bytes) -> Iterator[bytes]:
    for at in range(0, 512, 7):
        yield tar[:at] + bytes([tar[at] ^ 0x55]) + tar[at + 1 :]


def test_no_bit_of_a_header_changes_unnoticed() -> None:
    for tar in damaged(archive([file("x", b"content")])):
        with pytest.raises(Refused):
            read(tar)


@given(st.binary(max_size=2000))
def test_whatever_comes_is_read_or_refused(content: bytes) -> None:
    honest = bytearray(archive([file("x", b"content")]))
    honest[: len(content)] = content
    with suppress(Refused):
        read(bytes(honest))


def with_pax(content: bytes) -> bytes:
    made = tarfile.TarInfo("x")
    made.type, made.size = b"x", len(content)
    return made.tobuf(tarfile.USTAR_FORMAT) + content.ljust(512, b"\0")


@pytest.mark.parametrize(
    ("tar", "reason"),
    [
        (tarfile.TarInfo("x").tobuf()[:-1], "ends in the middle"),
        (archive([file("x", b"content")])[:600], "ends in the middle"),
        (with_pax(b"7 a=b\n"), "pax header that makes no sense"),
        (with_pax(b"3 a=b\n"), "pax header that makes no sense"),
        (with_pax(b"0 a=b\n"), "pax header that makes no sense"),
        (with_pax(b"x a=b\n"), "a header with 'x' for a number"),
    ],
)
def test_archives_that_make_no_sense(tar: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read(tar)


def test_headers_are_bounded_before_they_are_read() -> None:
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = b"x", 2**30
    with pytest.raises(Refused, match=r"a header of 1073741824 bytes: the limit is"):
        read(huge.tobuf(tarfile.USTAR_FORMAT))
    many = with_pax(b"6 a=b\n") * 9
    with pytest.raises(Refused, match="more than 8 headers"):
        read(many)


def test_kinds_that_are_not_supported_are_refused() -> None:
    sparse = tarfile.TarInfo("x")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(Refused, match="of a kind that is not supported"):
        read(sparse.tobuf())


def content_of(path: Path, blob: bytes) -> bytes:
    path.write_bytes(blob)
    with path.open("rb") as opened:
        return b"".join(uncompressed(opened))


def test_gzip_of_several_members_with_zeros_between_is_one_stream(tmp_path: Path) -> None:
    pieces = [b"one" * 300_000, b"", b"two"]
    blob = b"\0\0".join(gzip.compress(each) for each in pieces) + bytes(1000)
    assert content_of(tmp_path / "blob", blob) == b"".join(pieces)


def test_gzip_that_is_cut_or_damaged_is_refused(tmp_path: Path) -> None:
    blob = gzip.compress(bytes(range(256)) * 4000)
    with pytest.raises(Refused, match="ends in the middle"):
        content_of(tmp_path / "blob", blob[:-9])
    with pytest.raises(Refused, match="is damaged"):
        content_of(tmp_path / "blob", blob[:-8] + b"x" * 8)


def test_an_archive_without_compression_is_taken_as_it_is(tmp_path: Path) -> None:
    tar = archive([file("x", b"content" * 100_000)])
    assert content_of(tmp_path / "blob", tar) == tar


def test_the_unpacker_imports_nothing_slow_and_of_ours_only_its_own() -> None:
    root = Path(orchestrator.__file__).parents[1]
    command = [sys.executable, "-I", "-S", "-c", PROBE, str(root)]
    probe = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(probe.stdout))
    assert modules & SLOW == set()
    ours = {name for name in modules if name.startswith("orchestrator.")}
    own = "orchestrator.runtime.images"
    assert {name for name in ours if not name.startswith(own)} == {"orchestrator.runtime"}
