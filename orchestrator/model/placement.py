"""Where the instances of a workload may run, and where they had better: constraints as people
write them. What they mean exactly is in `scheduler.filters`, `scheduler.topology` and
`scheduler.scores`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NODE_KEY = "node"
"""A label that every node has: its own name. As a topology key it makes each node a domain."""


class PriorityClass(StrEnum):
    """Who is served first, and who may displace whom: a class displaces only lower ones."""

    BACKGROUND = "background"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 is the lowest."""
        return _RANKS[self]


_RANKS = {each: rank for rank, each in enumerate(PriorityClass)}


class Strategy(StrEnum):
    SPREAD = "spread"
    """Few of the workload on each node, and all nodes equally loaded."""
    PACK = "pack"
    """As few nodes as possible, so that others stay free for what is large."""


class GpuPolicyName(StrEnum):
    """How the cluster chooses among the nodes with GPUs."""

    EXPECTED_FILL = "expected-fill"
    """Where least is lost of what the demand seen so far would still fill."""
    FRAGMENTATION = "fragmentation"
    """Where fragmentation grows least."""
    BEST_FIT = "best-fit"
    """Where least is left."""


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A test of one label. In and NotIn have `values`, Gt and Lt one whole number, others none.

    As in Kubernetes, what lacks the label meets NotIn and DoesNotExist, and no other operator.
    """

    key: str
    operator: Operator = Operator.IN
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.operator in (Operator.GT, Operator.LT):
            sign = ">" if self.operator is Operator.GT else "<"
            return f"{self.key} {sign} {', '.join(self.values)}"
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.DOES_NOT_EXIST:
            return f"no {self.key}"
        sign = "=" if self.operator is Operator.IN else "!="
        return f"{self.key}{sign}{'|'.join(self.values)}"


@dataclass(frozen=True, slots=True)
class NodeSelector:
    """A test of a node's labels. `weight` None: it must be met; else what meeting it is worth,
    from 1 to 100, among the nodes that fit."""

    key: str
    operator: Operator = Operator.IN
    values: tuple[str, ...] = ()
    weight: int | None = None

    @property
    def requirement(self) -> Requirement:
        return Requirement(self.key, self.operator, self.values)


@dataclass(frozen=True, slots=True)
class Affinity:
    """Other workloads of the namespace, and the domain to share with them, or not to share.

    It speaks of the instances of the workload named `workload`, and of those whose workload has
    all `labels` and meets all `expressions`; what is left out is not asked. Nodes with the same
    value of the label `topology_key` are one domain. `weight` as in `NodeSelector`.
    """

    workload: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    expressions: tuple[Requirement, ...] = ()
    topology_key: str = NODE_KEY
    weight: int | None = None

    def __str__(self) -> str:
        parts = [f"workload {self.workload}"] if self.workload else []
        parts += [f"{name}={value}" for name, value in sorted(self.labels.items())]
        parts += [str(each) for each in self.expressions]
        weight = "" if self.weight is None else f", weight {self.weight}"
        return f"{', '.join(parts)} (by {self.topology_key}{weight})"


class Unsatisfiable(StrEnum):
    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"
    """It is a preference only."""


@dataclass(frozen=True, slots=True)
class TopologySpread:
    """How evenly a workload's own instances lie over the domains of `topology_key`.

    No domain may have more than `max_skew` above the domain that has fewest; with fewer than
    `min_domains` domains, above zero.
    """

    topology_key: str
    max_skew: int = 1
    min_domains: int = 1
    when_unsatisfiable: Unsatisfiable = Unsatisfiable.DO_NOT_SCHEDULE


class TaintEffect(StrEnum):
    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"
    """What runs there and does not tolerate it has to go, too."""


@dataclass(frozen=True, slots=True)
class Taint:
    """What keeps instances away from a node, unless they tolerate it."""

    key: str
    value: str = ""
    effect: TaintEffect = TaintEffect.NO_SCHEDULE

    def __str__(self) -> str:
        value = f"={self.value}" if self.value else ""
        return f"{self.key}{value}:{self.effect.value}"


class TolerationOperator(StrEnum):
    EQUAL = "Equal"
    EXISTS = "Exists"


@dataclass(frozen=True, slots=True)
class Toleration:
    """Which taints do not matter. An empty `key` with Exists tolerates all keys, and `effect` None
    all effects. `seconds`: how long NoExecute is borne; None for ever."""

    key: str = ""
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: str = ""
    effect: TaintEffect | None = None
    seconds: float | None = None

    def covers(self, taint: Taint) -> bool:
        if self.effect not in (None, taint.effect):
            return False
        if self.operator is TolerationOperator.EXISTS:
            return self.key in ("", taint.key)
        return (self.key, self.value) == (taint.key, taint.value)


@dataclass(frozen=True, slots=True)
class Placement:
    """All constraints of a workload; a part of its template. `strategy` None: the cluster's."""

    strategy: Strategy | None = None
    nodes: tuple[NodeSelector, ...] = ()
    affinity: tuple[Affinity, ...] = ()
    anti_affinity: tuple[Affinity, ...] = ()
    spread: tuple[TopologySpread, ...] = ()
    tolerations: tuple[Toleration, ...] = ()


ANYWHERE = Placement()


def meets(labels: Mapping[str, str], requirement: Requirement) -> bool:
    """Whether `labels` pass the test. A label or bound that is no whole number passes no Gt, Lt."""
    value = labels.get(requirement.key)
    operator = requirement.operator
    if value is None:
        return operator in (Operator.NOT_IN, Operator.DOES_NOT_EXIST)
    if operator in (Operator.GT, Operator.LT):
        return _compares(value, operator, requirement.values)
    if operator in (Operator.IN, Operator.NOT_IN):
        return (value in requirement.values) is (operator is Operator.IN)
    return operator is Operator.EXISTS


def _compares(value: str, operator: Operator, values: tuple[str, ...]) -> bool:
    number, bound = whole_number(value), whole_number(values[0]) if values else None
    if number is None or bound is None:
        return False
    return number > bound if operator is Operator.GT else number < bound


def whole_number(text: str) -> int | None:
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= 18
    return int(text) if is_number else None
