"""Manifests and indexes of images, as OCI's and Docker's specifications describe them. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.model import errors
from orchestrator.runtime.images.platforms import Machine, Platform, best

MAX_LAYERS = 500
"""overlayfs takes no more."""

_OCI, _DOCKER = "application/vnd.oci.image", "application/vnd.docker"
_LAYERS = (
    f"{_OCI}.layer.v1.tar",
    f"{_OCI}.layer.nondistributable.v1.tar",
    f"{_DOCKER}.image.rootfs",
)
_CONFIGS = (f"{_OCI}.config.v1+json", f"{_DOCKER}.container.image.v1+json")

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Blob:
    digest: Digest
    size: Annotated[int, Field(ge=0, le=2**50)]
    mediaType: str = ""  # noqa: N815 - the specification's name
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class _Document:
    """Either an index or a manifest."""

    schemaVersion: int  # noqa: N815 - the specification's name
    manifests: tuple[Blob, ...] | None = None
    config: Blob | None = None
    layers: tuple[Blob, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """`layers`: the lowest first."""

    config: Blob
    layers: tuple[Blob, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """One image for several platforms."""

    manifests: tuple[Blob, ...]

    def choose(self, machine: Machine) -> str:
        """The digest of the manifest for this machine. Raises `RuntimeError`."""
        offered = [each.platform or Platform() for each in self.manifests]
        chosen = best(machine, offered)
        if chosen is None:
            known = ", ".join(sorted({str(each) for each in offered if each.os != "unknown"}))
            raise errors.RuntimeError(
                f"there is no image for {machine}, which this node is, but for {known or 'nothing'}"
            )
        return self.manifests[chosen].digest


_DOCUMENT = TypeAdapter(_Document)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read_manifest(content: bytes) -> Manifest | Index:
    """Raises `RuntimeError` for what is no image that can be run."""
    try:
        document = _DOCUMENT.validate_json(content)
    except ValidationError as error:
        told = error.errors(include_url=False)[0]
        where = ".".join(map(str, told["loc"])) or "it"
        raise errors.RuntimeError(
            f"its manifest is not as OCI describes one: {where}: {told['msg'].lower()}"
        ) from None
    if document.schemaVersion != 2:
        raise errors.RuntimeError(
            "its manifest has Docker's format of before 2016 (schema 1), which is not supported:"
            " push it again with a newer tool"
        )
    if document.manifests is not None:
        return Index(document.manifests)
    if document.config is None or document.config.mediaType not in _CONFIGS:
        kind = document.config.mediaType if document.config else "nothing"
        raise errors.RuntimeError(f"it is no container image: its config is {kind}")
    _check_layers(document.layers)
    return Manifest(document.config, document.layers)


def _check_layers(layers: tuple[Blob, ...]) -> None:
    if len(layers) > MAX_LAYERS:
        raise errors.RuntimeError(
            f"it has {len(layers)} layers, and no more than {MAX_LAYERS} can be stacked: squash it"
        )
    for each in layers:
        if not each.mediaType.startswith(_LAYERS) or each.mediaType.endswith("+encrypted"):
            raise errors.RuntimeError(f"it has a layer of a kind not supported: {each.mediaType}")
