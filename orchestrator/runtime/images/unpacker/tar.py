"""Reading tar archives: ustar, pax and GNU's long names, as tar(5) describes them.

Every header is bounded before it is read. Sparse files, which no builder of images writes, are
refused.
"""

from collections.abc import Iterator

from orchestrator.runtime.images.unpacker.refusal import Refused, shown
from orchestrator.runtime.images.unpacker.stream import LayerStream

BLOCK = 512
MAX_HEADER_BYTES = 1024 * 1024
MAX_EXTENSIONS = 8
"""Headers before that of one member, of which each has its names and attributes in it."""

FILE = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
CHARACTER = b"3"
BLOCK_DEVICE = b"4"
DIRECTORY = b"5"
FIFO = b"6"
_KINDS = frozenset((FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
_AS_FILES = {b"\0": FILE, b"7": FILE}
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET = b"x", b"g", b"L", b"K"
_EXTENSIONS = frozenset((_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_TARGET))
_FOR_ALL = frozenset((b"uid", b"gid", b"mtime"))
"""What can sensibly be said of all members that follow."""

_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."

MAX_ID = 2**32 - 2
MAX_MTIME_SECONDS = 2**33


class Member:
    """`xattrs` are as pax keeps them: raw. `size` is of the content, which only files have."""

    __slots__ = (
        "device",
        "gid",
        "kind",
        "mode",
        "mtime_ns",
        "name",
        "size",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(self, header: bytes, pax: dict[bytes, bytes]) -> None:
        self.name = pax.get(b"path") or _ustar_name(header)
        self.target = pax.get(b"linkpath") or _text(header[157:257])
        self.kind = _kind(header, self.name)
        if self.kind not in _KINDS or any(key.startswith(_SPARSE) for key in pax):
            told = f"a member {shown(self.name)} of a kind that is not supported ({self.kind!r})"
            raise Refused(f"has {told}")
        self.mode = _number(header[100:108]) & 0o7777
        self.uid = _id(pax, b"uid", header[108:116])
        self.gid = _id(pax, b"gid", header[116:124])
        size = _decimal(pax[b"size"]) if b"size" in pax else _number(header[124:136])
        self.size = size if self.kind == FILE else 0
        self.mtime_ns = _mtime_ns(pax, header[136:148])
        self.device = _device(header) if self.kind in (CHARACTER, BLOCK_DEVICE) else (0, 0)
        self.xattrs = {
            key[len(_XATTR) :]: value for key, value in pax.items() if key.startswith(_XATTR)
        }
        if b"\0" in self.name or b"\0" in self.target or self.size < 0:
            raise Refused(f"has a member {shown(self.name)} whose header makes no sense")


def members(stream: LayerStream) -> Iterator[Member]:
    """Each is to be read (`stream.pieces(member.size)`) before the next is asked for."""
    for_all: dict[bytes, bytes] = {}
    pax: dict[bytes, bytes] = {}
    extensions = 0
    while (header := stream.exactly(BLOCK)).strip(b"\0"):
        _check(header)
        kind = header[156:157]
        if kind not in _EXTENSIONS:
            member = Member(header, {**for_all, **pax})
            pax, extensions = {}, 0
            yield member
            stream.skip(-member.size % BLOCK)
            continue
        extensions += 1
        if extensions > MAX_EXTENSIONS:
            raise Refused(f"has more than {MAX_EXTENSIONS} headers before that of a member")
        told = _extension(stream, header)
        if kind == _PAX_GLOBAL:
            for_all |= {key: value for key, value in told.items() if key in _FOR_ALL}
        else:
            pax |= told


def _check(header: bytes) -> None:
    found = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if header[148:156].strip(b" \0").lstrip(b"0") != b"%o" % found:
        raise Refused("is no tar archive, or is damaged")


def _extension(stream: LayerStream, header: bytes) -> dict[bytes, bytes]:
    """What a header that goes before that of a member tells of it, in pax's words."""
    size = _number(header[124:136])
    if not 0 <= size <= MAX_HEADER_BYTES:
        raise Refused(f"has a header of {size} bytes: the limit is {MAX_HEADER_BYTES}")
    content = stream.exactly(size)
    stream.skip(-size % BLOCK)
    kind = header[156:157]
    if kind == _GNU_NAME:
        return {b"path": _text(content)}
    return {b"linkpath": _text(content)} if kind == _GNU_TARGET else _pax(content)


def _pax(content: bytes) -> dict[bytes, bytes]:
    """Records `<length> <key>=<value>\\n`; the length counts all of its record."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        length, _, _ = content[at : at + 20].partition(b" ")
        begin, end = at + len(length) + 1, at + _decimal(length)
        key, equals, value = content[begin:end].partition(b"=")
        if not (equals and value.endswith(b"\n") and end <= len(content)):
            raise Refused("has a pax header that makes no sense")
        records[key] = value[:-1]
        at = end
    return records


def _kind(header: bytes, name: bytes) -> bytes:
    kind = _AS_FILES.get(header[156:157], header[156:157])
    is_old_directory = kind == FILE and name.endswith(b"/")  # before ustar, the only mark
    return DIRECTORY if is_old_directory else kind


def _ustar_name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    is_posix = header[257:263] == b"ustar\0"  # in GNU's form, other things are there
    return prefix + b"/" + name if prefix and is_posix else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits; or, for what is too large for them, base 256 with the highest bit set."""
    if field[0] == 0xFF:
        return int.from_bytes(field, "big", signed=True)
    if field[0] & 0x80:
        return int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise Refused(f"has a header with {shown(digits)} for a number") from None


def _decimal(digits: bytes) -> int:
    if not (digits.isdigit() and len(digits) < 20):
        raise Refused(f"has a header with {shown(digits)} for a number")
    return int(digits)


def _id(pax: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    found = _decimal(pax[key]) if key in pax else _number(field)
    if not 0 <= found <= MAX_ID:
        raise Refused(f"has a member that belongs to {key.decode()} {found}, which cannot be")
    return found


def _device(header: bytes) -> tuple[int, int]:
    major, minor = _number(header[329:337]), _number(header[337:345])
    if not (0 <= major < 2**12 and 0 <= minor < 2**20):
        raise Refused(f"has a device {major}:{minor}, which cannot be")
    return major, minor


def _mtime_ns(pax: dict[bytes, bytes], field: bytes) -> int:
    """A time that no file system can hold becomes the nearest that one can."""
    whole, _, fraction = pax.get(b"mtime", b"").partition(b".")
    sign = -1 if whole.startswith(b"-") else 1
    seconds = _decimal(whole.lstrip(b"-")) if whole else _number(field)
    nanoseconds = _decimal(fraction[:9].ljust(9, b"0")) if fraction else 0
    limited = sign * max(-MAX_MTIME_SECONDS, min(seconds, MAX_MTIME_SECONDS))
    return limited * 1_000_000_000 + sign * nanoseconds
