"""How sure this node may be that the leader counts it as there."""

from __future__ import annotations

from enum import Enum

from store.patience import Clock
from store.session import Session


class Contact(Enum):
    SURE = "the session is trusted"
    DOUBTFUL = "it may have ended, or is only beginning"
    """Nothing is told and nothing is done about what has ended: soon either can be."""
    NONE = "the node is cut off"
    NEVER = "the node has been cut off since this agent started"

    @property
    def is_cut_off(self) -> bool:
        return self in (Contact.NONE, Contact.NEVER)


class Standing:
    """`trusted_until` is until when the last session lasts at least, by the sending of its last
    renewal: the leader has surely seen no end of it before."""

    def __init__(self, clock: Clock, ttl_seconds: float) -> None:
        self._clock = clock
        self._session: Session | None = None
        self._trusted_until: float | None = None
        self._patient_until = clock() + ttl_seconds / 3

    def begin(self, session: Session) -> None:
        """It is registered."""
        self._session = session
        self.trusted_until()

    def end(self) -> None:
        """It is lost: what was trusted of it holds, and no more is to come."""
        self._session = None

    def give_up(self) -> None:
        """It is to be ended before its time: from now on the leader may see that."""
        self.end()
        if self._trusted_until is not None:
            self._trusted_until = min(self._trusted_until, self._clock())

    def trusted_until(self) -> float | None:
        """None before the first session of this agent's life."""
        if self._session is not None and self._session.believed_until is not None:
            self._trusted_until = self._session.believed_until
            self._patient_until = max(self._patient_until, self._trusted_until)
        return self._trusted_until

    @property
    def contact(self) -> Contact:
        trusted_until = self.trusted_until()
        if self._session is not None and self._session.is_trusted():
            return Contact.SURE
        if self._clock() < self._patient_until:
            return Contact.DOUBTFUL
        return Contact.NEVER if trusted_until is None else Contact.NONE
