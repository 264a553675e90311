"""The bytes of a layer as they were before they were compressed, hashed while they are read."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from io import BufferedReader

from orchestrator.runtime.images.unpacker.refusal import Refused

CHUNK_BYTES = 256 * 1024

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ENDS_EARLY = "ends in the middle: it was cut off when it was made"


class LayerStream:
    """Refuses more than `max_bytes`: a small file may unpack to any size."""

    def __init__(self, pieces: Iterator[bytes], max_bytes: int) -> None:
        self.bytes_read = 0
        self._pieces = pieces
        self._max_bytes = max_bytes
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()

    def pieces(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes."""
        while count:
            if not self._rest and not self._advance():
                raise Refused(_ENDS_EARLY)
            piece, self._rest = self._rest[:count], self._rest[count:]
            count -= len(piece)
            yield piece

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes, of which there are few."""
        return b"".join(self.pieces(count))

    def skip(self, count: int) -> None:
        for _ in self.pieces(count):
            pass

    def digest(self) -> str:
        """Of all of it: what has not been read yet is read now."""
        while self._advance():
            pass
        return f"sha256:{self._hash.hexdigest()}"

    def _advance(self) -> bool:
        piece = next(self._pieces, b"")
        self._hash.update(piece)
        self.bytes_read += len(piece)
        if self.bytes_read > self._max_bytes:
            raise Refused(f"unpacks to more than {self._max_bytes // 1_000_000} MB, the limit")
        self._rest = memoryview(piece)
        return bool(piece)


def uncompressed(file: BufferedReader) -> Iterator[bytes]:
    """What is in `file`, which tells by its first bytes how it is compressed, if it is."""
    begin = file.read(4)
    file.seek(0)
    if begin[:2] == _GZIP:
        return _gunzipped(file)
    if begin == _ZSTD:
        return _by_zstd(file)
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def _gunzipped(file: BufferedReader) -> Iterator[bytes]:
    """gzip files may be made of several members, with zeros between and behind them."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS + 16)
    is_fresh = True
    while compressed := file.read(CHUNK_BYTES):
        while compressed:
            if is_fresh and not (compressed := compressed.lstrip(b"\0")):
                break
            try:
                piece = inflate.decompress(compressed, CHUNK_BYTES)
            except zlib.error as error:
                raise Refused(f"is damaged: {error}") from None
            if piece:
                yield piece
            compressed = inflate.unconsumed_tail or inflate.unused_data
            is_fresh = inflate.eof
            if is_fresh:
                inflate = zlib.decompressobj(zlib.MAX_WBITS + 16)
    if not is_fresh:
        raise Refused(_ENDS_EARLY)


def _by_zstd(file: BufferedReader) -> Iterator[bytes]:
    import subprocess  # slow to import, and few layers need it

    os.lseek(file.fileno(), 0, os.SEEK_SET)  # our own buffer has read on
    command = ["zstd", "--decompress", "--stdout", "--quiet"]
    try:
        process = subprocess.Popen(
            command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise Refused("is compressed with zstd: install the program zstd on this node") from None
    with process:
        assert process.stdout
        assert process.stderr
        while piece := process.stdout.read(CHUNK_BYTES):
            yield piece
        said = process.stderr.read(1000).decode(errors="replace").strip()
        if process.wait():
            raise Refused(f"is damaged: {said or 'zstd cannot read it'}")
