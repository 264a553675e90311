"""Names of images, as `docker pull` takes them, and the digests that they stand for.

The normal form names everything: `nginx` is `docker.io/library/nginx:latest`. Whoever compares
references, or looks one up, does so in that form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from orchestrator.model.errors import ConfigError

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME_LENGTH = 255

_HOST = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])"
_REGISTRY = re.compile(rf"{_HOST}(?::([1-9][0-9]{{0,4}}))?", re.ASCII)
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_IDENTIFIER = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """`repository` begins with its registry: `docker.io/library/nginx`. `tag` is empty only where
    a `digest` (`sha256:...`) names the image; that counts, whatever the tag says."""

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Raises `ConfigError` for what names no image."""
        parts = _split(text)
        if problem := _problem(text, parts):
            raise ConfigError(f"the image {text!r} cannot be: {problem}")
        tag = parts.tag or ("" if parts.digest else DEFAULT_TAG)
        return cls(f"{parts.registry}/{parts.path}", tag, parts.digest or "")

    @property
    def registry(self) -> str:
        return self.repository.partition("/")[0]

    @property
    def is_pinned(self) -> bool:
        """Whether it means the same image for ever."""
        return bool(self.digest)

    def pinned(self, digest: str) -> ImageReference:
        """What it stands for, once somebody has looked: `digest` is a manifest's or an index's."""
        return ImageReference(self.repository, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"


@dataclass(frozen=True, slots=True)
class ImagePins:
    """The record under `observed/images/<namespace>/<workload>/<generation>`, by the first agent
    that has looked: the pinned reference of each container's image, for all of its replicas."""

    images: dict[str, str] = field(default_factory=dict)


def image_problem(text: str) -> str:
    """Why it names no image, to be said after its value; empty if it does."""
    return _problem(text, _split(text))


def normal_image(text: str) -> str:
    """The normal form; what names no image stays as it is."""
    return text if image_problem(text) else str(ImageReference.parse(text))


@dataclass(frozen=True, slots=True)
class _Parts:
    """None: there is none."""

    registry: str
    path: str
    tag: str | None
    digest: str | None


def _split(text: str) -> _Parts:
    name, at, digest = text.partition("@")
    registry, path = _located(name)
    path, colon, tag = path.partition(":")
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    return _Parts(registry, path, tag if colon else None, digest if at else None)


def _located(name: str) -> tuple[str, str]:
    """Docker's rule: what comes first is a registry if it looks like a host."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return DEFAULT_REGISTRY, name
    host = first.lower()
    return (DEFAULT_REGISTRY if host == f"index.{DEFAULT_REGISTRY}" else host), rest


def _problem(text: str, parts: _Parts) -> str:
    if not text:
        return "it must name an image, like nginx:1.29"
    if re.search(r"\s", text):
        return "it must not contain blanks"
    if _IDENTIFIER.fullmatch(text):
        return "64 hexadecimal digits alone name no image: write NAME@sha256:..."
    if "://" in text:
        return f"it must begin with a registry or a path: leave out {text.partition('://')[0]}://"
    if parts.digest is not None and not _DIGEST.fullmatch(parts.digest):
        return "after '@' it must have sha256: and 64 of 0-9 and a-f"
    if parts.tag is not None and not _TAG.fullmatch(parts.tag):
        return (
            "its tag must be 1 to 128 letters, digits, '_', '.' or '-', the first no '.' and no '-'"
        )
    return _registry_problem(parts.registry) or _path_problem(parts)


def _registry_problem(registry: str) -> str:
    found = _REGISTRY.fullmatch(registry)
    if found is None or int(found[1] or 0) > 65_535:
        return f"its registry {registry!r} must be a host name, with :port if it has another one"
    return ""


def _path_problem(parts: _Parts) -> str:
    if not all(map(_PART.fullmatch, parts.path.split("/"))):
        lower = parts.path.lower()
        if lower != parts.path and all(map(_PART.fullmatch, lower.split("/"))):
            return "its name must be in lower-case letters"
        return (
            "its name must be made of a-z and 0-9, with '.', '_' or '-' between them, and '/'"
            " between its parts"
        )
    if len(parts.registry) + 1 + len(parts.path) > MAX_NAME_LENGTH:
        return f"its name may have at most {MAX_NAME_LENGTH} characters, the registry included"
    return ""
