"""What a node of a manifest holds: named members, text, a number, or one of a few words.

Each reader answers with a value of its type. Where it cannot, it notes why and answers with a
stand-in that nobody will judge (`Findings.spoilt`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import yaml

from orchestrator.model.manifest.json_tree import NULL, STRING
from orchestrator.model.near_names import near_name
from orchestrator.model.problems import Findings, Path, path_text, value_text

Choice = TypeVar("Choice", bound=StrEnum)

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,300})")
_NUMBER = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
"""As everybody reads them, not as YAML does, to which 010 is 8 and 1:30 is 90."""

_TRUTH = {"true": True, "True": True, "false": False, "False": False}

_READ_AS = {
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """A node, where it stands in its document, and where to note what is wrong with it."""

    node: yaml.Node
    path: Path
    findings: Findings

    def below(self, step: str | int, node: yaml.Node) -> Spot:
        path = (*self.path, step)
        self.findings.lines.setdefault(path, line_of(node))
        return Spot(node, path, self.findings)

    def note(self, sentence: str, line: int | None = None) -> None:
        self.findings.note(self.path, self.shown, sentence, line)

    def refuse(self, rule: str) -> None:
        self.note(f"{path_text(self.path) or 'the document'} is {self.shown}: {rule}")

    @property
    def is_null(self) -> bool:
        return self.node.tag == NULL

    @property
    def is_plain(self) -> bool:
        """Without quotes, so that it may be a number."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.style is None

    @property
    def shown(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        if self.is_null:
            return "empty"
        return value_text(self.node.value) if self.node.tag == STRING else self.node.value[:60]


def line_of(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def read_members(spot: Spot) -> Iterator[tuple[str, Spot]]:
    """The members of a mapping, each once. A name is what was written, whatever YAML reads."""
    if not isinstance(spot.node, yaml.MappingNode):
        spot.refuse("it must be a mapping, of lines like 'name: value'")
        return
    seen: dict[str, int] = {}
    for key, node in spot.node.value:
        line = line_of(key)
        if not isinstance(key, yaml.ScalarNode):
            spot.note("the name of a field must be text, not a list or a mapping", line)
            continue
        name = key.value
        spot.findings.lines.setdefault((*spot.path, name), line)
        member = spot.below(name, node)
        if name in seen:
            where = path_text(member.path)
            member.note(f"{where} is given twice, first in line {seen[name]}: keep one", line)
        else:
            seen[name] = line
            yield name, member


def read_texts(spot: Spot) -> dict[str, str]:
    """Texts by name. Numbers and truth values count as the text that was written."""
    texts = {}
    for name, member in read_members(spot):
        if isinstance(member.node, yaml.ScalarNode) and not member.is_null:
            texts[name] = member.node.value
        else:
            member.refuse('it must be text; empty text is ""')
    return texts


def read_text(spot: Spot) -> str:
    if isinstance(spot.node, yaml.ScalarNode) and spot.node.tag == STRING:
        return str(spot.node.value)
    read_as = _READ_AS.get(spot.node.tag)
    spot.refuse(
        f"without quotes it is {read_as}; for text, write it in quotes"
        if read_as
        else "it must be text"
    )
    return ""


def read_whole_number(spot: Spot) -> int:
    if spot.is_plain and _WHOLE.fullmatch(spot.node.value):
        return int(spot.node.value)
    spot.refuse(f"it must be a whole number in plain digits{_unquoted(spot)}")
    return 0


def read_number(spot: Spot) -> float:
    if spot.is_plain and _NUMBER.fullmatch(spot.node.value):
        return float(spot.node.value)
    spot.refuse(f"it must be a number in plain digits{_unquoted(spot)}")
    return 0.0


def read_truth(spot: Spot) -> bool:
    """Only as everybody writes it: `on` and `yes` are truth values to YAML alone."""
    if spot.is_plain and spot.node.value in _TRUTH:
        return _TRUTH[spot.node.value]
    spot.refuse("it must be true or false, without quotes")
    return False


def _unquoted(spot: Spot) -> str:
    is_quoted = isinstance(spot.node, yaml.ScalarNode) and not spot.is_plain
    return ", without quotes" if is_quoted and _NUMBER.fullmatch(spot.node.value) else ""


def read_choice(choices: type[Choice], spot: Spot) -> Choice:
    words = [choice.value for choice in choices]
    if spot.node.value in words:
        return choices(spot.node.value)
    is_advised = isinstance(spot.node, yaml.ScalarNode) and spot.findings.is_advice_seen
    near = near_name(spot.node.value, words) if is_advised else None
    advice = f"; did you mean {near!r}?" if near else ""
    spot.refuse(f"it must be {' or '.join(map(repr, words))}{advice}")
    return choices(words[0])
