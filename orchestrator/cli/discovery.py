"""Which servers to speak to: those named, or those of a local cluster that `orc up` started.

A local cluster is found by its data directory, which holds `cluster.json` with
`{"servers": ["http://127.0.0.1:7400", ...]}`. The directory is the one named, else the one in
the pointer file that the last `orc up` has left, else the default one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.cli.errors import Misuse, NoCluster
from orchestrator.model.errors import ConfigError

CLUSTER_FILE = "cluster.json"
NO_CLUSTER = "no cluster found: start one with `orc up`, or name one with --server or ORC_SERVER"


def state_pointer(environ: Mapping[str, str]) -> Path:
    """The file whose one line is the data directory of the last `orc up`."""
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "orchestrator" / "current"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    return _xdg(environ, "XDG_DATA_HOME", ".local/share") / "orchestrator" / "local"


def _xdg(environ: Mapping[str, str], variable: str, default: str) -> Path:
    """A base directory; relative ones are to be passed over (XDG Base Directory Specification)."""
    named = Path(environ.get(variable, ""))
    return named if named.is_absolute() else Path(environ.get("HOME", "/")) / default


def find_data_dir(named: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the local cluster is, or would be. `named` is --data-dir or ORC_DATA_DIR."""
    if named is not None:
        return named
    try:
        pointed = state_pointer(environ).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        pointed = ""
    return Path(pointed) if pointed else default_data_dir(environ)


def local_servers(data_dir: Path) -> tuple[str, ...]:
    """The servers of the cluster in `data_dir`; none if there is no cluster.

    Raises `ConfigError` for a cluster file that cannot be read.
    """
    path = data_dir / CLUSTER_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is damaged ({error}): run `orc up` again") from None
    servers = record.get("servers") if isinstance(record, dict) else None
    if not isinstance(servers, list) or not all(isinstance(each, str) for each in servers):
        raise ConfigError(f"{path} names no servers: run `orc up` again")
    return parse_servers(servers)


def parse_servers(texts: Iterable[str]) -> tuple[str, ...]:
    """URLs, each once and in order, from texts that may hold several with commas between.

    Raises `Misuse` for what is no URL of a server.
    """
    parts = [part.strip().rstrip("/") for text in texts for part in text.split(",")]
    return tuple(dict.fromkeys(_checked(part) for part in parts if part))


def _checked(text: str) -> str:
    try:
        url = urlsplit(text)
        is_server = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_server = False
    if not is_server:
        raise Misuse(f"{text!r} is no server: write it like http://127.0.0.1:7400")
    return text


def find_servers(
    named: Iterable[str], data_dir: Path | None, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """The servers named, else those of the local cluster. Raises `NoCluster` if there is none."""
    servers = parse_servers(named) or local_servers(find_data_dir(data_dir, environ))
    if not servers:
        raise NoCluster(NO_CLUSTER)
    return servers
