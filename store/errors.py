"""Everything that can go wrong with a store, named by what the caller does next.

StoreError
├── Unavailable        surely not done: nobody took the request. Try again later.
├── OutcomeUnknown     may or may not have been done, or may yet be. Resend the very same.
├── Refused            the store understood and said no. Do not repeat as it is.
│   ├── NoSpace        over quota: writes and new leases wait until somebody makes room.
│   ├── LeaseNotFound  the lease has ended; so has everything that hung on it.
│   ├── LeaseExists    that lease id is taken: a repeated grant may take it for a success.
│   ├── Compacted      that revision is history; list again. Carries `compact_revision`.
│   ├── FutureRevision that revision is not there yet: another member, or a restored store.
│   ├── Invalid        malformed or over a limit: a bug, or an object that is too large.
│   └── PermissionDenied  wrong user, role or certificate.
├── SessionLost        our lease has ended, or may have: stop all that relies on it.
├── StoreReplaced      another cluster, or one restored from a backup: start afresh.
├── UnfitVersion       this etcd is known to lose or corrupt data.
└── UnguardedMutation  a bug of ours: a write without its guard.
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of everything that a store raises."""


class Unavailable(StoreError):
    pass


class OutcomeUnknown(StoreError):
    pass


class Refused(StoreError):
    pass


class NoSpace(Refused):
    pass


class LeaseNotFound(Refused):
    pass


class LeaseExists(Refused):
    pass


class Compacted(Refused):
    def __init__(self, message: str, compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class FutureRevision(Refused):
    pass


class Invalid(Refused):
    pass


class PermissionDenied(Refused):
    pass


class SessionLost(StoreError):
    pass


class StoreReplaced(StoreError):
    pass


class UnfitVersion(StoreError):
    pass


class UnguardedMutation(StoreError):
    pass
