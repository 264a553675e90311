"""What is wrong with a manifest, told so that its author can put it right in one go."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.model.errors import ConfigError

Path = tuple[str | int, ...]
"""Where a field stands: `("containers", 0, "name")`."""

MAX_SHOWN = 50
"""How many problems an error's text lists; `ManifestError.problems` holds them all."""

_MAX_VALUE_LENGTH = 60


def path_text(path: Path) -> str:
    """`containers[0].ports[1].name`, as people write it; empty for a whole document."""
    return "".join(map(_step_text, path)).removeprefix(".")


def _step_text(step: str | int) -> str:
    is_plain = isinstance(step, str) and re.fullmatch(r"[\w./-]{1,80}", step, re.ASCII)
    return f".{step}" if is_plain else f"[{value_text(step)}]"


def value_text(value: object) -> str:
    """A value as people write it, cut when it is long: text in quotes, and whole numbers without
    `.0`."""
    if isinstance(value, tuple):
        return f"a list of {len(value)}" if value else "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, StrEnum):
        value = value.value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[: _MAX_VALUE_LENGTH - 3]}..."


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. `line` counts from 1; None where there are no lines."""

    field_path: str
    value_shown: str
    line: int | None
    sentence: str


class ManifestError(ConfigError):
    """All that is wrong with a manifest, in the order of its lines.

    Its text has a line for each problem: `web.yaml:7: unknown field 'replicsa'; ...`.
    """

    def __init__(self, problems: Iterable[Problem], *, source: str = "") -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        self.source = source
        lines = [_located(problem, source) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            lines.append(f"... and {len(self.problems) - MAX_SHOWN} more problems")
        super().__init__("\n".join(lines))


def _located(problem: Problem, source: str) -> str:
    if problem.line is None:
        return f"{source}: {problem.sentence}" if source else problem.sentence
    where = f"{source}:{problem.line}" if source else f"line {problem.line}"
    return f"{where}: {problem.sentence}"


@dataclass(slots=True)
class Findings:
    """What reading one document has brought to light: its problems, and each field's line.

    `spoilt` are the fields that could not be read; what stands in for them must not be judged,
    nor must `holds_spoilt`, which they are a part of.
    """

    problems: list[Problem] = field(default_factory=list)
    lines: dict[Path, int] = field(default_factory=dict)
    spoilt: set[Path] = field(default_factory=set)
    holds_spoilt: set[Path] = field(default_factory=set)

    @property
    def is_advice_seen(self) -> bool:
        """Whether another problem is still among those that an error's text lists: what was meant
        by a name takes a while to find out."""
        return len(self.problems) < MAX_SHOWN

    def note(self, path: Path, value_shown: str, sentence: str, line: int | None = None) -> None:
        """A problem of the field at `path`, at its own line unless told another."""
        where = self.line_of(path) if line is None else line
        self.problems.append(Problem(path_text(path), value_shown, where, sentence))
        self.spoil(path)

    def spoil(self, path: Path) -> None:
        self.spoilt.add(path)
        self.holds_spoilt.update(_upwards(path))

    def line_of(self, path: Path) -> int | None:
        """The line of that field or, where it was left out, of what it belongs in."""
        return next((self.lines[part] for part in _upwards(path) if part in self.lines), None)

    def is_spoilt(self, path: Path) -> bool:
        """All of it, or a part of it."""
        return path in self.holds_spoilt or any(part in self.spoilt for part in _upwards(path))


def _upwards(path: Path) -> Iterable[Path]:
    return (path[:length] for length in range(len(path), -1, -1))
