"""Values that break a rule: the sentence for each, and the rules that many fields share."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass

from orchestrator.model.keys import is_dns_label
from orchestrator.model.problems import Path, path_text, value_text

MAX_TEXT_BYTES = 100_000
"""Of one text; the kernel takes no argument or variable above 128 KiB."""

MAX_ITEMS = 50
"""Of a list that nobody has reason to make long, and that is gone through again and again."""

_LABEL_NAME = re.compile(
    r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_LABEL_RULE = "1 to 63 letters, digits, '.', '_' or '-', with a letter or digit at both ends"


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that breaks a rule: `containers[0].name is 'Web': it must be ...`. The rule may hold
    because of what another field says: `because` is where that stands."""

    path: Path
    value: object
    rule: str
    because: Path = ()

    @property
    def sentence(self) -> str:
        return f"{path_text(self.path)} is {value_text(self.value)}: {self.rule}"


def outside(path: Path, value: float, low: float, high: float) -> Iterator[Fault]:
    """Not a number counts as outside."""
    if not low <= value <= high:
        yield Fault(path, value, f"it must be {value_text(low)} to {value_text(high)}")


def no_dns_label(path: Path, value: str) -> Iterator[Fault]:
    if is_dns_label(value):
        return
    plain = re.sub(r"[ _.]+", "-", value.lower())
    foreign = next((letter for letter in value if not letter.isascii()), None)
    advice = f"; {foreign!r} is none of them" if foreign else ""
    if is_dns_label(plain):
        advice = f"; did you mean {plain!r}?"
    rule = "it must be 1 to 63 of a-z, 0-9 and '-', with no '-' at either end"
    yield Fault(path, value, rule + advice)


def unfit_labels(path: Path, labels: Mapping[str, str]) -> Iterator[Fault]:
    for name, value in labels.items():
        if not is_label_name(name):
            yield Fault((*path, name), value, f"its name must be {_LABEL_RULE}")
        yield from unfit_label_value((*path, name), value)


def unfit_label_name(path: Path, name: str) -> Iterator[Fault]:
    if not is_label_name(name):
        yield Fault(path, name, f"it must be {_LABEL_RULE}")


def unfit_label_value(path: Path, value: str) -> Iterator[Fault]:
    if not _LABEL_VALUE.fullmatch(value):
        yield Fault(path, value, f"it must be empty or {_LABEL_RULE}")


def is_label_name(name: str) -> bool:
    """As Kubernetes has them: an optional DNS prefix and `/`, then at most 63 characters."""
    return _LABEL_NAME.fullmatch(name) is not None


def too_many(path: Path, items: Sized, most: int = MAX_ITEMS) -> Iterator[Fault]:
    if len(items) > most:
        yield Fault(path, items, f"it may have at most {most} items")


def unfit_text(path: Path, value: str) -> Iterator[Fault]:
    """What the kernel takes for no argument, and what is no Unicode."""
    if "\0" in value:
        yield Fault(path, value, "it must not contain the character NUL")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        yield Fault(path, value, "it must not contain half a surrogate pair")
    size = len(value.encode("utf-8", "surrogatepass"))
    if size > MAX_TEXT_BYTES:
        yield Fault(path, value, f"it has {size} bytes; it may have {MAX_TEXT_BYTES}")


def repeated(identities: Iterable[tuple[Path, object, Hashable]]) -> Iterator[Fault]:
    """What must be unique: where it stands, what it shows, and what must not come again."""
    first: dict[Hashable, Path] = {}
    for path, value, identity in identities:
        if identity in first:
            yield Fault(path, value, f"{path_text(first[identity])} has it already")
        else:
            first[identity] = path
