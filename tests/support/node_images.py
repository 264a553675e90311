"""`NodeImages` for tests, and what is on their disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.runtime.images.node_images import Image, NodeImages, Users
from orchestrator.runtime.images.terms import LayerBounds, RegistryTerms, StorageTerms

BOUNDS = LayerBounds(free_bytes=1_000_000)
STORAGE = StorageTerms(high_percent=100.0, low_percent=100.0, bounds=BOUNDS)
"""However full the machine's disk is, nothing is deleted for it."""


def take_root() -> None:
    """Skips the test where the layers of images cannot be unpacked."""
    if os.geteuid() != 0:
        pytest.skip("only root may give the files of an image their owners")


async def opened(
    root: Path,
    terms: RegistryTerms,
    *,
    storage: StorageTerms = STORAGE,
    in_use: Callable[[], Users] = dict,
    now: Callable[[], float] | None = None,
) -> NodeImages:
    take_root()
    more = {"now": now} if now else {}
    images = NodeImages(root, terms, storage, in_use=in_use, **more)
    await images.open()
    return images


def bounded(**bounds: float) -> StorageTerms:
    return replace(STORAGE, bounds=replace(BOUNDS, **bounds))  # type: ignore[arg-type]


def merged(image: Image) -> Mapping[str, bytes]:
    """The files that a container of the image would see, as overlayfs stacks its layers: without
    whiteouts."""
    seen: dict[str, bytes] = {}
    for layer in image.layers:
        for path in sorted(layer.rglob("*")):
            if path.is_file() and not path.is_symlink():
                seen.setdefault(path.relative_to(layer).as_posix(), path.read_bytes())
    return seen


def left_over(root: Path) -> list[str]:
    """What is under the directory of a node's images besides whole ones."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file()
        and path.name != "lock"
        and path.relative_to(root).parts[0] not in {"layers", "images", "names.json"}
    )
