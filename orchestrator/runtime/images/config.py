"""The config of an image: what it says of how to run it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.model import errors
from orchestrator.runtime.images.manifests import Digest
from orchestrator.runtime.images.platforms import Machine, Platform


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """`volumes` are paths, `exposed_ports` like `80/tcp`. What the image does not say is empty."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    architecture: str = ""
    os: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageDocument:
    """All that a node needs of the blob. `diff_ids`: of the layers, the lowest first."""

    config: ImageConfig
    diff_ids: tuple[str, ...]
    created: str


@dataclass(frozen=True, slots=True)
class _Run:
    """Builders leave out what they do not say, or write null."""

    Entrypoint: Sequence[str] | None = None
    Cmd: Sequence[str] | None = None
    Env: Sequence[str] | None = None
    User: str | None = None
    WorkingDir: str | None = None
    StopSignal: str | None = None
    Volumes: dict[str, Any] | None = None
    ExposedPorts: dict[str, Any] | None = None
    Labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _RootFs:
    diff_ids: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class _Document:
    rootfs: _RootFs
    config: _Run | None = None
    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: Annotated[str | None, Field(max_length=40)] = None


_DOCUMENT = TypeAdapter(_Document)


def read_config(content: bytes, machine: Machine) -> ImageDocument:
    """Raises `RuntimeError` for what is no config, or is of an image for another machine."""
    try:
        document = _DOCUMENT.validate_json(content)
    except ValidationError as error:
        told = error.errors(include_url=False)[0]
        where = ".".join(map(str, told["loc"])) or "it"
        raise errors.RuntimeError(
            f"its config is not as OCI describes one: {where}: {told['msg'].lower()}"
        ) from None
    made_for = Platform(document.os, document.architecture, document.variant)
    if document.architecture and machine.rank(made_for) is None:
        raise errors.RuntimeError(f"it is for {made_for}, and this node is {machine}")
    run = document.config or _Run()
    config = ImageConfig(
        entrypoint=tuple(run.Entrypoint or ()),
        command=tuple(run.Cmd or ()),
        env={name: text for name, _, text in (each.partition("=") for each in run.Env or ())},
        user=run.User or "",
        working_dir=run.WorkingDir or "",
        stop_signal=run.StopSignal or "",
        volumes=tuple(run.Volumes or ()),
        exposed_ports=tuple(run.ExposedPorts or ()),
        architecture=document.architecture,
        os=document.os,
        labels=run.Labels or {},
    )
    return ImageDocument(config, document.rootfs.diff_ids, document.created or "")
