"""Space: how much the store may take, and the alarm that it raises when it has taken it."""

from __future__ import annotations

from store.errors import NoSpace
from store.memory.keyspace import VERSION_OVERHEAD_BYTES
from store.values import Alarm, Op, PutOp, Txn

NOSPACE = "NOSPACE"


class Quota:
    """Once raised, the alarm stands until somebody disarms it, whatever room there is.

    As etcd does, it counts the size of the file, which compaction does not shrink: room is
    made by compacting, defragmenting and disarming, in that order.
    """

    def __init__(self, member_id: int, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.alarms: list[Alarm] = []
        self.keeps_last_write = False
        """Mean, but seen on etcd: the write that overflows is refused and yet carried out."""
        self._member_id = member_id

    def grow(self, used_bytes: int) -> None:
        self.size_bytes = max(self.size_bytes, used_bytes)

    def check_before(self, cost_bytes: int) -> None:
        """Raises `NoSpace`, and the alarm, when there is no room for that much more."""
        if self.size_bytes + cost_bytes > self.limit_bytes and not self.keeps_last_write:
            self.raise_alarm()
        self._check_alarm()

    def check_after(self) -> None:
        """Raises `NoSpace`, and the alarm, for what was carried out against better knowledge."""
        if self.size_bytes > self.limit_bytes:
            self.raise_alarm()
        self._check_alarm()

    def raise_alarm(self) -> None:
        alarm = Alarm(self._member_id, NOSPACE)
        if alarm not in self.alarms:
            self.alarms.append(alarm)

    def disarm(self, alarm: Alarm) -> None:
        """As etcd: an alarm that is not raised exactly so is passed over in silence."""
        if alarm in self.alarms:
            self.alarms.remove(alarm)

    def _check_alarm(self) -> None:
        if self.alarms and any(alarm.name == NOSPACE for alarm in self.alarms):
            raise NoSpace("the store is over its quota: compact, defragment and disarm it")


def cost_of(txn: Txn) -> int:
    """What a transaction may add, in bytes, whichever branch is taken; 0: it puts nothing."""
    return max(_cost(txn.success), _cost(txn.failure))


def _cost(branch: tuple[Op, ...]) -> int:
    cost = 0
    for op in branch:
        if isinstance(op, PutOp):
            cost += VERSION_OVERHEAD_BYTES + len(op.key) + len(op.value)
    return cost
