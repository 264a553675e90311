"""Manifests from files, directories and standard input: all are read before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.errors import Misuse
from orchestrator.model.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.model.workload import WorkloadDefinition, WorkloadKey

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_BYTES = 64 * 1024 * 1024
"""More than this is not even read; what a manifest may have is for `model.manifest` to say."""


def read_manifests(names: Sequence[str]) -> list[WorkloadDefinition]:
    """The definitions in files, directories (of which not the folders within) and `-`.

    Raises `ManifestError` or `ConfigError` with all that is wrong with all of them.
    """
    from orchestrator.model.manifest import parse_manifests  # PyYAML is slow to import

    definitions: list[WorkloadDefinition] = []
    sources: dict[WorkloadKey, str] = {}
    faults: list[str] = []
    for source, text in _texts(names):
        try:
            found = parse_manifests(text, source=source)
        except ConfigError as error:
            faults.append(str(error))
            continue
        for definition in found:
            other = sources.setdefault(definition.key, source)
            if other != source:
                faults.append(f"workload {definition.key} is in {other} and in {source}")
        definitions += found
    if faults:
        raise ConfigError(_told(faults))
    return definitions


def _told(faults: Sequence[str]) -> str:
    """A single problem as it is; several as a list."""
    lines = [line for fault in faults for line in fault.splitlines()]
    return lines[0] if len(lines) == 1 else "\n".join(["nothing was sent, because:", *lines])


def _texts(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each source's name and text; a file that is named twice is read once."""
    if not names:
        raise Misuse("name a manifest: -f FILE, -f DIR, or -f - for standard input")
    for name in dict.fromkeys(names):
        if name == "-":
            yield "standard input", _decoded(sys.stdin.buffer.read(MAX_BYTES), "standard input")
        else:
            yield from ((str(path), _text(path)) for path in _files(Path(name)))


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        found = sorted(each for each in path.iterdir() if _is_manifest(each))
    except OSError as error:
        raise _unreadable(path, error) from None
    if not found:
        raise ConfigError(f"there is no manifest in {path}: their names end in .yaml or .json")
    return found


def _is_manifest(path: Path) -> bool:
    return path.suffix in SUFFIXES and path.is_file()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decoded(file.read(MAX_BYTES), str(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot read {path}: {error.strerror}")


def _decoded(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: this is not UTF-8") from None
