"""From text to trees: the documents of a YAML or JSON file, each node with its line.

YAML is only composed, never constructed: no tag has any effect, and scalars keep the text that
was written, so that `1.10` stays `1.10`. Text that is valid JSON is read as JSON, because the
two differ in tabs, escapes and line breaks.

A few bytes of YAML aliases can stand for billions of nodes. So the size of each document, and of
all of them, with every alias written out, is counted on the flat stream of parser events before a
tree is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from orchestrator.model.manifest.json_tree import (
    MAX_DEPTH,
    MAX_NODES,
    NULL,
    Oversized,
    json_tree,
    too_deep,
    too_many,
)
from orchestrator.model.problems import ManifestError, Problem

MAX_BYTES = 1_048_576
MAX_NODES_IN_ALL = 50_000


def documents(text: str, source: str = "") -> list[yaml.Node]:
    """The documents of a file that hold anything. Raises `ManifestError`."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise _failure(source, f"it has {size} bytes: a manifest has at most {MAX_BYTES}")
    try:
        nodes = _read(text, source)
    except Oversized as error:
        raise _failure(source, str(error), error.line) from None
    found = [node for node in nodes if node.tag != NULL]
    if not found:
        raise _failure(source, "there is no workload in it: it is empty")
    return found


def _failure(source: str, sentence: str, line: int | None = None) -> ManifestError:
    return ManifestError([Problem("", "", line, sentence)], source=source)


def _read(text: str, source: str) -> list[yaml.Node]:
    try:
        return [json_tree(text)]
    except ValueError:
        return _yaml_documents(text, source)


def _yaml_documents(text: str, source: str) -> list[yaml.Node]:
    try:
        _check_size(text)
        return list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _not_yaml(source, error.problem or error.context or "", line, column) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        problem = f"the character U+{ord(text[error.position]):04X} may not stand there"
        raise _not_yaml(source, problem, line, column) from None
    except ValueError:  # PyYAML lets it through, from "\U00110000" and "%YAML 1.<5000 digits>"
        sentence = r"this is not YAML: an escape like \U00110000, or a %YAML line, is out of range"
        raise _failure(source, sentence) from None


def _not_yaml(source: str, problem: str, line: int, column: int) -> ManifestError:
    advice = (
        "indent with spaces instead"
        if "'\\t'" in problem
        else "look at the indentation, colons, quotes and brackets there"
    )
    return _failure(source, f"this is not YAML, at column {column}: {problem}; {advice}", line)


@dataclass(slots=True)
class _Sizes:
    """Nodes seen so far, by anchor and for each open collection."""

    total: int = 0
    before_document: int = 0
    by_anchor: dict[str, int] = field(default_factory=dict)
    open: list[tuple[str | None, int]] = field(default_factory=list)

    def add(self, nodes: int, line: int) -> None:
        self.total += nodes
        if self.total - self.before_document > MAX_NODES:
            raise too_many(line)
        if self.total > MAX_NODES_IN_ALL:
            sentence = f"it has more than {MAX_NODES_IN_ALL} values: make several files of it"
            raise Oversized(sentence, line)

    def enter(self, anchor: str | None, line: int) -> None:
        if len(self.open) >= MAX_DEPTH:
            raise too_deep(line)
        self.open.append((anchor, self.total))
        self.add(1, line)

    def leave(self) -> None:
        anchor, before = self.open.pop()
        if anchor is not None:
            self.by_anchor[anchor] = self.total - before

    def repeat(self, anchor: str, line: int) -> None:
        if any(anchor == opened for opened, _ in self.open):
            raise Oversized(f"the alias *{anchor} stands inside its own anchor", line)
        self.add(self.by_anchor.get(anchor, 1), line)


def _check_size(text: str) -> None:
    sizes = _Sizes()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1  # type: ignore[union-attr]  # the parser sets all marks
        if isinstance(event, yaml.DocumentStartEvent):
            sizes.before_document = sizes.total
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.enter(event.anchor, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            sizes.leave()
        elif isinstance(event, yaml.AliasEvent):
            sizes.repeat(str(event.anchor), line)
        elif isinstance(event, yaml.ScalarEvent):
            sizes.add(1, line)
