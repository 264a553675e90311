"""Writing a layer's tree so that nothing gets out of it, whatever its members are called.

Theory of operation
-------------------
The members of an archive are untrusted: `../../etc/passwd`, `/etc/passwd`, a symbolic link
`x -> /` followed by `x/etc/passwd`. Nothing is ever opened by a path from outside the tree. The
directory of a member is opened by openat2(2) with RESOLVE_IN_ROOT, with which the kernel itself
takes the tree for the whole file system; and the last part of its name is only used with calls
that do not follow it. A name with `..` is refused outright: no honest archive has one.

The tree is a lower layer of overlayfs, which has its own way to say that something is not there.
A member `.wh.x` (`x` of the layers below is hidden) becomes a character device 0:0 called `x`; a
member `.wh..wh..opq` (all that the layers below have in this directory is hidden) becomes the
attribute `trusted.overlay.opaque` of its directory. Both hide only what is below, so what the
layer itself has under that name, before or behind the mark, stays.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from orchestrator.runtime.images.unpacker import tar
from orchestrator.runtime.images.unpacker.refusal import Refused, shown

_OPAQUE = "trusted.overlay.opaque"
_MARK = b".wh."
_OPAQUE_MARK = b".wh..wh..opq"
_AUFS_MARK = b".wh..wh."
"""What aufs kept for itself: no whiteout."""

_KEPT_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_")
"""Others are the node's business (security labels), or would be orders to overlayfs (trusted)."""

_NODES = {
    tar.CHARACTER: stat.S_IFCHR,
    tar.BLOCK_DEVICE: stat.S_IFBLK,
    tar.FIFO: stat.S_IFIFO,
}
_DEVICES = (tar.CHARACTER, tar.BLOCK_DEVICE)

MAX_DEPTH = 256
"""Directories within each other: more are made to trouble whoever has to walk them."""

_OPENAT2 = 437
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x01, 0x02, 0x10
_libc = ctypes.CDLL(None, use_errno=True)

Parts = tuple[bytes, ...]


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class Tree:
    """The tree in `path`, an empty directory. `is_opaque`: nothing of the layers below is seen."""

    def __init__(self, path: str) -> None:
        self.is_opaque = False
        self.devices = 0
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._last: tuple[Parts, int] = ((), self._root)
        self._mtimes: dict[Parts, int] = {}

    @property
    def free_bytes(self) -> int:
        """Of the file system that it is on."""
        room = os.fstatvfs(self._root)
        return room.f_bavail * room.f_frsize

    def add(self, member: tar.Member, content: Iterable[memoryview]) -> None:
        parts = _parts(member.name)
        if not parts:
            self._note_root(member)
            return
        directory, last = self._directory(parts[:-1]), parts[-1]
        if last.startswith(_MARK):
            self._hide(directory, parts)
            return
        self._make_way(directory, parts, member)
        if member.kind == tar.HARD_LINK:
            self._link(directory, last, member)
            return
        _make(directory, last, member, content)
        _own(directory, last, member)
        if member.kind == tar.DIRECTORY:
            self._mtimes[parts] = member.mtime_ns  # what comes into it would change it
        self.devices += member.kind in _DEVICES

    def finish(self) -> None:
        """Give directories their times."""
        for parts, mtime_ns in self._mtimes.items():
            with suppress(FileNotFoundError, Refused):  # a link on its way leads elsewhere now
                fd = self._open(parts)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
                os.close(fd)

    def _note_root(self, member: tar.Member) -> None:
        if member.kind != tar.DIRECTORY:
            raise Refused(f"has a member {shown(member.name)} that is no directory")
        _own(self._root, b".", member)
        self._mtimes[()] = member.mtime_ns

    def _directory(self, parts: Parts) -> int:
        """The open directory, which is made if it is not there. Valid until the next call."""
        if parts == self._last[0]:
            return self._last[1]
        self._forget_last()
        try:
            fd = self._open(parts)
        except FileNotFoundError:
            fd = self._made(parts)
        self._last = (parts, fd)
        return fd

    def _made(self, parts: Parts) -> int:
        parent = self._directory(parts[:-1])
        try:
            os.mkdir(parts[-1], 0o755, dir_fd=parent)
        except FileExistsError:  # a link that leads nowhere
            raise _no_directory(parts) from None
        self._forget_last()
        return self._open(parts)

    def _forget_last(self) -> None:
        if self._last[1] != self._root:
            os.close(self._last[1])
        self._last = ((), self._root)

    def _open(self, parts: Parts) -> int:
        """Raises `FileNotFoundError`; and `Refused` for what is no directory."""
        how = _OpenHow(
            os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
            0,
            _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_XDEV,
        )
        path = b"/".join(parts) or b"."
        size = ctypes.sizeof(how)
        fd = int(_libc.syscall(_OPENAT2, self._root, path, ctypes.byref(how), size))
        if fd >= 0:
            return fd
        error = _error()
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
            raise _no_directory(parts)
        raise error

    def _hide(self, directory: int, parts: Parts) -> None:
        last = parts[-1]
        if last == _OPAQUE_MARK:
            os.setxattr(directory, _OPAQUE, b"y")
            self.is_opaque |= len(parts) == 1
            return
        if last.startswith(_AUFS_MARK):
            return
        hidden = last[len(_MARK) :]
        if hidden in (b"", b".", b".."):
            raise Refused(f"has a whiteout {shown(b'/'.join(parts))} of nothing")
        there = _status(directory, hidden)
        if there is None:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=directory)
        elif stat.S_ISDIR(there.st_mode):
            os.setxattr(self._directory((*parts[:-1], hidden)), _OPAQUE, b"y")

    def _make_way(self, directory: int, parts: Parts, member: tar.Member) -> None:
        """For a member whose name is taken: the later one holds. Directories become one."""
        there = _status(directory, parts[-1])
        is_directory = member.kind == tar.DIRECTORY
        if there is None or (is_directory and stat.S_ISDIR(there.st_mode)):
            return
        if stat.S_ISDIR(there.st_mode):
            raise Refused(f"has a member {shown(member.name)} twice, once as a directory")
        os.unlink(parts[-1], dir_fd=directory)
        if is_directory and stat.S_ISCHR(there.st_mode) and there.st_rdev == 0:
            os.mkdir(parts[-1], dir_fd=directory)
            _set_xattr(directory, parts[-1], _OPAQUE, b"y")

    def _link(self, directory: int, last: bytes, member: tar.Member) -> None:
        target = _parts(member.target)
        missing = Refused(
            f"has a hard link {shown(member.name)} to {shown(member.target)}, which is no file"
            " of it"
        )
        if not target:
            raise missing
        own = os.dup(directory)  # looking up the target's closes ours
        try:
            source = self._directory(target[:-1])
            os.link(target[-1], last, src_dir_fd=source, dst_dir_fd=own, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            raise missing from None
        finally:
            os.close(own)


def _make(directory: int, last: bytes, member: tar.Member, content: Iterable[memoryview]) -> None:
    if member.kind == tar.FILE:
        _make_file(directory, last, content)
    elif member.kind == tar.SYMLINK:
        os.symlink(member.target, last, dir_fd=directory)
    elif member.kind == tar.DIRECTORY:
        with suppress(FileExistsError):
            os.mkdir(last, 0o700, dir_fd=directory)
    else:
        kind = _NODES[member.kind]
        os.mknod(last, kind, os.makedev(*member.device), dir_fd=directory)


def _make_file(directory: int, last: bytes, content: Iterable[memoryview]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(last, flags, 0o600, dir_fd=directory)
    try:
        for piece in content:
            _write(fd, piece)
    finally:
        os.close(fd)


def _parts(name: bytes) -> Parts:
    """An absolute name is taken as relative to the tree, as tar does."""
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise Refused(f"has a member {shown(name)} that leads out of it")
    if len(parts) > MAX_DEPTH:
        raise Refused(f"has a member {shown(name)}, deeper than {MAX_DEPTH} directories")
    return parts


def _no_directory(parts: Parts) -> Refused:
    return Refused(f"has members in {shown(b'/'.join(parts))}, which is no directory of it")


def _own(directory: int, last: bytes, member: tar.Member) -> None:
    """Owner, then mode, then attributes: a change of owner takes away setuid and capabilities."""
    os.chown(last, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
    if member.kind != tar.SYMLINK:
        os.chmod(last, member.mode, dir_fd=directory)
    for name, value in member.xattrs.items():
        if name.startswith(_KEPT_XATTRS):
            _set_xattr(directory, last, os.fsdecode(name), value)
    times = (member.mtime_ns, member.mtime_ns)
    os.utime(last, ns=times, dir_fd=directory, follow_symlinks=False)


def _set_xattr(directory: int, last: bytes, name: str, value: bytes) -> None:
    path = b"/proc/self/fd/%d/%s" % (directory, last)  # there is no setxattrat(2) to speak of
    os.setxattr(path, name, value, follow_symlinks=False)


def _status(directory: int, last: bytes) -> os.stat_result | None:
    try:
        return os.stat(last, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _write(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
