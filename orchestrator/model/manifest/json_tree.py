"""JSON as a tree of YAML nodes, so that one reader serves both, and every node has its line.

The standard decoder says whether a text is JSON, but keeps neither lines nor repeated members.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

MAX_NODES = 10_000
"""In one document, YAML's aliases written out: to read and judge it takes less than a second, for
which a server does nothing else."""
MAX_DEPTH = 40

STRING = "tag:yaml.org,2002:str"
NULL = "tag:yaml.org,2002:null"
_TAG_BY_FIRST_LETTER = {
    '"': STRING,
    "n": NULL,
    "t": "tag:yaml.org,2002:bool",
    "f": "tag:yaml.org,2002:bool",
}
_NUMBER = "tag:yaml.org,2002:float"

_TOKEN = re.compile(r'\n|[\[\]{}]|"(?:[^"\\]|\\.)*"|[^\s\[\]{},:"]+')
"""Without commas and colons: in valid JSON they say nothing that the order does not."""


@dataclass(slots=True)
class _Collection:
    """An object or array that has been opened; `children` of an object: names and values."""

    opening: str
    mark: yaml.Mark
    children: list[yaml.Node] = field(default_factory=list)

    def node(self) -> yaml.Node:
        if self.opening == "[":
            return yaml.SequenceNode("tag:yaml.org,2002:seq", self.children, self.mark)
        members = list(zip(self.children[::2], self.children[1::2], strict=True))
        return yaml.MappingNode("tag:yaml.org,2002:map", members, self.mark)


class Oversized(Exception):
    """More than a manifest may hold. `line` counts from 1; None for all of it."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.line = line


def too_many(line: int) -> Oversized:
    return Oversized(f"a workload has more than {MAX_NODES} values, aliases written out", line)


def too_deep(line: int | None = None) -> Oversized:
    return Oversized(f"it is nested more than {MAX_DEPTH} levels deep", line)


def json_tree(text: str) -> yaml.Node:
    """Raises ValueError for what is not JSON, and `Oversized`."""
    try:
        json.loads(text)
    except RecursionError:
        raise too_deep() from None
    opened = [_Collection("", _mark(0, 0))]
    for count, (token, mark) in enumerate(_tokens(text)):
        if count > MAX_NODES:
            raise too_many(mark.line + 1)
        if token in "[{":
            opened.append(_Collection(token, mark))
        elif token in "]}":
            node = opened.pop().node()
            opened[-1].children.append(node)
        else:
            opened[-1].children.append(_scalar(token, mark))
        if len(opened) > MAX_DEPTH + 1:
            raise too_deep(mark.line + 1)
    return opened[0].children[0]


def _tokens(text: str) -> Iterator[tuple[str, yaml.Mark]]:
    line = 0
    for match in _TOKEN.finditer(text):
        if match[0] == "\n":
            line += 1
        else:
            yield match[0], _mark(match.start(), line)


def _mark(index: int, line: int) -> yaml.Mark:
    return yaml.Mark("", index, line, 0, None, 0)


def _scalar(token: str, mark: yaml.Mark) -> yaml.ScalarNode:
    tag = _TAG_BY_FIRST_LETTER.get(token[0], _NUMBER)
    if tag == STRING:
        return yaml.ScalarNode(tag, json.loads(token), mark, style='"')
    return yaml.ScalarNode(tag, token, mark)
