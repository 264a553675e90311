"""From a backup to a data directory that etcd can start on.

A restored etcd is another cluster: it has forgotten what was written since. So it must not look
like the old one, whose agents would take what it does not know for what they have to stop. etcd
computes a cluster's id from its members' addresses and a token, which is "etcd-cluster" for
everybody who does not think of it; here the token is made from the backup, and is the same on
every machine that restores it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.errors import ClusterError, ConfigError
from orchestrator.upkeep.programs import EtcdPrograms, plain_environment, restorer_of

PAGE_BYTES = 512
SHA_BYTES = hashlib.sha256().digest_size
CHUNK_BYTES = 1024 * 1024

RESTORE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Backup:
    """A file that etcd has sent: its database, and the digest of that at the end."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Membership:
    """Who the restored member is. `cluster` is name=peer-url of all members, with commas between;
    empty: this one alone."""

    name: str = "default"
    peer_url: str = "http://localhost:2380"
    cluster: str = ""
    token: str = ""

    @property
    def initial_cluster(self) -> str:
        return self.cluster or f"{self.name}={self.peer_url}"


def read_backup(path: Path) -> Backup:
    """Check that the file is whole. Raises `ConfigError` when it is not, or cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            content = hashlib.sha256()
            left = size - SHA_BYTES
            while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
                content.update(chunk)
                left -= len(chunk)
            trailer = file.read()
    except OSError as error:
        raise ConfigError(f"cannot read the backup {path}: {error.strerror}") from None
    if size % PAGE_BYTES != SHA_BYTES or trailer != content.digest():
        raise ConfigError(
            f"{path} is no whole backup of etcd: its checksum does not hold; take another one"
        )
    return Backup(path, size, content.hexdigest())


def token_of(backup: Backup) -> str:
    return f"restored-{backup.sha256[:16]}"


def require_vacant(data_dir: Path) -> None:
    """Nothing is ever restored over something. Raises `ConfigError`."""
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise ConfigError(
            f"{data_dir} is there already: stop etcd and move it away (do not delete it), or"
            " restore to another --data-dir"
        )


def _clear(data_dir: Path) -> None:
    """etcd 3.4's tool wants to make the directory itself."""
    require_vacant(data_dir)
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        if data_dir.exists():
            data_dir.rmdir()
    except OSError as error:
        raise ConfigError(f"cannot make {data_dir}: {error.strerror}; choose another") from None


async def restore(
    backup: Backup, data_dir: Path, membership: Membership, programs: EtcdPrograms
) -> None:
    """Make `data_dir` of it. Raises `ConfigError` if it is not vacant or the tool is missing, and
    `ClusterError` with the tool's last words if it fails."""
    await asyncio.to_thread(_clear, data_dir)
    process = await asyncio.create_subprocess_exec(
        *_command(backup, data_dir, membership, restorer_of(programs)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=plain_environment(os.environ),
    )
    try:
        async with asyncio.timeout(RESTORE_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = said.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise ClusterError(f"the backup {backup.path} cannot be restored: {words[-1]}")


def _command(
    backup: Backup, data_dir: Path, membership: Membership, restorer: Path
) -> Iterable[str]:
    return (
        str(restorer),
        *("snapshot", "restore", str(backup.path)),
        f"--name={membership.name}",
        f"--data-dir={data_dir}",
        f"--initial-cluster={membership.initial_cluster}",
        f"--initial-cluster-token={membership.token or token_of(backup)}",
        f"--initial-advertise-peer-urls={membership.peer_url}",
    )
