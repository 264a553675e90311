"""I6: what the API has acknowledged is in the history, once, where it said; the refused is not.

Each request to apply a workload bears a label of its own, so that its deed can be told from all
others, whatever becomes of its answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from orchestrator.model.answers import Outcome
from orchestrator.model.errors import StateError
from orchestrator.model.keys import Keys, Kind
from orchestrator.model.records import load
from orchestrator.model.workload import DesiredWorkload
from orchestrator.simulation.desk import Answer
from orchestrator.simulation.history import Entry, Violation
from orchestrator.simulation.invariants.invariant import Invariant

LABEL = "request"


class Answers(Invariant):
    name = "I6 answers"

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._bears: dict[str, str] = {}
        self._done: defaultdict[str, list[int]] = defaultdict(list)
        self._refused: set[str] = set()
        self._changed: dict[tuple[str, int], Entry] = {}

    def feed(self, revision: int, entries: Sequence[Entry]) -> Iterator[Violation]:
        for entry in entries:
            if not entry.key.startswith(self._keys.folder(Kind.WORKLOAD)):
                continue
            self._changed[entry.key, revision] = entry
            label = self._label(entry)
            if label and self._bears.get(entry.key) != label:
                self._done[label].append(revision)
                yield from self._judged_deed(revision, entry, label)
            self._bears[entry.key] = label

    def answered(self, label: str, key: str, answer: Answer) -> Iterator[Violation]:
        """To the request that bears `label`."""
        done = self._done[label]
        if answer.is_refusal:
            self._refused.add(label)
            if done:
                says = f"request {label} was answered by {answer}, and was done at {done}"
                yield Violation(done[0], key, says)
        elif answer.written and done != [answer.written.revision]:
            says = f"request {label} was answered by {answer.written}, and was done at {done}"
            yield Violation(answer.written.revision, key, says)

    def removed(self, key: str, answer: Answer) -> Iterator[Violation]:
        """The answer to a request to delete."""
        if answer.written is None or answer.written.outcome is not Outcome.DELETED:
            return
        entry = self._changed.get((key, answer.written.revision))
        if entry is None or entry.value is not None:
            yield Violation(answer.written.revision, key, f"it was not deleted: {answer.written}")

    def restored(self) -> None:
        """What was acknowledged after the backup is lost, as the person who restored it knows."""
        self._bears.clear()
        self._done.clear()
        self._changed.clear()

    def _judged_deed(self, revision: int, entry: Entry, label: str) -> Iterator[Violation]:
        if label in self._refused:
            yield Violation(revision, entry.key, f"request {label} was refused, and done later")
        if len(self._done[label]) > 1:
            yield Violation(revision, entry.key, f"request {label}: done at {self._done[label]}")

    def _label(self, entry: Entry) -> str:
        if entry.value is None:
            return ""
        try:
            record = load(self._keys.parse(entry.key), entry.value)
        except StateError:
            return ""
        assert isinstance(record, DesiredWorkload)
        return record.spec.labels.get(LABEL, "")
