"""Records that cannot be read: each is set aside by itself, with what people are told of it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.keys import InstancePlace, Kind, ParsedKey
from orchestrator.model.workload import WorkloadKey

MAX_REASON = 300

Owner = WorkloadKey | str
"""A workload, or a node by its name."""

_AGENT = "its agent writes it anew"
_LEADER = "the leader writes it anew"

ADVICE: dict[Kind, str] = {
    Kind.SCHEMA: "restore its row",
    Kind.WORKLOAD: "apply it again",
    Kind.REVISION: "apply the workload again",
    Kind.DESIRED_NODE: "cordon or uncordon the node, which writes it anew",
    Kind.ASSIGNMENT: "restore its row, or delete it to have the instance replaced",
    Kind.MOVE: "ask for the move again, or take it back",
    Kind.NODE_REPORT: _AGENT,
    Kind.SESSION: _AGENT,
    Kind.OBSERVATION: _AGENT,
    Kind.VOLUME: _AGENT,
    Kind.IMAGE_PINS: "apply the workload with another template, or restore its row",
    Kind.WORKLOAD_STATUS: _LEADER,
    Kind.LEADER: _LEADER,
    Kind.EVENT: "it is deleted within a day",
}
FOREIGN_ADVICE = "delete it, or move what writes it to another prefix"


@dataclass(frozen=True, slots=True)
class Damage:
    """A record that cannot be read, and the revision at which it was written. `parsed` None: its
    key is no key of ours."""

    reason: str
    mod_revision: int
    parsed: ParsedKey | None = None

    @property
    def owner(self) -> Owner | None:
        """Whose condition it is."""
        if self.parsed is None:
            return None
        if self.parsed.kind in _OF_NODES:
            return str(self.parsed.name)
        return self.parsed.workload

    @property
    def subject(self) -> str:
        """The instance, workload or node that it is about; empty if it is about none."""
        if self.parsed is not None and isinstance(self.parsed.name, InstancePlace):
            return str(self.parsed.name.instance)
        return str(self.owner or "")

    @property
    def sentence(self) -> str:
        advice = ADVICE[self.parsed.kind] if self.parsed else FOREIGN_ADVICE
        return f"{self.reason}; {advice}"


_OF_NODES = frozenset({Kind.DESIRED_NODE, Kind.NODE_REPORT, Kind.SESSION})


def damage(reason: str, mod_revision: int, parsed: ParsedKey | None = None) -> Damage:
    """`reason` may quote what others have written: it is cut."""
    return Damage(shown(reason), mod_revision, parsed)


def shown(told: str) -> str:
    """What others have written, as it can be printed: keys may hold bytes that are no text."""
    text = told.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text if len(text) <= MAX_REASON else f"{text[: MAX_REASON - 3]}..."
