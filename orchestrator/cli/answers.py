"""Reading what the API answers: leniently, so that a newer server may say more."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from orchestrator.cli.errors import Misunderstood, Refused
from orchestrator.model.answers import Identity, WatchType

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """Objects as they were at `revision`."""

    revision: int
    items: tuple[T, ...]


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One line of a watch. `object` is None for SYNC, and for DELETED, where only its identity
    is certain."""

    type: WatchType
    revision: int
    identity: Identity = field(default_factory=Identity)
    object: T | None = None


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def read(form: type[T], answer: object) -> T:
    """`answer` as a `form`. Raises `Misunderstood` if it is not one."""
    try:
        value: T = _adapter(cast(Hashable, form)).validate_python(answer)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise Misunderstood(
            f"the server's {form.__name__} is not understood ({where}: {first['msg']}): "
            "use the orc of the server's version"
        ) from None
    return value


def read_listing(form: type[T], answer: object) -> Listing[T]:
    page = read(_Page, answer)
    return Listing(page.revision, tuple(read(form, item) for item in page.items))


def read_event(form: type[T], line: Mapping[str, Any]) -> WatchEvent[T]:
    """Raises `Refused` for the line that ends a watch."""
    kind = read(WatchType, line.get("type"))
    revision = read(int, line.get("revision", 0))
    if kind is WatchType.ERROR:
        problem = read(_Problem, line.get("problem"))
        raise Refused(problem.detail, problem.status)
    if kind is WatchType.SYNC:
        return WatchEvent(kind, revision)
    found = line.get("object")
    value = None if kind is WatchType.DELETED else read(form, found)
    return WatchEvent(kind, revision, read(Identity, found), value)


@dataclass(frozen=True, slots=True)
class _Page:
    items: tuple[Any, ...]
    revision: int = 0


@dataclass(frozen=True, slots=True)
class _Problem:
    detail: str
    status: int = 0
