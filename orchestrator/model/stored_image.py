"""What nodes, the API and `orc` say to each other of the images on a node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredImage:
    """`image` is the pinned reference, `names` are the tags that were last seen to stand for it.

    `size_bytes` is that of its layers, which images may share; `created` is what its builder says;
    `used_at` is in seconds since 1970; `used_by` are ids of containers.
    """

    node: str
    image: str
    names: tuple[str, ...]
    size_bytes: int
    created: str
    used_at: float
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullLine:
    """A line of a pull: how far it is; in the end, the image, or why there is none."""

    progress: str = ""
    image: StoredImage | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DeletedImages:
    """`freed_bytes` are those of layers that no image has any more."""

    node: str
    images: tuple[str, ...]
    freed_bytes: int
